"""The models being served: polls their folders, loads new versions, then unloads old ones, and hands them to requests.

A version is loaded once its folder is complete: it has a graph file and nothing in it has changed for a poll. One that
fails to load is kept as state END with the reason, is tried again when its folder changes, and meanwhile counts as
absent: the newest version that works serves.
"""

import contextlib
import dataclasses
import enum
import gc
import logging
import os
import threading
import time
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence

import grpc

from serving import session_runner
from serving import status
from serving import version_folders

_LOG = logging.getLogger(__name__)


class State(enum.IntEnum):
  """tensorflow.serving.ModelVersionStatus.State."""

  START = 10
  LOADING = 20
  AVAILABLE = 30
  UNLOADING = 40
  END = 50


@dataclasses.dataclass(frozen=True)
class VersionStatus:
  """State of a version, and what went wrong: code OK and an empty message where nothing did."""

  state: State
  code: grpc.StatusCode = grpc.StatusCode.OK
  message: str = ""


class Servable:
  """A loaded version. Closed once it has been retired and no request uses it any more."""

  def __init__(self, name: str, version: int, path: str, runner: session_runner.SessionRunner):
    self.name, self.version, self.path, self.runner = name, version, path, runner
    self.signatures = runner.signatures
    self.users = 0
    self.is_retired = False


# Loads (model name, version, folder) or raises StatusError, OSError, ValueError or tf.errors.OpError.
Load = Callable[[str, int, str], Servable]


class VersionManager:
  """Keeps the loaded versions equal to what the configuration and the folders ask for. Thread-safe."""

  def __init__(self, load: Load, poll_seconds: float = 1.0):
    self._load = load
    self._poll_seconds = poll_seconds
    self._changed = threading.Condition(threading.RLock())
    self._configs: Dict[str, object] = {}
    self._labels: Dict[str, Dict[str, int]] = {}
    self._loaded: Dict[str, Dict[int, Servable]] = {}
    self._statuses: Dict[str, Dict[int, VersionStatus]] = {}
    self._failed: Dict[str, version_folders.Fingerprint] = {}
    self._seen: Dict[str, version_folders.Fingerprint] = {}
    self._warned = set()
    self._configured = 0
    self._polled = 0
    self._wake = threading.Event()
    self._is_stopping = False
    self._thread = threading.Thread(target=self._poll_for_ever, name="version-polling", daemon=True)

  # What requests ask.

  @contextlib.contextmanager
  def use(self, model_spec) -> Iterator[Servable]:
    """The version that a ModelSpec names, held loaded inside the block.

    Raises:
      StatusError: INVALID_ARGUMENT or NOT_FOUND, in tensorflow_model_server's words.
    """
    with self._held(self._resolve, model_spec) as servable:
      yield servable

  @contextlib.contextmanager
  def use_when_loaded(self, name: str, version: int) -> Iterator[Servable]:
    """A version of which `load` is about to return, or has, held loaded inside the block.

    Raises:
      StatusError: NOT_FOUND, as it is gone again or the server stops.
    """
    self._wait(lambda: self._statuses[name][version].state != State.LOADING, None)
    with self._held(self._loaded_version, name, version) as servable:
      yield servable

  @contextlib.contextmanager
  def _held(self, find: Callable[..., Servable], *args) -> Iterator[Servable]:
    with self._changed:
      servable = find(*args)
      servable.users += 1
    try:
      yield servable
    finally:
      with self._changed:
        servable.users -= 1
      self._close_if_unused(servable)

  def _resolve(self, model_spec) -> Servable:
    name = model_spec.name
    if not name:
      raise status.invalid("ModelSpec has no name specified.")
    choice = model_spec.WhichOneof("version_choice")
    loaded = self._loaded.get(name, {})
    if choice is None:
      if not loaded:
        raise status.not_found(f"Servable not found for request: Latest({name})")
      return loaded[max(loaded)]
    if choice == "version":
      version = model_spec.version.value
    else:
      version = self._labels.get(name, {}).get(model_spec.version_label)
      if version is None:
        raise status.invalid(f"Unrecognized servable version label: {model_spec.version_label}")
    return self._loaded_version(name, version)

  def _loaded_version(self, name: str, version: int) -> Servable:
    loaded = self._loaded.get(name, {})
    if version not in loaded:
      raise status.not_found(f"Servable not found for request: Specific({name}, {version})")
    return loaded[version]

  def statuses(self, name: str) -> Dict[int, VersionStatus]:
    """Status of each version that the model has or had."""
    with self._changed:
      return dict(self._statuses.get(name, {}))

  def is_configured(self, name: str) -> bool:
    return name in self._configs

  def is_served(self, name: str) -> bool:
    """Whether a version of it answers."""
    return bool(self._loaded.get(name))

  def names(self) -> List[str]:
    """Of the models that are configured, in their order."""
    return list(self._configs)

  def base_path(self, name: str) -> Optional[str]:
    """Where the versions of a model are looked for; None for an unknown model."""
    config = self._configs.get(name)
    return config and config.base_path

  # Configuration and life.

  def start(self) -> None:
    self._thread.start()

  def stop(self) -> None:
    """Ends polling and closes every version; runs still under way end with CANCELLED."""
    self._is_stopping = True
    self._wake.set()
    if self._thread.is_alive():
      self._thread.join()
    with self._changed:
      servables = [servable for versions in self._loaded.values() for servable in versions.values()]
      self._loaded.clear()
    for servable in servables:
      servable.runner.close()

  def configure(self, configs: Sequence, timeout: Optional[float] = None) -> None:
    """Serves these ModelConfigs, checked by server_config.check_models, instead of the earlier ones.

    Returns once each new model has an available version.

    Raises:
      StatusError: UNKNOWN, as no version of a new model could be loaded; DEADLINE_EXCEEDED after `timeout` seconds;
        FAILED_PRECONDITION, as a label names a version that is not available. The configuration holds all the same,
        except for the labels in the last case.
    """
    with self._changed:
      new = [config.name for config in configs if config.name not in self._configs]
      self._configs = {config.name: config for config in configs}
      self._configured += 1
      number = self._configured
    self._wake.set()
    self._wait(lambda: self._polled >= number and all(self._settled(name) for name in new), timeout)
    self._check_labels(configs)
    with self._changed:
      self._labels = {config.name: dict(config.version_labels) for config in configs}

  def _wait(self, condition: Callable[[], bool], timeout: Optional[float]) -> None:
    deadline = None if timeout is None else time.monotonic() + timeout
    with self._changed:
      while not condition():
        if self._is_stopping:
          raise status.StatusError(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        seconds = self._poll_seconds if deadline is None else min(self._poll_seconds, deadline - time.monotonic())
        if seconds <= 0:
          raise status.timed_out()
        self._changed.wait(seconds)

  def _settled(self, name: str) -> bool:
    """Whether a version is available. Raises StatusError where all there are have failed."""
    if self._loaded.get(name):
      return True
    statuses = self._statuses.get(name, {})
    if statuses and all(one.state == State.END and one.message for one in statuses.values()):
      version, last = max(statuses.items())
      raise status.StatusError(grpc.StatusCode.UNKNOWN, "Some models did not become available: "
                               f"{{name: {name} version: {version}}} due to error: {last.message}")
    return False

  def _check_labels(self, configs: Sequence) -> None:
    with self._changed:
      for config in configs:
        for label, version in sorted(config.version_labels.items()):
          if version not in self._loaded.get(config.name, {}):
            raise status.failed_precondition(f"Request to assign label to version {version} of model {config.name}, "
                                             f"which is not currently available for inference ({label})")

  # Polling.

  def _poll_for_ever(self) -> None:
    while not self._is_stopping:
      self._wake.clear()
      number = self._configured
      try:
        self.poll()
      except Exception:  # a folder that vanished under our eyes must not end the polling
        _LOG.exception("polling failed")
      with self._changed:
        self._polled = number
        self._changed.notify_all()
      self._wake.wait(self._poll_seconds)

  def poll(self) -> None:
    """Looks at every model's folder once, and loads and unloads."""
    with self._changed:
      configs = dict(self._configs)
      removed = [name for name in self._loaded if name not in configs]
    for name in removed:
      self._unload_all_but(name, {})
    for name, config in configs.items():
      found = version_folders.find(config.base_path)
      if found is None:
        self._warn(name, f"Could not find base path {config.base_path} for servable {name}")
      elif not found:
        self._warn(name, f"No versions of servable {name} found under base path {config.base_path}. Did you forget to "
                         "name your leaf directory as a number (eg. '/1/')?")
        self._unload_all_but(name, {})
      else:
        self._warned.discard(name)
        self._adjust(name, config, found)
      self._forget_absent(name, found)

  def _forget_unasked(self, name: str, asked: Mapping[int, bool]) -> None:
    """Drops what was said about folders that nobody waits for any more."""
    with self._changed:
      for version, one in list(self._statuses.get(name, {}).items()):
        if one.state == State.START and version not in asked:
          del self._statuses[name][version]

  def _forget_absent(self, name: str, found: Optional[Mapping[int, str]]) -> None:
    """Drops the statuses of folders that were never served and are gone."""
    with self._changed:
      statuses = self._statuses.get(name, {})
      for version, one in list(statuses.items()):
        if version not in (found or {}) and one.message and one.state in (State.START, State.END):
          del statuses[version]
      paths = {path for path in self._seen if not os.path.isdir(path)}
      for path in paths:
        self._seen.pop(path)
        self._failed.pop(path, None)

  def _warn(self, name: str, message: str) -> None:
    if name not in self._warned:
      self._warned.add(name)
      _LOG.warning(message)

  def _adjust(self, name: str, config, found: Mapping[int, str]) -> None:
    """Loads what is wanted, in rising order, then unloads the rest."""
    ready: Dict[int, bool] = {}  # looked at once a poll, as a folder must not change from one to the next

    def is_usable(version: int) -> bool:
      if version not in ready:
        ready[version] = self._is_ready(name, version, found[version])
      return ready[version] and found[version] not in self._failed

    while not self._is_stopping:
      wanted = version_folders.wanted(config.model_version_policy, found, is_usable)
      loaded = self._loaded.get(name, {})
      missing = [version for version in sorted(wanted)
                 if version not in loaded or loaded[version].path != wanted[version]]
      if not missing:
        break
      self._load_one(name, missing[0], wanted[missing[0]])
    else:
      return
    self._forget_unasked(name, ready)
    # With nothing to take its place yet, what serves goes on serving, its own folder there or not.
    if wanted:
      self._unload_all_but(name, wanted)

  def _is_ready(self, name: str, version: int, path: str) -> bool:
    """Whether the folder is loaded, or complete and not known to be broken."""
    servable = self._loaded.get(name, {}).get(version)
    if servable is not None and servable.path == path:
      return True
    fingerprint, newest = version_folders.fingerprint(path)
    unchanged = self._seen.get(path) == fingerprint or 0 <= time.time() - newest >= self._poll_seconds
    self._seen[path] = fingerprint
    if self._failed.get(path) == fingerprint:
      return False
    self._failed.pop(path, None)
    if unchanged and version_folders.has_graph(path):
      return True
    reason = "it is still being written" if version_folders.has_graph(path) else "it has no saved_model.pb"
    self._set_status(name, version, VersionStatus(State.START, grpc.StatusCode.UNAVAILABLE,
                                                  f"waiting for {path} to be complete: {reason}"))
    return False

  def _load_one(self, name: str, version: int, path: str) -> None:
    self._set_status(name, version, VersionStatus(State.LOADING))
    _LOG.info("Loading servable {name: %s version: %d} from %s", name, version, path)
    try:
      servable = self._load(name, version, path)
    except Exception as problem:  # whatever a damaged file leads to, the other versions serve on
      code = problem.code if isinstance(problem, status.StatusError) else grpc.StatusCode.UNKNOWN
      message = " ".join((problem.message if isinstance(problem, status.StatusError) else str(problem)).split())
      _LOG.error("Loading servable {name: %s version: %d} failed: %s", name, version, message)
      self._failed[path] = self._seen.get(path, ())
      self._set_status(name, version, VersionStatus(State.END, code, message or repr(problem)))
      return
    with self._changed:
      before = self._loaded.setdefault(name, {}).get(version)
      self._loaded[name][version] = servable
      self._set_status(name, version, VersionStatus(State.AVAILABLE))
    _LOG.info("Successfully loaded servable version {name: %s version: %d}", name, version)
    if before is not None:
      self._retire([before])

  def _unload_all_but(self, name: str, wanted: Mapping[int, str]) -> None:
    with self._changed:
      loaded = self._loaded.get(name, {})
      leaving: List[Servable] = [loaded.pop(version) for version in sorted(loaded) if version not in wanted]
      for servable in leaving:
        self._set_status(name, servable.version, VersionStatus(State.UNLOADING))
    self._retire(leaving)

  def _retire(self, servables: Sequence[Servable]) -> None:
    for servable in servables:
      with self._changed:
        servable.is_retired = True
      self._close_if_unused(servable)

  def _close_if_unused(self, servable: Servable) -> None:
    with self._changed:
      if servable.users or not servable.is_retired:
        return
      servable.is_retired = False  # only once
      runner, servable.runner = servable.runner, None
    runner.close()
    del runner
    gc.collect()  # a graph is a circle of references
    _LOG.info("Done unloading servable version {name: %s version: %d}", servable.name, servable.version)
    if self._state_of(servable) == State.UNLOADING:
      self._set_status(servable.name, servable.version, VersionStatus(State.END))

  def _state_of(self, servable: Servable) -> Optional[State]:
    one = self._statuses.get(servable.name, {}).get(servable.version)
    return one and one.state

  def _set_status(self, name: str, version: int, one: VersionStatus) -> None:
    with self._changed:
      self._statuses.setdefault(name, {})[version] = one
      self._changed.notify_all()
