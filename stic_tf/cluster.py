"""Who trains one run together (TF_CONFIG), and how they meet before TensorFlow starts. No TensorFlow.

The chief listens at its own address; each other worker says there which task it is and with which settings. When all
have come, the chief lets them go on, or refuses all where they differ. TensorFlow by itself would wait for ever, and
without a word.
"""

import contextlib
import dataclasses
import json
import os
import selectors
import socket
import sys
import time
from typing import Dict, Iterable, Mapping, Optional, Tuple

from stic_tf import config as config_lib

_SILENCE_SECONDS = 5.0  # how long a start waits without saying for whom
_PAUSE_SECONDS = 0.2
_LONGEST_LINE = 2 ** 20
_EXAMPLE = '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'


@dataclasses.dataclass(frozen=True)
class Cluster:
  """What TF_CONFIG says.

  Attributes:
    tasks: (type, number, "host:port") of each, the chief first.
    own: which of them this process is.
  """

  tasks: Tuple[Tuple[str, int, str], ...]
  own: int

  @property
  def is_chief(self) -> bool:
    """Whether this process is the one that reads and writes."""
    return self.own == 0

  def name(self, place: int) -> str:
    """A task as a line for people has it."""
    kind, number, address = self.tasks[place]
    return f"{kind} {number} ({address})"


def from_environment(environment: Mapping[str, str] = os.environ) -> Optional[Cluster]:
  """The workers of TF_CONFIG; None where it is not set or names but one.

  Raises:
    ConfigError: it is no JSON, names no such task, or tasks of another kind.
  """
  text = environment.get("TF_CONFIG", "")
  if not text.strip():
    return None

  def wrong(reason):
    return config_lib.ConfigError(f"TF_CONFIG: {reason}; it must be as " + _EXAMPLE)

  try:
    stated = json.loads(text)
  except ValueError as problem:
    raise wrong(f"is not JSON ({problem})") from problem
  cluster, task = (stated.get(name) if isinstance(stated, dict) else None for name in ("cluster", "task"))
  if not isinstance(cluster, dict) or not isinstance(task, dict):
    raise wrong("has no cluster or no task")
  others = sorted(set(cluster) - {"chief", "worker"})
  if others:
    raise wrong(f"has tasks of the type {others[0]}, which take no part in this training")
  tasks = []
  for kind in ("chief", "worker"):
    addresses = cluster.get(kind, [])
    if not isinstance(addresses, list):
      raise wrong(f"{kind} is no list")
    for number, address in enumerate(addresses):
      host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
      if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise wrong(f"{kind} {number} is {address!r}, no host:port")
      tasks.append((kind, number, address))
  if len({address for *_, address in tasks}) < len(tasks):
    raise wrong("an address is there twice")
  own = [place for place, (kind, number, _) in enumerate(tasks)
         if (kind, str(number)) == (task.get("type"), str(task.get("index")))]
  if not own:
    raise wrong(f"names no task {task.get('type')} {task.get('index')}")
  return Cluster(tuple(tasks), own[0]) if len(tasks) > 1 else None


def meet(cluster: Cluster, settings: Dict[str, object], timeout_seconds: float) -> None:
  """Waits until all workers are there, saying for whom, and refuses workers whose settings are not the chief's.

  Args:
    cluster: who is to come.
    settings: of this worker, JSON.
    timeout_seconds: how long to wait.

  Raises:
    ConfigError: nobody came in that time, settings differ, or the chief cannot listen at its address.
  """
  clock = _Clock(cluster, timeout_seconds)
  if cluster.is_chief:
    _gather(cluster, settings, clock)
  else:
    _report(cluster, settings, clock)


class _Clock:
  """Says whom a start waits for, once and when that changes, and when it has waited too long."""

  def __init__(self, cluster: Cluster, timeout_seconds: float):
    self._own, self._timeout = cluster.name(cluster.own), timeout_seconds
    self._began, self._said = time.monotonic(), None

  def waits_for(self, whom: str) -> None:
    """Raises ConfigError when the time is over."""
    waited = time.monotonic() - self._began
    config_lib.require(waited < self._timeout, "worker_timeout", f"{self._timeout:g}",
                       f"{self._own} has waited as many seconds in vain for {whom}")
    if waited > _SILENCE_SECONDS and whom != self._said:
      print(f"{self._own} waits for {whom}", file=sys.stderr, flush=True)
      self._said = whom


def _gather(cluster: Cluster, settings: Dict[str, object], clock: _Clock) -> None:
  """The chief's part."""
  host, port = _host_and_port(cluster.tasks[0][-1])
  try:
    listener = socket.create_server((host, port))
  except OSError as problem:
    raise config_lib.ConfigError(f"TF_CONFIG: {cluster.name(0)} cannot listen at its address ({problem})") from problem
  with contextlib.ExitStack() as held:
    selector = held.enter_context(selectors.DefaultSelector())
    selector.register(held.enter_context(listener), selectors.EVENT_READ)
    unread, there, stated = {}, {}, {cluster.own: json.loads(json.dumps(settings))}
    while len(stated) < len(cluster.tasks):
      clock.waits_for(_names(cluster, set(range(len(cluster.tasks))) - set(stated)))
      for key, _ in selector.select(_PAUSE_SECONDS):
        if key.fileobj is listener:
          connection = held.enter_context(listener.accept()[0])
          selector.register(connection, selectors.EVENT_READ)
          unread[connection] = b""
          continue
        connection = key.fileobj
        place, theirs = _heard(connection, unread)
        if place is None or place in stated or not 0 < place < len(cluster.tasks):
          if connection not in unread:  # closed, or no worker
            selector.unregister(connection)
            there = {own: other for own, other in there.items() if other is not connection}
            stated = {own: value for own, value in stated.items() if own == cluster.own or own in there}
          continue
        stated[place], there[place] = theirs, connection
    refusal = _difference(cluster, stated)
    for connection in there.values():
      with contextlib.suppress(OSError):
        connection.sendall(json.dumps({"refused": refusal}).encode() + b"\n")
        connection.settimeout(1.0)
        connection.recv(1)  # who closes first leaves its port taken for a while: let it be theirs
  if refusal:
    raise config_lib.ConfigError(refusal)


def _heard(connection: socket.socket, unread: Dict[socket.socket, bytes]) -> Tuple[Optional[int], object]:
  """(place, settings) of a worker that has said all; (None, None) else, and a closed or odd one leaves `unread`."""
  try:
    more = connection.recv(65536)
  except OSError:
    more = b""
  text = unread.get(connection, b"") + more
  if more and not text.endswith(b"\n") and len(text) < _LONGEST_LINE:
    unread[connection] = text
    return None, None
  unread.pop(connection, None)
  try:
    stated = json.loads(text)
    return int(stated["place"]), dict(stated["settings"])
  except (ValueError, TypeError, KeyError):
    return None, None


def _report(cluster: Cluster, settings: Dict[str, object], clock: _Clock) -> None:
  """The part of a worker that is not the chief."""
  while True:
    clock.waits_for(cluster.name(0))
    try:
      with socket.create_connection(_host_and_port(cluster.tasks[0][-1]), timeout=1.0) as connection:
        connection.sendall(json.dumps({"place": cluster.own, "settings": settings}).encode() + b"\n")
        connection.settimeout(_PAUSE_SECONDS)
        answer = b""
        while not answer.endswith(b"\n"):
          clock.waits_for("the others")
          with contextlib.suppress(socket.timeout):
            more = connection.recv(65536)
            if not more:
              raise ConnectionError("the chief has ended")
            answer += more
      refusal = json.loads(answer)["refused"]
    except (OSError, ValueError, KeyError):
      time.sleep(_PAUSE_SECONDS)
      continue
    if refusal:
      raise config_lib.ConfigError(refusal)
    return


def _difference(cluster: Cluster, stated: Mapping[int, Dict[str, object]]) -> Optional[str]:
  """What workers do not agree on, as a line; None where they do."""
  own = stated[cluster.own]
  for place, theirs in sorted(stated.items()):
    names = [name for name in {**own, **theirs} if theirs.get(name) != own.get(name)]
    if names:
      return "the workers differ: " + "; ".join(
          f"{name} is {own.get(name)} for {cluster.name(cluster.own)} and {theirs.get(name)} for {cluster.name(place)}"
          for name in names)
  return None


def _names(cluster: Cluster, places: Iterable[int]) -> str:
  return ", ".join(cluster.name(place) for place in sorted(places))


def _host_and_port(address: str) -> Tuple[str, int]:
  host, _, port = address.rpartition(":")
  return host.strip("[]"), int(port)
