"""Two worker processes train one run: the numbers of one process with two replicas, and a kill loses nothing."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests import tiny_run
from trainers import launch

_LAUNCH = str(pathlib.Path(launch.__file__))
_PATIENCE_SECONDS = 300


def _workers(run_dir, judge_cache, *flags):
  command = [sys.executable, _LAUNCH, "--workers=2", "--", *tiny_run.flags(*flags), f"--run_dir={run_dir}",
             f"--cache_dir={judge_cache}", "--checkpoint_minutes=1e-9"]
  # As many threads as the run beside it has: another number orders sums otherwise.
  return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "TF_NUM_INTRAOP_THREADS": "0"})


def _kill_a_worker(launcher, index: int, when) -> None:
  """SIGKILL for one of the launcher's workers once `when()` says yes."""
  deadline = time.monotonic() + _PATIENCE_SECONDS
  while not when():
    assert launcher.poll() is None and time.monotonic() < deadline, "they never came to where one was to be killed"
    time.sleep(0.01)
  children = pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text(encoding="utf-8").split()
  os.kill(int(children[index]), signal.SIGKILL)


def test_two_workers_train_as_two_replicas_also_after_a_kill(train, judge_cache, tmp_path):
  """STIC's numbers are equal to the bit, kill or not: log, summary and all of the last checkpoint."""
  one = train(tmp_path / "one", "--num_replicas=2")
  assert one.code == 0, one.stderr
  run = tmp_path / "workers"
  killed = _workers(run, judge_cache, "--num_replicas=2")
  _kill_a_worker(killed, 1, (run / "checkpoints" / "pass_0001_update_000004.npz").exists)
  _, errors = killed.communicate(timeout=_PATIENCE_SECONDS)
  assert killed.returncode != 0
  assert "error: a worker was lost (" in errors and "Traceback" not in errors
  assert not (run / "summary.json").exists()
  again = _workers(run, judge_cache, "--num_replicas=2")
  output, errors = again.communicate(timeout=_PATIENCE_SECONDS)
  assert again.returncode == 0, errors
  assert output.count("run folder: ") == 1  # the chief alone speaks
  tiny_run.assert_same_run(run, tmp_path / "one")
  assert not list(run.rglob("*.tmp"))


@pytest.mark.parametrize("flags, told", [
    (("--strategy=multi_worker",), "needs TF_CONFIG"),
    (("--strategy=two",), "must be one of auto, one, mirrored, multi_worker"),
    (("--worker_timeout=0",), "must be above 0")])
def test_wrong_flags_are_one_line(train, tmp_path, flags, told):
  assert told in train(tmp_path / "run", *flags).error()
  assert not (tmp_path / "run").exists()


def _with_config(text, *flags):
  done = subprocess.run([sys.executable, tiny_run.MAIN, *flags], env={**os.environ, "TF_CONFIG": text},
                        capture_output=True, text=True, check=False)
  return done.returncode, done.stderr


def test_a_batch_that_the_workers_do_not_divide_is_one_line(tmp_path):
  text = '{"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 1}}'
  code, errors = _with_config(text, *tiny_run.flags("--batch_size=15"), f"--run_dir={tmp_path / 'run'}")
  assert code == 2 and errors.startswith("error: --batch_size=15: must be a multiple of the 2 workers")
  assert errors.count("\n") == 1 and not (tmp_path / "run").exists()


def test_the_launcher_refuses_no_workers():
  done = subprocess.run([sys.executable, _LAUNCH, "--workers=0"], capture_output=True, text=True, check=False)
  assert done.returncode == 2 and done.stderr == "error: --workers=0: must lie in [1, 64]\n"
