"""benchmarks/time_to_quality.py: marks of a run that is there, the table, and bad input."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from benchmarks import time_to_quality
from stic_tf import checkpoint
from stic_tf.config import ConfigError
from tests.systems import command


@pytest.fixture
def run(tmp_path):
  """A run after 90 seconds of training, which wrote the checkpoint before it after 40."""
  run = tmp_path / "runs" / "arm"
  (run / "checkpoints").mkdir(parents=True)
  for name in ("settings.json", "flags.txt", "metrics.jsonl"):
    (run / name).write_text("{}")
  for passes, seconds in ((1, 40.0), (2, 90.0)):
    checkpoint.write(checkpoint.path_of(str(run / "checkpoints"), passes),
                     {"scalars/updates_done": np.int64(50 * passes)}, {"seconds": seconds})
  return run


def test_a_mark_is_put_aside_when_it_is_reached_and_once(run):
  assert not time_to_quality.put_aside(run, 0.03)  # 108 seconds
  assert [path.name for path in run.parent.iterdir()] == ["arm"]
  assert time_to_quality.put_aside(run, 0.02)
  folder = time_to_quality.mark_folder(run, 0.02)
  assert sorted(path.name for path in folder.iterdir()) == [
      "checkpoints", "flags.txt", "mark.json", "metrics.jsonl", "settings.json"]
  assert [path.name for path in (folder / "checkpoints").iterdir()] == ["pass_0002.npz"]
  assert json.loads((folder / "mark.json").read_text()) == {"hours": 0.02, "seconds": 90.0}
  shutil.rmtree(run)
  assert time_to_quality.put_aside(run, 0.02)


def test_a_clock_of_updates_does_not_see_what_ran_beside(run):
  """100 updates, of which it makes 2000 an hour alone: 180 seconds, though 90 by the clock."""
  assert not time_to_quality.put_aside(run, 0.06, 2000.0)
  assert time_to_quality.put_aside(run, 0.05, 2000.0)
  mark = json.loads((time_to_quality.mark_folder(run, 0.05) / "mark.json").read_text())
  assert mark == {"hours": 0.05, "seconds": 180.0}


def test_a_mark_that_is_long_past_is_refused(run):
  checkpoint.write(checkpoint.path_of(str(run / "checkpoints"), 3), {"a": np.zeros(2)}, {"seconds": 7200.0})
  with pytest.raises(ConfigError, match="hours=0.5: .*is beyond them, at 2.00"):
    time_to_quality.put_aside(run, 0.5)
  assert time_to_quality.put_aside(run, 1.9)


def test_a_training_that_fails_is_an_error_and_what_is_reached_is_not_trained_again(run, monkeypatch):
  time_to_quality.train(run, "no_such_flagfile", [0.01, 0.02], [])  # both are there: nothing is started
  monkeypatch.setattr(time_to_quality, "_MAIN", "no_such_file.py")
  with pytest.raises(ConfigError, match="arm=digits: its training failed, see "):
    time_to_quality.train(run, "digits", [0.01, 1.0], [], poll_seconds=0.05)


def test_an_end_before_the_last_mark_is_the_last_row(run, monkeypatch):
  its_end = {"test_accuracy": 0.9, "fid": 2.0, "intervals": {}, "git_commit": "abc"}
  script = run.parent / "ends.py"
  script.write_text("import json, pathlib, sys\n"
                    "folder = next(flag[10:] for flag in sys.argv if flag.startswith('--run_dir='))\n"
                    f"pathlib.Path(folder, 'summary.json').write_text(json.dumps({its_end!r}))\n")
  monkeypatch.setattr(time_to_quality, "_MAIN", str(script))
  time_to_quality.train(run, "digits", [0.02, 1.0], [], poll_seconds=0.05)
  mark, end = time_to_quality.rows(run, [0.02, 1.0], [])
  assert mark["hours"] == 0.02 and mark["test_accuracy"] == 0.9 and end["fid"] == 2.0 and end["seconds"] == 90.0
  script.unlink()
  time_to_quality.train(run, "digits", [0.02, 1.0], [])  # finished: nothing is started


def test_a_mark_is_measured_anew_of_another_number_of_drawings(run, monkeypatch):
  assert time_to_quality.put_aside(run, 0.02)
  script = run.parent / "measures.py"
  script.write_text("import json, pathlib, sys\n"
                    "given = dict(flag[2:].split('=') for flag in sys.argv if flag.startswith('--'))\n"
                    "path = pathlib.Path(given['run_dir'], 'summary.json')\n"
                    "assert not path.exists()\n"
                    "path.write_text(json.dumps({'num_samples': int(given['num_samples'])}))\n")
  monkeypatch.setattr(time_to_quality, "_MAIN", str(script))
  found = [time_to_quality.measured(run, 0.02, [f"--num_samples={count}"])["num_samples"] for count in (20, 20, 30)]
  assert found == [20, 20, 30]
  script.unlink()
  assert time_to_quality.measured(run, 0.02, ["--num_samples=30"])["num_samples"] == 30


def test_a_run_of_other_flags_and_figures_of_two_judges_are_refused(run):
  run.with_suffix(".flags").write_text("digits\n--width=8")
  with pytest.raises(ConfigError, match="runs=.*: holds a run of other flags"):
    time_to_quality.train(run, "digits", [1.0], ["--width=16"])
  rows = [{"judge": judge, "seconds": 1800.0} for judge in "ab"]
  assert time_to_quality.as_list({"score": rows[:1]}) == [
      {"system": "score", "judge": "a", "seconds": 1800.0, "hours": 0.5}]
  with pytest.raises(ConfigError, match="several judges"):
    time_to_quality.as_list({"score": rows[:1], "jem": rows[1:]})


def test_the_table_has_a_row_a_mark_with_intervals():
  figures = {**dict.fromkeys(time_to_quality._FIGURES, 0.5), "cas": None, "intervals": {"fid": [0.4, 0.6]}}
  lines = time_to_quality.table({"score": [{**figures, "seconds": 1800.0}, {**figures, "seconds": 3600.0}]}).split("\n")
  assert len(lines) == 4 and lines[2] == "| score | 0.50 | 0.5 | 0.5 (0.4 – 0.6) |  | 0.5 | 0.5 | 0.5 |"


@pytest.mark.parametrize("flags, said", [
    (["--arm=a"], "--arm=a:: must be of trainers/flagfiles"), (["--arm=a:none"], "--arm=a:none: must be of"),
    (["--arm=a:digits", "--arm=a:mnist"], "each of its own name"),
    (["--arm=a:digits", "--hours=soon"], "--hours=[]: must be numbers above 0"),
    (["--arm=a:digits", "--updates_an_hour=a:-1"], "--updates_an_hour=a:-1: must be NAME:NUMBER"),
    (["--arm=a:digits", "--updates_an_hour=1000"], "--updates_an_hour=1000: must be NAME:NUMBER"),
    (["--arm=a:digits: --width=8", "--updates_an_hour=b:10"], "--updates_an_hour=b: must be of a")])
def test_bad_input_is_one_line(tmp_path, flags, said, monkeypatch):
  line = command.refusal(monkeypatch, time_to_quality, f"--runs={tmp_path / 'runs'}", f"--out={tmp_path / 'out.json'}",
                         *flags)
  assert line.startswith("error: ") and said in line and "\n" not in line
  assert not list(pathlib.Path(tmp_path).iterdir())
