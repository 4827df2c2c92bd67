"""What a finished run leaves behind, and that its flags.txt reproduces it."""

import json
import os
import shutil

import numpy as np
import PIL.Image
import pytest

import stic_tf
from stic_tf.datasets import dataset
from tests import tiny_run

METRICS_KEYS = {
    "pass", "step", "seconds", "validation_accuracy", "fid", "fid_floor", "cas", "acceptance_rate", "step_size",
    "fakes_in_pool", "loss_classification", "loss_mixup", "loss_generative"}
SUMMARY_KEYS = {
    "model", "dataset", "seed", "test_accuracy", "ece", "fid", "fid_floor", "kid", "inception_score", "cas",
    "acceptance_rate", "step_size", "network_evaluations_per_image", "seconds_training",
    "images_per_second_sampling", "num_samples", "judge", "versions", "git_commit", "nll", "brier", "precision",
    "recall", "second_judge_accuracy", "second_judge_agreement", "nearest_train", "nearest_train_least", "intervals",
    "cas_real", "drawing_seed", "path_pair", "path_both", "path_order", "path_entropy", "effective_draws_per_step"}


def test_the_files_of_a_run(trained_run):
  assert sorted(os.listdir(trained_run)) == [
      "checkpoints", "flags.txt", "interpolation.png", "metrics.jsonl", "samples", "settings.json", "summary.json",
      "tensorboard"]
  assert sorted(os.listdir(os.path.join(trained_run, "samples"))) == ["final.png", "pass_01.png", "pass_02.png"]
  # The newest, and one to fall back to.
  assert sorted(os.listdir(os.path.join(trained_run, "checkpoints"))) == ["pass_0001.npz", "pass_0002.npz"]


def test_metrics_has_a_line_a_pass(trained_run):
  rows = tiny_run.metrics(trained_run)
  assert [row["pass"] for row in rows] == [1, 2]
  assert [row["step"] for row in rows] == [tiny_run.UPDATES_PER_PASS, 2 * tiny_run.UPDATES_PER_PASS]
  for row in rows:
    assert METRICS_KEYS <= set(row)
    assert all(np.isfinite(row[name]) for name in METRICS_KEYS)
    assert 0 <= row["validation_accuracy"] <= 1 and 0 <= row["cas"] <= 1 and 0 < row["acceptance_rate"] <= 1
    assert not [name for name in row if name.startswith("test_")]  # they are for the end
  assert rows[0]["seconds"] < rows[1]["seconds"]
  # The 32 chains after the first pass, thinned to the capacity of 40 after the second.
  assert [row["fakes_in_pool"] for row in rows] == [32, 40]


def test_the_summary(trained_run):
  summary = tiny_run.summary(trained_run)
  assert SUMMARY_KEYS <= set(summary)
  assert (summary["model"], summary["dataset"], summary["seed"], summary["num_samples"]) == ("stic", "digits", 0, 100)
  assert summary["network_evaluations_per_image"] == 6 + 1
  assert summary["judge"].startswith("judge-digits-")
  assert {"tensorflow", "keras", "numpy"} <= set(summary["versions"])
  assert 0.5 < summary["cas_real"] <= 1
  for name in ("test_accuracy", "cas", "judge_agreement", "second_judge_accuracy", "second_judge_agreement", "fid",
               "kid", "inception_score", "precision", "recall", "ece", "nll", "brier"):
    low, high = summary["intervals"][name]
    assert low <= summary[name] <= high
  last = tiny_run.metrics(trained_run)[-1]
  assert summary["validation_accuracy"] == last["validation_accuracy"]
  # As many real images, against other ones.
  assert summary["num_samples"] == last["num_samples"] and summary["fid_floor"] != last["fid_floor"]


def test_accuracies_are_of_the_splits_they_are_called_by(trained_run):
  summary, classifier, data = tiny_run.summary(trained_run), stic_tf.load(trained_run), dataset.load("digits", None)
  for split in ("test", "validation"):
    images, labels = data.arrays(split)
    right = classifier.classify(images).argmax(1) == labels
    assert summary[f"{split}_accuracy"] == pytest.approx(right.mean(), abs=1e-6)


@pytest.mark.parametrize("name, rows, columns", [
    ("samples/pass_01.png", 10, 10), ("samples/pass_02.png", 10, 10), ("samples/final.png", 10, 10),
    ("interpolation.png", 10, 11)])
def test_the_pictures(trained_run, name, rows, columns):
  # A row a class; an 8×8 digit is enlarged to 32×32 and has a line around it.
  picture = np.asarray(PIL.Image.open(os.path.join(trained_run, *name.split("/"))))
  assert picture.shape == (rows * 34, columns * 34)
  cells = picture.reshape(rows, 34, columns, 34).swapaxes(1, 2)[:, :, 1:-1, 1:-1]
  assert all(cell.std() > 5 for row in cells for cell in row)


def test_flags_txt_reproduces_the_run(main, trained_run, tmp_path):
  outcome = main(f"--flagfile={os.path.join(trained_run, 'flags.txt')}", f"--run_dir={tmp_path / 'again'}")
  assert outcome.code == 0, outcome.stderr
  assert "floor" in outcome.stdout and "FID" in outcome.stdout and "100 fresh unfiltered drawings" in outcome.stdout
  tiny_run.assert_same_run(tmp_path / "again", trained_run)
  flags = (tmp_path / "again" / "flags.txt").read_text()
  assert flags == open(os.path.join(trained_run, "flags.txt"), encoding="utf-8").read()


def test_flags_txt_names_every_setting(trained_run):
  with open(os.path.join(trained_run, "settings.json"), encoding="utf-8") as file:
    settings = json.load(file)
  with open(os.path.join(trained_run, "flags.txt"), encoding="utf-8") as file:
    named = {line.strip().lstrip("-").split("=")[0] for line in file}
  given = {name for name, value in settings.items() if value is not None}
  assert {name if name in given else name[2:] for name in named} == given


def test_a_run_whose_passes_are_not_judged_ends_as_one_whose_are(train, trained_run, tmp_path):
  """--pass_samples=0, killed and gone on with: no figure of drawings in the log, and all of them at the end."""
  run = tmp_path / "run"
  assert train(run, "--pass_samples=0", kill_when=(run / "samples" / "pass_01.png").exists).code == -9
  assert train(run, "--pass_samples=0").code == 0
  assert tiny_run.without_clocks(tiny_run.summary(run)) == tiny_run.without_clocks(tiny_run.summary(trained_run))
  rows, judged = tiny_run.metrics(run), tiny_run.metrics(trained_run)
  assert [row["fid"] for row in rows] == [None, None] and None not in [row["fid"] for row in judged]
  for name in ("validation_accuracy", "loss_generative"):
    assert [row[name] for row in rows] == [row[name] for row in judged]


def test_evaluate_repeats_the_summary(main, trained_run, tmp_path):
  """With no flag but the folder: the settings are those of the run, not the defaults."""
  run = tmp_path / "run"
  shutil.copytree(trained_run, run)
  (run / "summary.json").unlink()
  outcome = main("--mode=evaluate", f"--run_dir={run}")
  assert outcome.code == 0, outcome.stderr
  tiny_run.assert_same_run(run, trained_run)
  assert tiny_run.summary(run)["seconds_training"] == tiny_run.summary(trained_run)["seconds_training"]


@pytest.fixture
def older_run(trained_run, tmp_path):
  """The finished run with settings of a time when these flags were not there yet, and its summary to be written."""
  run = tmp_path / "run"
  shutil.copytree(trained_run, run)
  settings = json.loads((run / "settings.json").read_text())
  kept = {name: value for name, value in settings.items() if name not in ("train_images", "cutout", "cutmix")}
  assert len(kept) == len(settings) - 3
  (run / "settings.json").write_text(json.dumps(kept))
  (run / "summary.json").unlink()
  return run


@pytest.mark.parametrize("name, flag", [("train_images", "--train_images=100"), ("cutout", "--cutout=0.25"),
                                        ("cutmix", "--cutmix=0.5")])
def test_a_run_from_before_there_was_a_choice_is_not_gone_on_with_by_another(train, older_run, name, flag):
  before = (older_run / "settings.json").read_text()
  line = train(older_run, flag).error()
  assert f"{name} was 0" in line and f"now {flag.split('=')[1]}" in line and line.count(" was ") == 1
  assert (older_run / "settings.json").read_text() == before


def test_a_run_from_before_there_was_a_choice_is_gone_on_with_by_the_default(train, older_run, trained_run):
  outcome = train(older_run)
  assert outcome.code == 0, outcome.stderr
  tiny_run.assert_same_run(older_run, trained_run)
