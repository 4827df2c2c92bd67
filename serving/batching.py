"""Merges requests that wait at the same time into one run, as tensorflow_model_server does with --enable_batching.

Requests are merged where version, tensors fed, tensors fetched, dtypes and shapes but the first dimension agree. Rows
keep their order and none is added: a model whose rows are independent answers as without merging.

What waits runs as soon as a thread is free. It waits longer only for clients that were answered together a moment ago,
who tend to come back together: until as many requests are there again, for batch_timeout_micros at most. So a client
that is alone never waits.
"""

import collections
import threading
import time
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import grpc
import numpy as np

from serving import batch_settings
from serving import deadline as deadline_lib
from serving import metrics
from serving import status

_BATCH_SIZES = metrics.Histogram(":tensorflow:serving:batching_session:processed_batch_size", (), metrics.SIZES)
_DELAYS = metrics.Histogram(":tensorflow:serving:batching_session:queuing_latency", (), metrics.MICROSECONDS)


class _Task:
  """A request that waits."""

  def __init__(self, feeds: Mapping[str, np.ndarray], rows: int, deadline: deadline_lib.Deadline):
    self.feeds = feeds
    self.rows = rows
    self.deadline = deadline
    self.enqueued = time.monotonic()
    self.done = threading.Event()
    self.outputs: List[np.ndarray] = []
    self.error: Optional[status.StatusError] = None

  def finish(self, outputs=(), error: Optional[status.StatusError] = None) -> None:
    self.outputs, self.error = list(outputs), error
    self.done.set()


def _batch_size(feeds: Mapping[str, np.ndarray]) -> int:
  """Rows of a request."""
  if not feeds:
    raise status.invalid("Batching session Run() must have at least one input tensor")
  if any(not array.ndim for array in feeds.values()):
    raise status.invalid("Batching session Run() input tensors must have at least one dimension")
  sizes = {len(array) for array in feeds.values()}
  if len(sizes) > 1:
    raise status.invalid("Batching session Run() input tensors must have equal 0th-dimension size")
  return sizes.pop()


def _split(outputs: Sequence[np.ndarray], tasks: Sequence[_Task]) -> List[List[np.ndarray]]:
  """The outputs of each task."""
  total = sum(task.rows for task in tasks)
  for output in outputs:
    if not output.ndim:
      raise status.failed_precondition("Batched output tensor has 0 dimensions")
    if len(output) != total:
      raise status.failed_precondition("Batched output tensor's 0th dimension does not equal the sum of the 0th "
                                       "dimension sizes of the input tensors")
  ends = np.cumsum([task.rows for task in tasks])[:-1]
  return [list(parts) for parts in zip(*(np.split(output, ends) for output in outputs))]


class Batcher:
  """Threads that gather and run batches; `run` is a predict.Run that blocks until the request's part is there."""

  def __init__(self, settings: batch_settings.BatchSettings, run_alone: Callable):
    self._settings = settings
    self._run_alone = run_alone
    self._changed = threading.Condition()
    self._queues: Dict[Tuple, collections.deque] = {}
    self._waiting_rows = 0
    # By queue: how many requests its last batch answered, and until when their clients are waited for.
    self._expected: Dict[Tuple, Tuple[int, float]] = {}
    self._is_closing = False
    self._threads = [threading.Thread(target=self._work, name=f"batch-{number}", daemon=True)
                     for number in range(settings.num_batch_threads)]
    for thread in self._threads:
      thread.start()

  def run(self, servable, feeds: Mapping[str, np.ndarray], fetches: Sequence[str],
          deadline: deadline_lib.Deadline) -> List[np.ndarray]:
    """As SessionRunner.run, together with what else waits.

    Raises:
      StatusError: UNAVAILABLE where the queue is full, INVALID_ARGUMENT where the inputs cannot be a batch.
    """
    task = _Task(feeds, _batch_size(feeds), deadline)
    self._enqueue((servable, tuple(fetches), tuple(
        (name, array.dtype.str, array.shape[1:]) for name, array in feeds.items())), task)
    if not task.done.wait(deadline.timeout()):
      raise status.timed_out()
    if task.error:
      raise task.error
    return task.outputs

  def _enqueue(self, key: Tuple, task: _Task) -> None:
    most = self._settings.max_batch_size
    if task.rows > most:
      raise status.invalid(f"Task size {task.rows} is larger than maximum input batch size {most}")
    with self._changed:
      capacity = self._settings.max_enqueued_batches * most - self._waiting_rows
      # A queue for each shape that clients think of would have no limit: one for all.
      if task.rows > capacity or self._is_closing:
        raise status.StatusError(grpc.StatusCode.UNAVAILABLE,
                                 "The batch scheduling queue to which this task was submitted is full; task size is "
                                 f"{task.rows} but scheduling capacity is only {capacity} "
                                 f"(max_enqueued_batches={self._settings.max_enqueued_batches}, "
                                 f"max_execution_batch_size={most})")
      queue = self._queues.setdefault(key, collections.deque())
      queue.append(task)
      self._waiting_rows += task.rows
      self._changed.notify()

  def _ready_key(self) -> Tuple[Optional[Tuple], Optional[float]]:
    """(the queue that has waited longest among those to run now, None) or (None, seconds until one will be)."""
    now, first_due, found = time.monotonic(), None, None
    for key, tasks in self._queues.items():
      count, due = self._expected.get(key, (0, now))
      is_full = sum(task.rows for task in tasks) >= self._settings.max_batch_size
      if self._is_closing or is_full or len(tasks) >= count:
        due = now
      if due <= now and (found is None or tasks[0].enqueued < self._queues[found][0].enqueued):
        found = key
      first_due = due if first_due is None else min(first_due, due)
    return found, None if found or first_due is None else first_due - now

  def _next_batch(self) -> Optional[Tuple[Tuple, List[_Task]]]:
    """Waits for a batch; None once the batcher is closed and empty."""
    with self._changed:
      while True:
        key, seconds = self._ready_key()
        if key:
          break
        if self._is_closing:
          return None
        self._changed.wait(seconds)
      tasks, rows = [], 0
      queue = self._queues[key]
      while queue and rows + queue[0].rows <= self._settings.max_batch_size:
        tasks.append(queue.popleft())
        rows += tasks[-1].rows
      self._waiting_rows -= rows
      if not queue:
        del self._queues[key]
      else:
        self._changed.notify()
      return key, tasks

  def _work(self) -> None:
    while True:
      batch = self._next_batch()
      if batch is None:
        return
      (servable, fetches, _), tasks = batch
      try:
        self._run_batch(servable, fetches, tasks)
      except Exception as problem:  # the thread must live on, and nobody may wait for ever
        error = status.StatusError(grpc.StatusCode.UNKNOWN, f"batch failed: {problem!r}")
        for task in tasks:
          if not task.done.is_set():
            task.finish(error=error)
      self._expect(batch[0], len(tasks))

  def _expect(self, key: Tuple, count: int) -> None:
    """Notes that `count` requests have just been answered."""
    now = time.monotonic()
    with self._changed:
      self._expected = {other: one for other, one in self._expected.items() if one[1] > now}
      if count > 1:
        self._expected[key] = count, now + self._settings.batch_timeout_seconds

  def _run_batch(self, servable, fetches: Tuple[str, ...], tasks: List[_Task]) -> None:
    now = time.monotonic()
    late = [task for task in tasks if task.deadline.is_over()]
    for task in tasks:
      _DELAYS.add((), 1e6 * (now - task.enqueued))
    for task in late:
      task.finish(error=status.timed_out())
    tasks = [task for task in tasks if task not in late]
    if not tasks:
      return
    _BATCH_SIZES.add((), sum(task.rows for task in tasks))
    # The run goes on for as long as any of them waits; those with earlier deadlines have gone by then.
    deadline = max((task.deadline for task in tasks), key=lambda one: one.at)
    merged = tasks[0].feeds if len(tasks) == 1 else {
        name: np.concatenate([task.feeds[name] for task in tasks]) for name in tasks[0].feeds}
    try:
      outputs = self._run_alone(servable, merged, fetches, deadline)
      for task, parts in zip(tasks, _split(outputs, tasks)):
        task.finish(parts)
    except status.StatusError as error:
      if len(tasks) == 1 or error.code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
        for task in tasks:
          task.finish(error=error)
      else:
        # One of them is at fault; each by itself gets the answer it would have got without merging.
        for task in tasks:
          self._run_batch(servable, fetches, [task])

  def close(self) -> None:
    """Runs what waits, refuses what comes, and ends the threads."""
    with self._changed:
      self._is_closing = True
      self._changed.notify_all()
    for thread in self._threads:
      thread.join()
