"""Wrong input of a training on several workers: one line each. That they train is tests/trainers/test_replicas.py's."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests import tiny_run
from trainers import launch

_LAUNCH = str(pathlib.Path(launch.__file__))


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
