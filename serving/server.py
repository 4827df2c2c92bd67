"""Entry point: serves SavedModels over gRPC and REST as tensorflow_model_server does, without its binary.

    python serving/server.py --model_name=stic --model_base_path=M/stic --port=8500 --rest_port=8501

Exit codes: 0 after SIGTERM or SIGINT, 2 for a wrong flag, 1 for anything else. docs/serving.md has the rest.
"""

import logging
import os
import pathlib
import signal
import socket
import sys
import threading
from typing import Callable, Optional

if not __package__:  # run as a file of a checkout, which then takes the place of this file's folder
  sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # a drawing then does not depend on its batch

from serving import flag_error  # noqa: E402
from serving import ports  # noqa: E402
from serving import server_config  # noqa: E402

_LOG = logging.getLogger("server")


def serve(settings: server_config.ServerConfig, stop: threading.Event,
          on_ready: Callable[[int, Optional[int]], None] = lambda port, rest_port: None) -> None:
  """Loads, listens and answers until `stop` is set; then refuses what is new and finishes what is under way.

  Args:
    on_ready: called with the ports once they are open.

  Raises:
    StatusError: a model has only versions that cannot be loaded.
    FlagError: an address cannot be had.
  """
  # Taken first: what is in the way of listening is said before anything is loaded.
  listener = ports.reserve("port", settings.host, settings.port) if settings.port else None
  rest_listener = None if settings.rest_port is None else ports.reserve("rest_port", settings.host, settings.rest_port)
  _LOG.info("Starting ModelServer: loading TensorFlow ...")
  # Imported only now: a wrong flag is answered before TensorFlow has loaded.
  from serving import batching
  from serving import grpc_server as grpc_lib
  from serving import model_api
  from serving import rest
  from serving import rest_server as rest_lib
  from serving import session_runner
  from serving import versions
  from serving import warmup_replay

  def load(name: str, version: int, path: str) -> versions.Servable:
    runner = session_runner.SessionRunner(path, settings.intra_op_threads, settings.inter_op_threads)
    servable = versions.Servable(name, version, path, runner)
    if settings.opens_early and not manager.is_served(name):
      threading.Thread(target=warm_behind, args=(name, version), daemon=True).start()
      return servable
    try:
      warm(servable)
    except BaseException:
      runner.close()
      raise
    return servable

  def warm(servable: versions.Servable) -> None:
    count = warmup_replay.replay(servable, model_api.run_alone)
    _LOG.info("%d warm-up requests of {name: %s version: %d} run", count, servable.name, servable.version)

  def warm_behind(name: str, version: int) -> None:
    """Warms a version that answers already, one at a time."""
    try:
      with warming, manager.use_when_loaded(name, version) as servable:
        warm(servable)
    except Exception as problem:  # it answers as well as it can
      _LOG.warning("Warm-up of {name: %s version: %d} failed: %s", name, version, " ".join(str(problem).split()))

  warming = threading.Lock()
  manager = versions.VersionManager(load, settings.poll_seconds)
  batcher = batching.Batcher(settings.batching, model_api.run_alone) if settings.batching else None
  api = model_api.ModelApi(manager, batcher.run if batcher else model_api.run_alone, settings.max_message_bytes,
                           settings.max_rows)
  rest_server = rest_lib.RestServer(rest.RestApp(api, settings), rest_listener, settings) if rest_listener else None
  grpc_server = grpc_lib.GrpcServer(api, settings)
  manager.start()
  try:
    if not _wait_for_models(manager, settings.models[:1] if settings.opens_early else settings.models, stop):
      return
    if listener:
      listener.close()  # for gRPC, which binds by itself
    port = grpc_server.start()
    _LOG.info("Running ModelServer at %s:%d ...", settings.host, port)
    if rest_server:
      rest_server.start()
      _LOG.info("Exporting HTTP/REST API at:%s:%d ...", settings.host, rest_server.port)
    if settings.models_poll_seconds or settings.opens_early:
      threading.Thread(target=_follow_models, args=(manager, settings, stop), daemon=True).start()
    on_ready(port, rest_server.port if rest_server else None)
    stop.wait()
    drained = grpc_server.stop(settings.drain_seconds)
    # Said when new calls are refused, so that who reads it can count on that.
    _LOG.info("Shutting down: waiting for requests under way, %g s at most", settings.drain_seconds)
    if rest_server:
      rest_server.stop()
    drained.wait()
  finally:
    for one in filter(None, (listener, rest_listener)):
      one.close()
    manager.stop()
    if batcher:
      batcher.close()


def _wait_for_models(manager, models, stop: threading.Event) -> bool:
  """Waits until each of some models has a version; False where the server is to stop before that."""
  problems = []

  def wait() -> None:
    try:
      manager.configure(models)
    except Exception as problem:
      problems.append(problem)
    ready.set()

  ready = threading.Event()
  threading.Thread(target=wait, daemon=True).start()
  while not ready.wait(0.05):
    if stop.is_set():
      return False
  if problems:
    raise problems[0]
  return True


def _follow_models(manager, settings: server_config.ServerConfig, stop: threading.Event) -> None:
  """Serves what is not yet served, and what --model_config_file says from now on, whenever it has changed."""
  served, said = settings.models[:1] if settings.opens_early else settings.models, None
  while True:
    try:
      models = server_config.read_models(settings.models_file) if settings.models_poll_seconds else settings.models
      if models != served:
        _LOG.info("Serving %s", ", ".join(model.name for model in models))
        manager.configure(models, timeout=60.0)
        served = models
      said = None
    except Exception as problem:  # those that are served go on; what is wrong is said once
      if str(problem) != said:
        _LOG.warning("%s", " ".join(str(problem).split()))
      said = str(problem)
    is_done = not settings.models_poll_seconds and models == served
    if is_done or stop.wait(settings.models_poll_seconds or settings.poll_seconds):
      return


def stop_on_signals(stop: threading.Event) -> None:
  """Sets `stop` at SIGTERM and SIGINT, from a thread of its own.

  A handler that set it would run in the main thread, between any two of its steps: in the middle of `stop.wait()` it
  would wait for a lock which that thread itself holds, and just before the thread falls asleep it would not be seen.
  """
  reading, writing = socket.socketpair()
  writing.setblocking(False)
  signal.set_wakeup_fd(writing.detach())
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: None)
  threading.Thread(target=lambda: (reading.recv(1), stop.set()), daemon=True).start()


def main() -> None:
  logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s", stream=sys.stderr)
  logging.getLogger("tensorflow").setLevel(logging.ERROR)
  stop = threading.Event()
  stop_on_signals(stop)
  code = 0
  try:
    serve(server_config.from_flags(sys.argv[1:]), stop)
  except flag_error.FlagError as problem:
    print("error: " + " ".join(str(problem).split()), file=sys.stderr)
    code = 2
  except Exception as problem:
    print("Failed to start server. Error: " + " ".join(str(problem).split()), file=sys.stderr)
    code = 1
  sys.stderr.flush()
  os._exit(code)  # a run that ignores its cancellation must not hold the process


if __name__ == "__main__":
  main()
