"""Two replicas, of one process or of two: the same drawings as on one, and a training that takes the same steps."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import tiny_run
from trainers import launch

_SHORT = ("--num_passes=2", "--updates_per_pass=2", "--denoising_weight=0.5")
_PATIENCE_SECONDS = 300


@pytest.fixture(scope="module")
def two_replicas(train, tmp_path_factory):
  """A short run on two replicas of one process."""
  run = tmp_path_factory.mktemp("replicas") / "run"
  outcome = train(run, "--num_replicas=2", *_SHORT)
  assert outcome.code == 0, outcome.stderr
  return run


def _draw(main, run_dir, out, *flags):
  outcome = main("--mode=sample", f"--run_dir={run_dir}", f"--out={out}", *flags)
  assert outcome.code == 0, outcome.stderr
  with np.load(out) as arrays:
    return dict(arrays)


def test_one_and_two_replicas_draw_the_same(main, trained_run, tmp_path):
  # Seven do not split over two: the last batch is filled up, which must not show.
  one, two = (_draw(main, trained_run, tmp_path / f"{count}.npz", "--num_images=7", f"--num_replicas={count}")
              for count in (1, 2))
  for name in one:
    np.testing.assert_array_equal(one[name], two[name])


def test_one_and_two_replicas_train_the_same(train, main, two_replicas, tmp_path):
  """A batch's gradient is the mean of its halves', so both runs agree to rounding as long as no chain decides anew."""
  outcome = train(tmp_path / "one", "--num_replicas=1", *_SHORT)
  assert outcome.code == 0, outcome.stderr
  for run, count in ((tmp_path / "one", 1), (two_replicas, 2)):
    assert f"--num_replicas={count}" in (run / "flags.txt").read_text().split()
  name = os.path.join("checkpoints", "pass_0002.npz")
  with np.load(tmp_path / "one" / name) as one, np.load(two_replicas / name) as two:
    entries = [entry for entry in one.files if entry.startswith(("network/", "average/", "chains/", "pool/"))]
    assert len(entries) > 10
    for entry in entries:
      np.testing.assert_allclose(two[entry], one[entry], atol=1e-4)
  for ours, theirs in zip(tiny_run.metrics(tmp_path / "one"), tiny_run.metrics(two_replicas)):
    for key in ("loss_classification", "loss_mixup", "loss_generative", "energy_bound", "training_acceptance_rate"):
      assert abs(ours[key] - theirs[key]) < 1e-4
  drawn = _draw(main, two_replicas, tmp_path / "x.npz", "--num_images=4", "--num_replicas=2")
  assert drawn["images"].shape == (4, 8, 8, 1)


def _workers(run_dir, judge_cache, *flags):
  command = [sys.executable, launch.__file__, "--workers=2", "--", *tiny_run.flags(*_SHORT, *flags),
             f"--run_dir={run_dir}", f"--cache_dir={judge_cache}", "--checkpoint_minutes=1e-9"]
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


def test_two_workers_train_as_two_replicas_also_after_a_kill(two_replicas, judge_cache, tmp_path):
  """STIC's numbers are equal to the bit, kill or not: log, summary and all of the last checkpoint."""
  run = tmp_path / "workers"
  killed = _workers(run, judge_cache, "--num_replicas=2")
  _kill_a_worker(killed, 1, (run / "checkpoints" / "pass_0000_update_000001.npz").exists)
  _, errors = killed.communicate(timeout=_PATIENCE_SECONDS)
  assert killed.returncode != 0
  assert "error: a worker was lost (" in errors and "Traceback" not in errors
  assert not (run / "summary.json").exists()
  again = _workers(run, judge_cache, "--num_replicas=2")
  output, errors = again.communicate(timeout=_PATIENCE_SECONDS)
  assert again.returncode == 0, errors
  assert output.count("run folder: ") == 1  # the chief alone speaks
  tiny_run.assert_same_run(run, two_replicas)
  assert not list(run.rglob("*.tmp"))
