"""benchmarks/seeds.py: what counts as a run that never diverged, and which requests it refuses."""

import argparse
import json

import pytest

from benchmarks import seeds
from benchmarks import training_runs
from stic_tf.config import ConfigError
from tests.systems import command


def _run(runs, seed, attempt=0, **figures):
  folder = runs / f"digits_seed{seed}"
  folder.mkdir(parents=True)
  (folder / "summary.json").write_text(json.dumps(figures))
  (folder / "metrics.jsonl").write_text(
      json.dumps({"attempt": 0, "fid": 3.0}) + "\n" + json.dumps({"attempt": attempt, "fid": 2.0}) + "\n")


def test_rollbacks_and_runs_that_gave_up_are_counted_and_not_trained_again(tmp_path, monkeypatch, capsys):
  runs = tmp_path / "runs"
  _run(runs, 0, test_accuracy=0.9, fid=2.0, fid_floor=1.0)
  _run(runs, 1, attempt=2, test_accuracy=0.8, fid=4.0, fid_floor=1.0)
  (runs / "digits_seed2.log").write_text("warning: pass 2 diverged\nerror: training diverged 5 times, at last in 2\n")
  monkeypatch.setattr(seeds.training_runs.subprocess, "run", lambda *args, **kwargs: pytest.fail("trained again"))
  out = tmp_path / "out.json"
  command.run(monkeypatch, seeds, "--seeds=0-2", f"--runs={runs}", f"--out={out}")
  found = json.loads(out.read_text())["digits"]
  assert {name: found["stability"][name] for name in ("runs", "ended", "without_rollback")} == {
      "runs": 3, "ended": 2, "without_rollback": 1}
  assert found["stability"]["low"] < 1 / 3 < found["stability"]["high"]
  assert found["figures"]["fid_over_floor"] == {"mean": 3.0, "lowest": 2.0, "highest": 4.0}
  assert "1 of 3 without a rollback" in capsys.readouterr().out


def test_a_run_that_was_evaluated_before_its_end_is_not_there(tmp_path):
  _run(tmp_path, 0, passes=3)
  folder = tmp_path / "digits_seed0"
  for num_passes, is_there in ((10, False), (3, True)):
    (folder / "settings.json").write_text(json.dumps({"num_passes": num_passes}))
    assert training_runs.is_there(folder) is is_there


def test_a_run_of_several_commits_is_of_no_one():
  assert training_runs.one_commit(["a", "a"], "run_dir", "x") == "a"
  with pytest.raises(ConfigError, match="run_dir=x: holds runs of several commits, or of no clean one: a, b"):
    training_runs.one_commit(["a,b", "a,b"], "run_dir", "x")


def test_a_run_of_other_flags_is_not_counted(tmp_path, monkeypatch):
  _run(tmp_path, 1)
  (tmp_path / "digits_seed1.flags").write_text("--width=8")
  line = command.refusal(monkeypatch, seeds, "--seeds=1", f"--runs={tmp_path}", f"--out={tmp_path / 'out.json'}")
  assert line.startswith(f"error: --runs={tmp_path}: holds a run of other flags, see ") and "\n" not in line


def test_runs_of_several_commits_are_no_table(tmp_path, monkeypatch):
  for seed, commit in enumerate(("abc", "abc", "def")):
    _run(tmp_path, seed, git_commit=commit)
  given = [f"--runs={tmp_path}", f"--out={tmp_path / 'out.json'}"]
  line = command.refusal(monkeypatch, seeds, "--seeds=0-2", *given)
  assert line == f"error: --runs={tmp_path}: would hold runs of several commits: abc, def"
  assert not (tmp_path / "out.json").exists()
  command.run(monkeypatch, seeds, "--seeds=0-1", *given)
  assert (tmp_path / "out.json").exists()
  # Nor is a seed added to them at today's commit: that shows before it is trained.
  monkeypatch.setattr(seeds.training_runs.subprocess, "run", lambda *args, **kwargs: pytest.fail("trained"))
  monkeypatch.setattr(seeds.provenance, "git_commit", lambda: "now")
  line = command.refusal(monkeypatch, seeds, "--seeds=0-1,5", *given)
  assert line.endswith("would hold runs of several commits: abc, now")


def test_a_run_that_fails_for_another_reason_is_no_divergence(tmp_path, monkeypatch):
  def fails(*args, stdout, **kwargs):
    stdout.write("error: --seed=1 is not for today\n")
    return argparse.Namespace(returncode=2)

  monkeypatch.setattr(seeds.provenance, "git_commit", lambda: "abc")
  monkeypatch.setattr(seeds.training_runs.subprocess, "run", fails)
  line = command.refusal(monkeypatch, seeds, "--seeds=1", f"--runs={tmp_path}", f"--out={tmp_path / 'out.json'}")
  assert line.startswith("error: a run failed, see ") and "\n" not in line
  assert not (tmp_path / "out.json").exists()


def test_seeds_are_numbers_and_ranges():
  assert training_runs.seeds_of("4,0-2") == [4, 0, 1, 2]
  for text in ("", "a", "1-", "2,1-3", "3-1"):
    with pytest.raises(ConfigError):
      training_runs.seeds_of(text)


@pytest.mark.parametrize("flag", ["--jobs=0", "--flagfiles=digits,none", "--seeds=1,1"])
def test_bad_flags_are_one_line_before_a_run_begins(tmp_path, flag, monkeypatch):
  monkeypatch.setattr(seeds.training_runs.subprocess, "run", lambda *args, **kwargs: pytest.fail("trained"))
  line = command.refusal(monkeypatch, seeds, f"--out={tmp_path / 'out.json'}", f"--runs={tmp_path}", "--seeds=1", flag)
  assert line.startswith("error: ") and "\n" not in line
