"""Merged requests answer as unmerged ones, the queue has an end, and deadlines stop what runs."""

import threading
import time
from concurrent import futures

import grpc
import numpy as np
import pytest

from serving import batch_settings
from serving import batching
from serving import deadline as deadline_lib
from serving import status
from tests.serving import running_server
from tests.serving import small_models

_NEVER = deadline_lib.Deadline()


class Recorder:
  """A run of a model y = 10x that notes its batches, and can be held."""

  def __init__(self, error=None):
    self.batches = []
    self.deadlines = []
    self.error = error
    self.is_free = threading.Event()
    self.is_free.set()

  def __call__(self, servable, feeds, fetches, deadline):
    del servable, fetches
    x = feeds["x"]
    self.batches.append(x.tolist())
    self.deadlines.append(deadline)
    assert self.is_free.wait(30)
    if self.error and np.any(x < 0):
      raise self.error
    return [10 * x]


def _batcher(run, **settings) -> batching.Batcher:
  return batching.Batcher(batch_settings.BatchSettings(**{"num_batch_threads": 1, **settings}), run)


def _waiting(batcher) -> int:
  return batcher._waiting_rows


def _submit_all(pool, batcher, requests, servable="m", deadline=_NEVER):
  """Enqueues in order, one after the other."""
  submitted = []
  for request in requests:
    before = _waiting(batcher)
    submitted.append(pool.submit(batcher.run, servable, {"x": request}, ("y",), deadline))
    rows = before + len(request)
    running_server.wait_until(lambda rows=rows: _waiting(batcher) == rows, "queueing")
  return submitted


@pytest.fixture
def held():
  """A recorder whose first run, of [0], is under way and held; its batcher of at most 8 rows; a thread pool."""
  run = Recorder()
  batcher = _batcher(run, max_batch_size=8, max_enqueued_batches=2)
  run.is_free.clear()
  with futures.ThreadPoolExecutor(32) as pool:
    first = pool.submit(batcher.run, "m", {"x": np.float32([0])}, ("y",), _NEVER)
    running_server.wait_until(lambda: run.batches, "the first run")
    yield run, batcher, pool
    run.is_free.set()
    first.result(30)
    batcher.close()


def test_what_waits_is_merged_in_order_and_split_again(held):
  run, batcher, pool = held
  requests = [np.float32([1, 2]), np.float32([3]), np.float32([4, 5, 6]), np.float32([7, 8, 9])]
  submitted = _submit_all(pool, batcher, requests)
  run.is_free.set()
  for request, future in zip(requests, submitted):
    np.testing.assert_array_equal(future.result(30)[0], 10 * request)
  # The last would have made nine rows; nothing is split over two runs, reordered or padded.
  assert run.batches[1:] == [[1, 2, 3, 4, 5, 6], [7, 8, 9]]


def test_only_like_inputs_of_one_version_are_merged(held):
  run, batcher, pool = held
  submitted = _submit_all(pool, batcher, [np.float32([1]), np.float64([2]), np.float32([[3]]), np.float32([4])])
  submitted += _submit_all(pool, batcher, [np.float32([5])], servable="another")
  run.is_free.set()
  for future in submitted:
    future.result(30)
  assert run.batches[1:] == [[1, 4], [2], [[3]], [5]]


def test_a_full_queue_refuses(held):
  run, batcher, pool = held
  submitted = _submit_all(pool, batcher, [np.zeros(8, np.float32), np.zeros(7, np.float32)])
  with pytest.raises(status.StatusError) as caught:
    batcher.run("m", {"x": np.zeros(2, np.float32)}, ("y",), _NEVER)
  assert caught.value.code == grpc.StatusCode.UNAVAILABLE
  assert caught.value.message.startswith("The batch scheduling queue to which this task was submitted is full; task "
                                         "size is 2 but scheduling capacity is only 1 ")
  run.is_free.set()
  for future in submitted:
    future.result(30)
  batcher.run("m", {"x": np.zeros(2, np.float32)}, ("y",), _NEVER)


def test_a_request_whose_deadline_passed_is_not_run(held):
  run, batcher, pool = held
  late, = _submit_all(pool, batcher, [np.float32([1])], deadline=deadline_lib.Deadline(0.05))
  patient, = _submit_all(pool, batcher, [np.float32([2])], deadline=deadline_lib.Deadline(60))
  with pytest.raises(status.StatusError) as caught:
    late.result(30)
  assert (caught.value.code, caught.value.message) == (grpc.StatusCode.DEADLINE_EXCEEDED,
                                                       "Timed out waiting for notification")
  run.is_free.set()
  patient.result(30)
  assert run.batches[1:] == [[2]]


@pytest.mark.parametrize("seconds", [(60, 80), (60, None), (80, 60)])
def test_a_batch_runs_for_as_long_as_one_of_it_waits(held, seconds):
  run, batcher, pool = held
  deadlines, submitted = [deadline_lib.Deadline(number) for number in seconds], []
  for deadline in deadlines:
    submitted += _submit_all(pool, batcher, [np.float32([1])], deadline=deadline)
  run.is_free.set()
  for future in submitted:
    future.result(30)
  assert run.deadlines[1] is deadlines[0 if seconds == (80, 60) else 1]


def test_a_failing_request_fails_alone(held):
  run, batcher, pool = held
  run.error = status.invalid("negative")
  good, bad, other = _submit_all(pool, batcher, [np.float32([1]), np.float32([-1]), np.float32([2])])
  run.is_free.set()
  assert good.result(30)[0].tolist() == [10] and other.result(30)[0].tolist() == [20]
  with pytest.raises(status.StatusError, match="negative"):
    bad.result(30)


def test_a_client_alone_never_waits():
  """Fails where a batch waits for batch_timeout_micros while a thread is free."""
  run = Recorder()
  batcher = _batcher(run, max_batch_size=8, batch_timeout_seconds=30.0)
  for _ in range(3):
    batcher.run("m", {"x": np.float32([1])}, ("y",), deadline_lib.Deadline(5))
  assert run.batches == [[1]] * 3
  batcher.close()


@pytest.fixture
def paired():
  """(runs, batcher, pool): two clients were just answered together, and are waited for for `timeout` seconds."""
  made = []

  def make(timeout: float):
    run = Recorder()
    batcher, pool = _batcher(run, max_batch_size=8, batch_timeout_seconds=timeout), futures.ThreadPoolExecutor(4)
    made.extend([batcher, pool])
    run.is_free.clear()
    first = [pool.submit(batcher.run, "m", {"x": np.float32([0])}, ("y",), _NEVER)]
    running_server.wait_until(lambda: run.batches, "the first run")
    pair = _submit_all(pool, batcher, [np.float32([1]), np.float32([2])])
    run.is_free.set()
    for future in first + pair:
      future.result(30)
    running_server.wait_until(lambda: batcher._expected, "the note of who was answered together")
    return run, batcher, pool

  yield make
  for one in made:
    getattr(one, "close", getattr(one, "shutdown", None))()


def test_clients_that_were_answered_together_are_waited_for(paired):
  run, batcher, pool = paired(60.0)
  early = pool.submit(batcher.run, "m", {"x": np.float32([3])}, ("y",), _NEVER)
  time.sleep(0.05)
  assert not early.done()
  batcher.run("m", {"x": np.float32([4])}, ("y",), _NEVER)
  assert run.batches[2:] == [[3, 4]]


def test_a_client_that_stays_alone_waits_for_the_timeout_once(paired):
  run, batcher, _ = paired(0.2)
  batcher.run("m", {"x": np.float32([5])}, ("y",), _NEVER)
  running_server.wait_until(lambda: not batcher._expected, "nobody to wait for")
  assert run.batches[2:] == [[5]]


def test_a_request_whose_client_left_is_not_run(held):
  run, batcher, pool = held
  deadline = deadline_lib.Deadline(30)
  left = pool.submit(batcher.run, "m", {"x": np.float32([1])}, ("y",), deadline)
  running_server.wait_until(lambda: _waiting(batcher) == 1, "queueing")
  deadline.end()
  run.is_free.set()
  with pytest.raises(status.StatusError):
    left.result(30)
  assert len(run.batches) == 1


@pytest.mark.parametrize("feeds, message", [
    ({}, "Batching session Run() must have at least one input tensor"),
    ({"x": np.float32(1)}, "Batching session Run() input tensors must have at least one dimension"),
    ({"x": np.zeros(2), "w": np.zeros(3)}, "Batching session Run() input tensors must have equal 0th-dimension size"),
    ({"x": np.zeros(9)}, "Task size 9 is larger than maximum input batch size 8"),
])
def test_a_request_that_cannot_be_a_batch(feeds, message):
  batcher = _batcher(Recorder(), max_batch_size=8)
  with pytest.raises(status.StatusError) as caught:
    batcher.run("m", feeds, ("y",), _NEVER)
  assert (caught.value.code, caught.value.message) == (grpc.StatusCode.INVALID_ARGUMENT, message)
  batcher.close()


@pytest.mark.parametrize("output, message", [
    (np.float32(1), "Batched output tensor has 0 dimensions"),
    (np.zeros(3), "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                  "input tensors"),
])
def test_an_output_that_is_not_by_row(output, message):
  batcher = _batcher(lambda *arguments: [output])
  with pytest.raises(status.StatusError) as caught:
    batcher.run("m", {"x": np.zeros(2)}, ("y",), _NEVER)
  assert (caught.value.code, caught.value.message) == (grpc.StatusCode.FAILED_PRECONDITION, message)
  batcher.close()


def test_a_bug_in_a_run_ends_neither_thread_nor_wait():
  def run(*arguments):
    raise KeyError("bug")

  batcher = _batcher(run)
  for _ in range(2):
    with pytest.raises(status.StatusError, match="bug"):
      batcher.run("m", {"x": np.zeros(2)}, ("y",), deadline_lib.Deadline(30))
  batcher.close()


@pytest.fixture(scope="module")
def batched(tmp_path_factory, version_folder):
  """A client of a server that merges up to 16 rows, waiting for 20 ms."""
  base = tmp_path_factory.mktemp("batched")
  small_models.copy(version_folder, str(base / "1"))
  parameters = base / "batching.txt"
  parameters.write_text("max_batch_size { value: 16 } batch_timeout_micros { value: 20000 } "
                        "num_batch_threads { value: 1 }")
  with running_server.in_process("--model_name=m", f"--model_base_path={base}", "--enable_batching",
                                 f"--batching_parameters_file={parameters}") as client:
    yield client


def test_batched_answers_equal_those_alone(batched, served):
  random = np.random.default_rng(0)
  requests = [small_models.predict_request(x=random.standard_normal(rows).astype(np.float32))
              for rows in random.integers(1, 6, 60)]
  with futures.ThreadPoolExecutor(16) as pool:
    together = list(pool.map(batched.prediction.Predict, requests))
  for request, response in zip(requests, together):
    assert response == served.prediction.Predict(request)


def test_the_server_batches(batched, served):
  """Equal answers alone would not show it: more rows than a batch holds are refused."""
  request = small_models.predict_request(x=np.zeros(17, np.float32))
  error = running_server.error_of(batched.prediction.Predict, request)
  assert error.details() == "Task size 17 is larger than maximum input batch size 16"
  assert len(small_models.arrays(served.prediction.Predict(request))["y"]) == 17


def test_one_bad_request_of_a_batch_is_its_own_error(batched):
  def send(value):
    try:
      return batched.prediction.Predict(small_models.predict_request("positive", x=np.float32([value])))
    except grpc.RpcError as error:
      return error.code()

  with futures.ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(send, [1, 2, -1, 3, 4, 5, -2, 6]))
  assert [answer for answer in answers if isinstance(answer, grpc.StatusCode)] == 2 * [
      grpc.StatusCode.INVALID_ARGUMENT]
  assert [small_models.arrays(answer)["y"].tolist() for answer in answers if not isinstance(answer, grpc.StatusCode)
          ] == [[1], [2], [3], [4], [5], [6]]


@pytest.mark.parametrize("name", ["served", "batched"])
def test_a_deadline_stops_the_loop(name, request):
  """The processor is idle afterwards; a loop that went on would use all of a core."""
  client = request.getfixturevalue(name)
  error = running_server.error_of(client.prediction.Predict, small_models.predict_request(
      "loop", n=np.int32([small_models.FOREVER])), timeout=0.3)
  assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED

  def is_idle():
    before = time.process_time()
    time.sleep(0.25)
    return time.process_time() - before < 0.1

  running_server.wait_until(is_idle, "an idle processor", patience=30)
