"""A server of an export in its own process, and honest clients of it, for benchmarks."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import time
from typing import Callable, Iterator, List, Sequence

import grpc
import numpy as np
import psutil

from serving import drawing_client

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = "stic"
_START_SECONDS = 600


class Server:
  """`serving/server.py` of an export on ports of its own."""

  def __init__(self, export_dir: str, folder: str, flags: Sequence[str] = (), ports: Sequence[int] = (0, 0)):
    """Starts it; `folder` gets its log, `ports` are gRPC's and REST's."""
    self.log = os.path.join(folder, "log")
    command = [sys.executable, str(ROOT / "serving" / "server.py"), f"--model_name={MODEL}",
               f"--model_base_path={export_dir}", f"--port={ports[0]}", f"--rest_port={ports[1]}", *flags]
    with open(self.log, "wb") as file:
      self._popen = subprocess.Popen(command, stdout=file, stderr=file)
    self.process = psutil.Process(self._popen.pid)
    try:
      self.port = int(self._wait_for(r"Running ModelServer at \S+:(\d+)"))
      self.rest_port = int(self._wait_for(r"HTTP/REST API at:\S+:(\d+)"))
    except BaseException:
      self.kill()
      raise

  def _wait_for(self, pattern: str) -> str:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and self._popen.poll() is None:
      with open(self.log, encoding="utf-8") as file:
        match = re.search(pattern, file.read())
      if match:
        return match[1]
      time.sleep(0.05)
    with open(self.log, encoding="utf-8") as file:
      raise RuntimeError(f"the server did not start: {file.read()}")

  def processor_seconds(self) -> float:
    times = self.process.cpu_times()
    return times.user + times.system

  def resident_mib(self) -> float:
    return self.process.memory_info().rss / 2 ** 20

  def stop(self) -> None:
    self._popen.terminate()
    self._popen.wait()

  def kill(self) -> None:
    self._popen.kill()
    self._popen.wait()


@contextlib.contextmanager
def started(export_dir: str, flags: Sequence[str] = ()) -> Iterator[Server]:
  """A server that ends with the block."""
  with tempfile.TemporaryDirectory() as folder:
    server = Server(export_dir, folder, flags)
    try:
      yield server
    finally:
      server.stop()


@contextlib.contextmanager
def attacked(server: Server, **attackers: int) -> Iterator[None]:
  """Attackers of benchmarks/attackers.py, in a process of their own, inside the block."""
  command = [sys.executable, str(ROOT / "benchmarks" / "attackers.py"), f"--rest=127.0.0.1:{server.rest_port}",
             f"--model_name={MODEL}", *(f"--{name}={count}" for name, count in attackers.items())]
  process = subprocess.Popen(command)
  try:
    time.sleep(2.0)  # until they have all come
    yield
  finally:
    process.kill()
    process.wait()


class GrpcClient:
  """Classifies one image a call."""

  def __init__(self, server: Server):
    self._client = drawing_client.Client(f"127.0.0.1:{server.port}", MODEL, retries=0)
    self.model = self._client.describe()
    self._image = np.zeros([1, *self.model.image_shape], np.uint8)

  def __call__(self) -> None:
    self._client.classify(self._image, model=self.model)


class RestClient:
  """Classifies one image a call, over a connection that is kept."""

  def __init__(self, server: Server, image_shape: Sequence[int]):
    self._connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
    self._body = json.dumps({"instances": np.zeros([1, *image_shape], int).tolist()})

  def __call__(self) -> None:
    # A server may close what has long been idle; as urllib3 does, that is seen before anything is sent.
    if self._connection.sock and select.select([self._connection.sock], [], [], 0)[0]:
      self._connection.close()
    try:
      self._connection.request("POST", f"/v1/models/{MODEL}:predict", self._body)
      response = self._connection.getresponse()
      body = response.read()
    except (OSError, http.client.HTTPException):
      self._connection.close()
      raise
    if response.status != 200:
      raise RuntimeError(f"{response.status}: {body[:200]}")


ERRORS = (drawing_client.ServingError, grpc.RpcError, OSError, http.client.HTTPException, RuntimeError)


def latencies(call: Callable[[], None], count: int, failures: List[str]) -> List[float]:
  """Seconds of `count` calls, one after the other; a failed one has its reason in `failures` and no time."""
  seconds = []
  for _ in range(count):
    start = time.perf_counter()
    try:
      call()
    except ERRORS as problem:
      failures.append(f"{type(problem).__name__}: {problem}"[:200])
      continue
    seconds.append(time.perf_counter() - start)
  return seconds
