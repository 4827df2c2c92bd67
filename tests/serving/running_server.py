"""Servers for tests: one in this process, and one in its own that can be killed."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Iterator, List

import grpc
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving import server
from serving import server_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
_PATIENCE = 60


class Client:
  """Stubs of a server, and its address."""

  def __init__(self, port: int, rest_port=None, credentials=None):
    options = [("grpc.max_receive_message_length", -1)]
    self.address = f"localhost:{port}"
    self.channel = (grpc.secure_channel(self.address, credentials, options) if credentials
                    else grpc.insecure_channel(self.address, options))
    self.rest = f"http://localhost:{rest_port}"
    self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
    self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

  def states(self, model: str = "m"):
    """{version: (state, error code, message)}."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    response = self.model.GetModelStatus(request)
    return {one.version: (one.state, one.status.error_code, one.status.error_message)
            for one in response.model_version_status}


def wait_until(condition, what: str, patience: float = _PATIENCE) -> None:
  """Polls, and fails the test if it never holds."""
  end = time.monotonic() + patience
  while not condition():
    assert time.monotonic() < end, f"{what} did not happen"
    time.sleep(0.02)


def error_of(call, *arguments, **options) -> grpc.RpcError:
  """The error of a call, which must fail."""
  try:
    response = call(*arguments, **options)
  except grpc.RpcError as error:
    return error
  raise AssertionError(f"the call succeeded: {response}")


@contextlib.contextmanager
def in_process(*flags: str) -> Iterator[Client]:
  """Serves in a thread, on ports of its own, polling folders often."""
  settings = server_config.from_flags(["--port=0", "--rest_port=0", "--file_system_poll_wait_seconds=0.05", *flags])
  stop, ready, ports, problems = threading.Event(), threading.Event(), [], []

  def run() -> None:
    try:
      server.serve(settings, stop, lambda *both: (ports.extend(both), ready.set()))
    except Exception as problem:
      problems.append(problem)
    ready.set()

  thread = threading.Thread(target=run)
  thread.start()
  try:
    assert ready.wait(_PATIENCE), "the server never opened its port"
    if problems:
      raise problems[0]
    client = Client(*ports)
    yield client
    client.channel.close()
  finally:
    stop.set()
    thread.join(_PATIENCE)
  assert not thread.is_alive()


class Process:
  """`python serving/server.py` in its own process."""

  def __init__(self, log: str, *flags: str):
    self.log = log
    with open(log, "wb") as file:
      self.process = subprocess.Popen([sys.executable, "serving/server.py", *flags], cwd=ROOT, stdout=file, stderr=file,
                                      env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})

  def text(self) -> str:
    with open(self.log, encoding="utf-8") as file:
      return file.read()

  def wait_for(self, pattern: str) -> List[str]:
    """The groups of the first match in the log."""
    try:
      wait_until(lambda: re.search(pattern, self.text()) or self.process.poll() is not None, pattern)
    except AssertionError as failure:
      raise AssertionError(f"{failure}; the server's log:\n{self.text()}") from None
    match = re.search(pattern, self.text())
    assert match, self.text()
    return list(match.groups())

  def client(self) -> Client:
    return Client(int(self.wait_for(r"Running ModelServer at \S+:(\d+)")[0]))

  def end(self, number: int = signal.SIGTERM) -> int:
    """Sends a signal; the exit code."""
    self.process.send_signal(number)
    return self.process.wait(_PATIENCE)


@contextlib.contextmanager
def process(log: str, *flags: str) -> Iterator[Process]:
  one = Process(log, *flags)
  try:
    yield one
  finally:
    if one.process.poll() is None:
      one.end(signal.SIGKILL)
