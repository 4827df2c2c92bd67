"""A killed run, started again by the same command, ends with the numbers of the unbroken one."""

import os
import shutil

from benchmarks import training_runs
from tests import tiny_run


def _lines(path) -> int:
  return path.read_text().count("\n") if path.exists() else 0


def test_a_kill_in_the_middle_of_a_pass(train, trained_run, tmp_path):
  run = tmp_path / "run"
  killed = train(run, kill_when=lambda: _lines(run / "metrics.jsonl") == 1)
  assert killed.code == -9
  assert not (run / "summary.json").exists()
  resumed = train(run)
  assert resumed.code == 0, resumed.stderr
  tiny_run.assert_same_run(run, trained_run)


def test_two_kills_within_passes(train, trained_run, tmp_path):
  """With a checkpoint after every update a killed run loses one; the numbers are those of the unbroken run."""
  run, often = tmp_path / "run", "--checkpoint_minutes=1e-9"
  for passes, updates in ((0, 4), (1, 7)):
    reached = f"pass_{passes:04d}_update_{updates:06d}.npz"
    # It, or a later one: two are kept, and whoever looks may sleep over one.
    assert train(run, often, kill_when=lambda reached=reached: any(
        path.name >= reached for path in (run / "checkpoints").glob("pass_*_update_*.npz"))).code == -9
    assert not (run / "summary.json").exists()
  # Several updates a call change nothing either.
  resumed = train(run, "--updates_per_call=4")
  assert resumed.code == 0, resumed.stderr
  tiny_run.assert_same_run(run, trained_run)
  assert sorted(os.listdir(run / "checkpoints"))[-1] == "pass_0002.npz" and len(os.listdir(run / "checkpoints")) == 2


def test_kills_before_the_first_checkpoint(train, tmp_path):
  run = tmp_path / "run"
  run.mkdir()
  # While settings.json was written: a folder with nothing but half of a file is as good as empty.
  (run / "settings.json.abc.tmp").write_text("{")
  assert train(run, kill_when=(run / "settings.json").exists).code == -9
  assert not (run / "settings.json.abc.tmp").exists()
  # Between settings.json and flags.txt: the folder is that of a run.
  shutil.rmtree(run / "checkpoints", ignore_errors=True)
  (run / "flags.txt").unlink(missing_ok=True)
  (run / "flags.txt.abc.tmp").write_text("--dat")
  assert train(run, kill_when=(run / "checkpoints" / "pass_0000.npz").exists).code == -9
  # Files of other names may be in the making at the moment of the kill.
  assert (run / "flags.txt").read_text().startswith("--") and not (run / "flags.txt.abc.tmp").exists()


def test_a_kill_between_the_checkpoint_and_the_log(train, trained_run, tmp_path):
  """A rerun of a finished run writes again what is missing, and clears what a killed process left."""
  run = tmp_path / "run"
  shutil.copytree(trained_run, run)
  log = run / "metrics.jsonl"
  log.write_text(log.read_text().splitlines(keepends=True)[0])
  for name in ("summary.json", "interpolation.png"):
    (run / name).unlink()
  for folder, name in (("", "metrics.jsonl.abc.tmp"), ("checkpoints", "pass_0003.npz.abc.tmp")):
    (run / folder / name).write_bytes(b"half")
  checkpoint = run / "checkpoints" / "pass_0002.npz"
  written = os.stat(checkpoint).st_mtime_ns
  outcome = train(run)
  assert outcome.code == 0, outcome.stderr
  tiny_run.assert_same_run(run, trained_run)
  assert log.read_text() == open(os.path.join(trained_run, "metrics.jsonl"), encoding="utf-8").read()
  assert (run / "interpolation.png").exists() and not list(run.rglob("*.tmp"))
  # Nothing was trained again.
  assert os.stat(checkpoint).st_mtime_ns == written


def test_a_diverging_run_goes_back_and_in_the_end_gives_up(train, tmp_path):
  run = tmp_path / "run"
  outcome = train(run, "--divergence_bound=1e-3")
  assert outcome.code == 1
  warnings = [line for line in outcome.stderr.splitlines() if "warning: pass 1 diverged" in line]
  assert len(warnings) == 3 and all("--divergence_bound=0.001" in line for line in warnings)
  assert [line.split("attempt ")[1] for line in warnings] == ["1", "2", "3"]
  assert f"{training_runs.GAVE_UP} 4 times, the last time in pass 1: " in outcome.stderr.splitlines()[-1]
  assert "Traceback" not in outcome.stderr
  # The state before the pass is what is kept.
  assert os.listdir(run / "checkpoints") == ["pass_0000.npz"]
  assert not (run / "metrics.jsonl").read_text()


def test_a_run_that_recovers_says_so_in_its_log(train, tmp_path):
  """A learning rate that is too large is halved until the training stays within bounds."""
  run = tmp_path / "run"
  outcome = train(run, "--divergence_bound=2.5", "--learning_rate=0.012", "--num_passes=1")
  assert outcome.code == 0, outcome.stderr
  assert "rolling back" in outcome.stderr
  assert 1 <= tiny_run.metrics(run)[0]["attempt"] <= 3
