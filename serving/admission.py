"""Refuses gRPC requests beyond what may run and wait, but not those that ask how the server is.

gRPC's own limit, `maximum_concurrent_rpcs`, counts both: a server with a full queue would look dead to who watches it.
"""

import threading
from concurrent import futures
from typing import Collection

import grpc


class CountedPool(futures.ThreadPoolExecutor):
  """Threads for requests; `is_full` when as many as may be run or wait."""

  def __init__(self, threads: int, waiting: int):
    super().__init__(threads, thread_name_prefix="request")
    self._most, self._count, self._lock = threads + waiting, 0, threading.Lock()

  def submit(self, *call, **options):
    self._add(1)
    future = super().submit(*call, **options)
    future.add_done_callback(lambda _: self._add(-1))
    return future

  def _add(self, change: int) -> None:
    with self._lock:
      self._count += change

  def is_full(self) -> bool:
    return self._count >= self._most


class Admission(grpc.ServerInterceptor):
  """Answers RESOURCE_EXHAUSTED while `pool` is full, on the threads of `quick`, to all but the methods in `always`."""

  def __init__(self, pool: CountedPool, quick: futures.ThreadPoolExecutor, always: Collection[str]):
    def refuse(request, context):
      context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")

    refuse.experimental_thread_pool = quick
    self._refusal = grpc.unary_unary_rpc_method_handler(refuse)
    self._pool, self._always = pool, always

  def intercept_service(self, continuation, handler_call_details):
    """Asked on the one thread that also hands requests to the pool, so that none slips in between."""
    handler = continuation(handler_call_details)
    if handler is None or handler_call_details.method in self._always or not self._pool.is_full():
      return handler
    return self._refusal
