"""benchmarks/teaching.py: what its arms are trained on, and which runs it refuses."""

import dataclasses
import json
import math
import types

import numpy as np
import pytest

from benchmarks import teaching
from stic_tf.metrics import judge_model
from tests.systems import command


@pytest.fixture(autouse=True)
def no_further_systems(monkeypatch):
  monkeypatch.setattr(teaching, "register_systems", lambda: None)


def test_all_arms_but_the_first_have_the_same_updates():
  real = np.zeros((30, 8, 8, 1), np.uint8), np.arange(30) % 3
  drawings = np.full((200, 8, 8, 1), 255, np.uint8), np.arange(200) % 3
  settings = dataclasses.replace(judge_model.SETTINGS, max_epochs=4)
  arms = teaching._arms(real, drawings, settings)
  updates = {arm: math.ceil(epochs * len(labels) / 10) for arm, (_, labels, epochs) in arms.items()}
  assert updates == {"real": 12, "real_long": 80, "drawings": 80, "both": 80}
  images, labels, _ = arms["both"]
  assert np.mean(images == 0) == 0.5 and len(labels) == 400
  # Every real image is in it, with its own label, as often as the others to one.
  np.testing.assert_array_equal(labels[200:], real[1][np.arange(200) % 30])
  # Where real images are more, drawings repeat, and the updates stay.
  turned = teaching._arms(drawings, real, settings)
  assert len(turned["both"][1]) == 400 and np.mean(turned["both"][0] == 0) == 0.5
  assert [round(epochs * len(labels) / 10) for _, labels, epochs in turned.values()] == [80, 12, 12, 12]


def _run(folder, name, **settings):
  (folder / name).mkdir()
  commit = settings.pop("commit", "abc")
  (folder / name / "settings.json").write_text(json.dumps({"dataset": "digits", "width": 8, **settings}))
  if commit:
    (folder / name / "summary.json").write_text(json.dumps({"git_commit": commit}))
  return f"--run_dir={folder / name}"


@pytest.mark.parametrize("others, said", [
    ([{"seed": 0}], "must be runs of different seeds"),
    ([{"seed": 1, "width": 9}], "must be finished runs of the same settings"), ([None], "must be finished runs"),
    ([{"seed": 1, "commit": "def"}], "holds runs of several commits, or of no clean one: abc, def"),
    ([{"seed": 1, "commit": ""}], "run0: must be a finished run")])
def test_bad_runs_are_one_line(tmp_path, others, said, monkeypatch):
  flags = [_run(tmp_path, "first", seed=0)]
  for number, other in enumerate(others):
    flags.append(_run(tmp_path, f"run{number}", **other) if other else f"--run_dir={tmp_path / 'none'}")
  line = command.refusal(monkeypatch, teaching, f"--out={tmp_path / 'out.json'}", *flags)
  assert line.startswith("error: ") and said in line and "\n" not in line
  assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("flags, said", [
    (["--set=guidance"], "--set=guidance: must be NAME=VALUE"), (["--set=none=1"], "--set=none=1: must be NAME=VALUE"),
    (["--set=guidance=much"], "--set=guidance=much: must be a float"),
    (["--arms=real,fakes"], "--arms=real,fakes: must be some of"),
    (["--arms=both,real"], "--arms=both,real: must be some of real,real_long,drawings,both, in this order")])
def test_bad_settings_are_one_line(tmp_path, flags, said, monkeypatch):
  flags.append(_run(tmp_path, "first", seed=0))
  line = command.refusal(monkeypatch, teaching, f"--out={tmp_path / 'out.json'}", *flags)
  assert line.startswith("error: " + said) and "\n" not in line


def test_one_run_has_accuracies_and_no_claims(tmp_path, monkeypatch, capsys):
  asked = {}

  def teach(run_dir, arguments):
    asked.update(arguments.settings, split=arguments.split)
    return {"seed": 0, "accuracy": {arm: [0.9, 0.8] for arm in arguments.arms}}

  monkeypatch.setattr(teaching, "teach", teach)
  monkeypatch.setattr(teaching.measure, "pin_threads", lambda threads: None)  # TensorFlow has run here
  out = tmp_path / "out.json"
  command.run(monkeypatch, teaching, _run(tmp_path, "first", seed=0), f"--out={out}", "--set=guidance=1",
              "--set=num_steps=9", "--split=validation", "--arms=drawings,both")
  assert asked == {"guidance": 1.0, "num_steps": 9, "split": "validation"}
  report = json.loads(out.read_text())
  assert report["means"] == {arm: [pytest.approx(0.85)] for arm in ("drawings", "both")} and report["claims"] == []
  assert "drawings: 0.8500" in capsys.readouterr().out


@pytest.mark.parametrize("labels, taught", [("asked", [0, 1, 2, 3]), ("answered", [1, 1, 1, 1])])
def test_drawings_are_labelled_as_asked_or_as_the_run_answers(tmp_path, labels, taught, monkeypatch):

  class OneIsAll:
    num_classes, image_shape = 10, (8, 8, 1)

    def with_settings(self):
      return self

    def draw(self, labels, seeds):
      return types.SimpleNamespace(images=np.zeros((len(labels), 8, 8, 1), np.uint8))

    def classify(self, images):
      return np.eye(10)[np.ones(len(images), int)]

  lessons = []
  monkeypatch.setattr(teaching.loading, "load", lambda run_dir: OneIsAll())
  monkeypatch.setattr(teaching, "classification_accuracy_score",
                      lambda images, labels, *rest: lessons.append(list(labels)) or 0.5)
  run = _run(tmp_path, "first", seed=0).partition("=")[2]
  found = teaching.teach(run, types.SimpleNamespace(settings={}, data_dir=None, split="test", drawings=4, labels=labels,
                                                    arms=["drawings"], classifiers=1))
  assert lessons == [taught] and found["answered_as_asked"] == 0.25 and found["accuracy"] == {"drawings": [0.5]}
