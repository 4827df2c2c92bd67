"""TF_CONFIG, and how workers meet: threads stand in for the processes, and nothing here needs TensorFlow."""

import contextlib
import json
import socket
import threading
from concurrent import futures

import pytest

from stic_tf import cluster as cluster_lib
from stic_tf.config import ConfigError


def _addresses(count):
  with contextlib.ExitStack() as held:
    sockets = [held.enter_context(socket.socket()) for _ in range(count)]
    for each in sockets:
      each.bind(("127.0.0.1", 0))
    return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


def _of(addresses, index, kinds=("worker",)):
  tasks = {kind: addresses[place:place + 1] for place, kind in enumerate(kinds[:-1])}
  tasks[kinds[-1]] = addresses[len(kinds) - 1:]
  return cluster_lib.from_environment({"TF_CONFIG": json.dumps(
      {"cluster": tasks, "task": {"type": kinds[-1], "index": index}})})


@pytest.mark.parametrize("text, told", [
    ("{", "is not JSON"), ("[]", "has no cluster"), ("{}", "has no cluster"),
    ('{"cluster": {"worker": ["a:1", "b:2"]}}', "has no cluster or no task"),
    ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 2}}', "no task worker 2"),
    ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "chief", "index": 0}}', "no task chief 0"),
    ('{"cluster": {"worker": ["a:1", "b"]}, "task": {"type": "worker", "index": 0}}', "worker 1 is 'b', no host:port"),
    ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}', "an address is there twice"),
    ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "worker is no list"),
    ('{"cluster": {"worker": ["a:1"], "ps": ["b:2"]}, "task": {"type": "worker", "index": 0}}', "tasks of the type ps"),
])
def test_a_wrong_tf_config_is_one_line(text, told):
  with pytest.raises(ConfigError) as refused:
    cluster_lib.from_environment({"TF_CONFIG": text})
  assert str(refused.value).startswith("TF_CONFIG: ") and told in str(refused.value)
  assert "\n" not in str(refused.value)


def test_one_worker_is_no_cluster():
  assert cluster_lib.from_environment({}) is None
  assert cluster_lib.from_environment({"TF_CONFIG": ""}) is None
  assert _of(["a:1"], 0) is None


def test_the_chief_comes_first():
  with_chief = _of(["a:1", "b:2", "c:3"], 1, kinds=("chief", "worker"))
  assert [name for name, *_ in with_chief.tasks] == ["chief", "worker", "worker"]
  assert with_chief.own == 2 and not with_chief.is_chief
  assert _of(["a:1", "b:2"], 0).is_chief


def _meeting(addresses, settings, timeout=20.0):
  """What each worker's `meet` raised, or None."""
  with futures.ThreadPoolExecutor(len(addresses)) as pool:
    ends = [pool.submit(cluster_lib.meet, _of(addresses, index), own, timeout)
            for index, own in enumerate(settings)]
    return [end.exception() for end in ends]


def test_workers_meet_and_leave_the_port_free():
  addresses = _addresses(3)
  assert _meeting(addresses, [{"--width": 8}] * 3) == [None] * 3
  assert _meeting(addresses, [{"--width": 8}] * 3) == [None] * 3  # at once again


def test_workers_of_other_settings_are_refused_and_told_which():
  ends = _meeting(_addresses(3), [{"--width": 8, "commit": "a"}, {"--width": 8, "commit": "a"},
                                  {"--width": 16, "commit": "b"}])
  for end in ends:
    assert isinstance(end, ConfigError)
    assert "--width is 8 for worker 0" in end.as_flags and "16 for worker 2" in end.as_flags
    assert "commit is a" in end.as_flags


def test_a_start_says_whom_it_waits_for_and_ends(monkeypatch, capsys):
  monkeypatch.setattr(cluster_lib, "_SILENCE_SECONDS", 0.1)
  addresses = _addresses(2)
  for index in (0, 1):
    with pytest.raises(ConfigError, match=f"in vain for worker {1 - index} "):
      cluster_lib.meet(_of(addresses, index), {}, 1.0)
    assert f"worker {index} ({addresses[index]}) waits for worker {1 - index}" in capsys.readouterr().err


def test_a_taken_port_is_one_line():
  with socket.create_server(("127.0.0.1", 0)) as taken:
    addresses = [f"127.0.0.1:{taken.getsockname()[1]}", *_addresses(1)]
    with pytest.raises(ConfigError, match="cannot listen"):
      cluster_lib.meet(_of(addresses, 0), {}, 1.0)


def test_a_worker_that_comes_late_or_twice_and_strangers_do_no_harm():
  """Port scanners, garbage, and a worker that was killed while it waited: the meeting goes on without them."""
  addresses = _addresses(3)
  chief_host, chief_port = addresses[0].split(":")
  with futures.ThreadPoolExecutor(3) as pool:
    chief = pool.submit(cluster_lib.meet, _of(addresses, 0), {"a": 1}, 30.0)

    def say(text):
      for _ in range(100):
        with contextlib.suppress(ConnectionRefusedError):
          connection = socket.create_connection((chief_host, int(chief_port)), timeout=5)
          connection.sendall(text)
          return connection
        threading.Event().wait(0.05)
      raise AssertionError("the chief never listened")

    for stranger in (b"", b"GET / HTTP/1.0\r\n\r\n", b'{"place": 9, "settings": {}}\n', b"\x00" * 10):
      say(stranger).close()
    dead = say(json.dumps({"place": 1, "settings": {"a": 2}}).encode() + b"\n")
    threading.Event().wait(0.5)
    dead.close()  # killed; another with the right settings comes in its place
    others = [pool.submit(cluster_lib.meet, _of(addresses, index), {"a": 1}, 30.0) for index in (1, 2)]
    assert [end.exception() for end in (chief, *others)] == [None] * 3
