"""Starts several workers of one training on this machine, for trying out; what is behind -- are flags of main.py.

    python trainers/launch.py --workers=2 -- --flagfile=trainers/flagfiles/digits.flags

Each gets its share of the cores and the same TF_CONFIG, as on several machines the user or a cluster's scheduler sets
it. The chief says how the training goes on. When one ends badly, the others do.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import List

if not __package__:  # run as a file of a checkout, which then comes first
  sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from absl import app  # noqa: E402
from absl import flags  # noqa: E402

from stic_tf import command  # noqa: E402
from stic_tf import config as config_lib  # noqa: E402

flags.DEFINE_integer("workers", 2, "How many.")
_MAIN = str(pathlib.Path(__file__).resolve().parent / "main.py")
_GRACE_SECONDS = 30  # in which workers end by themselves after one of them did
_THREADS = "TF_NUM_INTRAOP_THREADS"


def free_addresses(count: int) -> List[str]:
  """Addresses of this machine at which nobody listens now."""
  with contextlib.ExitStack() as held:
    sockets = [held.enter_context(socket.socket()) for _ in range(count)]
    for each in sockets:
      each.bind(("127.0.0.1", 0))
    return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


def launch(count: int, arguments: List[str]) -> int:
  """Runs the workers to their end; returns the first bad exit code, else 0."""
  addresses = free_addresses(count)
  threads = str(max(1, len(os.sched_getaffinity(0)) // count))
  processes = []
  try:
    for index in range(count):
      task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
      environment = {_THREADS: threads, **os.environ, "TF_CONFIG": json.dumps(task)}
      processes.append(subprocess.Popen([sys.executable, _MAIN, *arguments], env=environment))
    bad, deadline = 0, None
    while any(process.poll() is None for process in processes):
      codes = [process.returncode for process in processes if process.returncode]
      bad = bad or (codes[0] if codes else 0)
      deadline = deadline or (time.monotonic() + _GRACE_SECONDS if bad else None)
      if deadline and time.monotonic() > deadline:
        break
      time.sleep(0.1)
    return bad or next((process.returncode for process in processes if process.returncode), 0)
  finally:
    for process in processes:
      if process.poll() is None:
        process.kill()
      process.wait()


def main(argv) -> None:
  with command.answering(argv[:1], lambda: "--run_dir"):
    config_lib.require(1 <= flags.FLAGS.workers <= 64, "workers", flags.FLAGS.workers, "must lie in [1, 64]")
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
  try:
    code = launch(flags.FLAGS.workers, argv[1:])
  except KeyboardInterrupt:
    code = 1
  sys.exit(max(code, 1) if code else 0)  # one that was killed has a code below 0


if __name__ == "__main__":
  app.run(main, flags_parser=command.parser(flags.FLAGS, flags.Error))
