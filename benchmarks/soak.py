"""Mixed traffic for as long as is asked for: honest, slow, greedy, broken and leaving clients, hot swaps, a kill -9.

    python benchmarks/soak.py --export_dir=M/stic --minutes=60 --out=soak.json

A server of a copy of the newest version; honest clients classify over gRPC and REST, --rate times a second each: what
is asked is whether anything breaks or grows in an hour, not how much a machine can do (benchmarks/rest.py). Every tenth
of the time the copy becomes the next version, and half-way the server is killed with -9 and started again on the same
ports. Asked for are failures while it is away and UNAVAILABLE; every other failure of an honest client is one too many.
Memory is noted at the start, in the middle (before the kill) and at the end.
"""

import argparse
import collections
import importlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

from benchmarks import measure  # noqa: E402
from benchmarks import served  # noqa: E402
from serving import version_folders  # noqa: E402

_ATTACKERS = {"slow": 50, "silent": 50, "greedy": 1, "broken": 4, "leaving": 4, "pause": 1.0}
_SWAPS = 10


class Traffic:
  """Honest clients on threads, each making its connection anew where it failed."""

  def __init__(self, server: served.Server, rate: float):
    self.server, self._pause = server, 1.0 / rate
    self.is_away = False
    self.requests = collections.Counter()
    self.failures = collections.Counter()
    self._shape = served.GrpcClient(server).model.image_shape
    self._stop = threading.Event()
    self._threads = [threading.Thread(target=self._send, args=(name,)) for name in ("grpc", "rest") * 2]
    for thread in self._threads:
      thread.start()

  def _client(self, name: str):
    return served.GrpcClient(self.server) if name == "grpc" else served.RestClient(self.server, self._shape)

  def _send(self, name: str) -> None:
    client = None
    while not self._stop.is_set():
      was_away = self.is_away
      try:
        client = client or self._client(name)
        client()
      except served.ERRORS as problem:
        client = None
        # A hot swap between two calls is no failure: the client keeps to the version it has seen, and asks again.
        cause = ("version swapped" if "meanwhile" in str(problem)
                 else "away" if was_away or self.is_away else f"{name}: {str(problem)[:300]}")
        self.failures[cause] += 1
        self._stop.wait(0.1)
      self.requests[name] += 1
      self._stop.wait(self._pause)

  def stop(self) -> None:
    self._stop.set()
    for thread in self._threads:
      thread.join()


def _swap(model_dir: str) -> None:
  """The newest version once more, under the next number; the one before the newest is removed."""
  versions = version_folders.find(model_dir)
  newest = max(versions)
  shutil.copytree(versions[newest], os.path.join(model_dir, "aside"))
  os.rename(os.path.join(model_dir, "aside"), os.path.join(model_dir, str(newest + 1)))
  for version in sorted(versions)[:-1]:
    shutil.rmtree(versions[version])


def run(export_dir: str, minutes: float, rate: float) -> dict:
  versions = version_folders.find(export_dir)
  with tempfile.TemporaryDirectory() as folder:
    model_dir = os.path.join(folder, served.MODEL)
    shutil.copytree(versions[max(versions)], os.path.join(model_dir, "1"))
    server = served.Server(model_dir, folder)
    traffic, memory, start = Traffic(server, rate), {}, time.monotonic()
    try:
      for part in range(2):
        with served.attacked(server, **_ATTACKERS):
          memory.setdefault("start", server.resident_mib())
          for _ in range(_SWAPS // 2):
            time.sleep(60 * minutes / _SWAPS)
            _swap(model_dir)
            print(f"\r{(time.monotonic() - start) / 60:.1f} minutes, {sum(traffic.requests.values())} requests, "
                  f"{server.resident_mib():.0f} MiB, {dict(traffic.failures)}", file=sys.stderr)
          memory["middle" if part == 0 else "end"] = server.resident_mib()
        if part == 0:
          traffic.is_away = True
          server.kill()
          server = traffic.server = served.Server(model_dir, folder, ports=(server.port, server.rest_port))
          time.sleep(2.0)
          traffic.is_away = False
          memory["start again"] = server.resident_mib()
    finally:
      traffic.stop()
      server.stop()
  asked = {"away", "version swapped"}
  return {"minutes": (time.monotonic() - start) / 60, "requests": dict(traffic.requests),
          "failures": dict(traffic.failures), "memory_mib": memory,
          "failures_not_asked_for": sum(count for cause, count in traffic.failures.items() if cause not in asked)}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--export_dir", required=True, help="folder with the numbered folders of an export")
  parser.add_argument("--out", required=True, help="FILE.json")
  parser.add_argument("--minutes", type=float, default=60.0)
  parser.add_argument("--rate", type=float, default=20.0, help="requests a second of an honest client")
  arguments = parser.parse_args()
  for name in ("minutes", "rate"):
    if not getattr(arguments, name) > 0:
      parser.error(f"--{name}={getattr(arguments, name)}: must be above 0")
  if not version_folders.find(arguments.export_dir):
    parser.error(f"--export_dir={arguments.export_dir}: has no numbered folder")
  report = run(arguments.export_dir, arguments.minutes, arguments.rate)
  print(json.dumps(report, indent=1))
  measure.write_json(arguments.out, {**report, **measure.circumstances(os.cpu_count()), "attackers": _ATTACKERS,
                                     "rate": arguments.rate, "export_dir": arguments.export_dir})


if __name__ == "__main__":
  main()
