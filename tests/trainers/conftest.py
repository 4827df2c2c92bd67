"""`main`: the command under test, as a function."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Callable, Optional

import pytest

from tests import tiny_run

_SERVER = str(pathlib.Path(__file__).with_name("fork_server.py"))
_PATIENCE_SECONDS = 300


@dataclasses.dataclass
class Outcome:
  """How a command ended."""

  code: int
  stdout: str
  stderr: str

  def error(self) -> str:
    """The one line on stderr of a command that found its input wrong."""
    assert self.code == 2, (self.code, self.stderr)
    lines = self.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), self.stderr
    return lines[0]


class Main:
  """Calls `python trainers/main.py FLAGS…` in `folder`; see fork_server.py."""

  def __init__(self, folder: str, judge_cache: str):
    self.folder = folder
    environment = {**os.environ, "HOME": folder, "TFDS_DATA_DIR": os.path.join(folder, "no_datasets")}
    self._process = subprocess.Popen([sys.executable, _SERVER, tiny_run.MAIN], stdin=subprocess.PIPE, text=True,
                                     stdout=subprocess.PIPE, cwd=folder, env=environment)
    self._files = {name: os.path.join(folder, name) for name in ("stdout", "stderr")}
    self._judge_cache = judge_cache

  def __call__(self, *flags: str, largest_file: Optional[int] = None,
               kill_when: Optional[Callable[[], bool]] = None) -> Outcome:
    """Runs the command to its end.

    Args:
      flags: of the command line.
      largest_file: bytes that a file may have before the disk counts as full.
      kill_when: asked again and again; the command gets a SIGKILL when it says yes.
    """
    request = {"flags": [f"--cache_dir={self._judge_cache}", *flags], "largest_file": largest_file, **self._files}
    self._process.stdin.write(json.dumps(request) + "\n")
    self._process.stdin.flush()
    child = int(self._process.stdout.readline())
    if kill_when:
      self._kill(child, kill_when)
    code = int(self._process.stdout.readline())
    texts = {name: pathlib.Path(path).read_text(encoding="utf-8") for name, path in self._files.items()}
    return Outcome(code, **texts)

  def _kill(self, child: int, kill_when: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not kill_when():
      assert time.monotonic() < deadline, "the command never came to where it was to be killed"
      time.sleep(0.005)
    os.kill(child, signal.SIGKILL)

  def close(self) -> None:
    self._process.stdin.close()
    self._process.wait()


@pytest.fixture(scope="session")
def main(tmp_path_factory, judge_cache):
  """Calls the command and gives its Outcome."""
  command = Main(str(tmp_path_factory.mktemp("home")), judge_cache)
  yield command
  command.close()


@pytest.fixture(scope="session")
def train(main):
  """Trains a tiny run: train(run_dir, *flags) -> Outcome."""
  return lambda run_dir, *flags, **settings: main(*tiny_run.flags(*flags), f"--run_dir={run_dir}", **settings)
