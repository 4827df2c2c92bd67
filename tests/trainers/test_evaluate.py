"""trainers/evaluate.py: what an Evaluator needs of a data set."""

import json
import os
import types

import numpy as np
import pytest

from stic_tf.config import ConfigError
from stic_tf.datasets import dataset as dataset_lib
from tests import untrained_classifiers
from trainers import evaluate


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_of_one_image_is_refused_before_a_judge_is_trained(split, monkeypatch):
  digits = dataset_lib.load("digits", None)
  digits.sizes = {**digits.sizes, split: 1}
  monkeypatch.setattr(evaluate.features, "train_judge", lambda *args, **kwargs: pytest.fail("trained"))
  values = types.SimpleNamespace(dataset="digits", seed=0, train_images=0, inception_weights=None, cache_dir="/nowhere")
  with pytest.raises(ConfigError, match=f"has 1 {split} images, to measure on takes 2"):
    evaluate.Evaluator(values, digits)


def test_real_images_are_compared_with_once_asked_for(monkeypatch):
  """The test images are not looked at while a run trains."""
  asked = []
  monkeypatch.setattr(evaluate.features, "train_judge", lambda *args, **kwargs: None)
  monkeypatch.setattr(evaluate.report, "DrawingJudge", lambda *args: asked.append(len(args[3])) or object())
  values = types.SimpleNamespace(dataset="digits", seed=0, train_images=0, inception_weights=None, cache_dir="/nowhere")
  evaluator = evaluate.Evaluator(values, dataset_lib.load("digits", None))
  assert asked == []
  assert evaluator.judge("validation") is evaluator.judge("validation") is not evaluator.judge("test")
  assert asked == [len(evaluator.real["validation"][0]), len(evaluator.real["test"][0])]


def test_of_no_drawings_there_are_figures_without_a_judge(monkeypatch):
  """A pass of --pass_samples=0: accuracies, and drawings to look at, as many as without it."""
  monkeypatch.setattr(evaluate.features, "train_judge", lambda *args, **kwargs: pytest.fail("trained"))
  values = types.SimpleNamespace(dataset="digits", seed=0, train_images=0, inception_weights=None, cache_dir="/nowhere")
  evaluator = evaluate.Evaluator(values, dataset_lib.load("digits", None))
  scores = evaluator.score(untrained_classifiers.CLASSIFIERS["small"](), 0, 2, split="validation")
  assert "fid" not in scores and 0 <= scores["validation_accuracy"] <= 1 and scores["drawing_steps"] == 2
  assert evaluate.class_grid(scores["drawings"], 10).shape[0] == 10 * 34


class _Values(types.SimpleNamespace):
  """Flag values, of which those in `given` were given."""

  def __getitem__(self, name):
    return types.SimpleNamespace(present=name in self.given)


def test_another_seed_draws_others_and_chooses_no_other_training_images(tmp_path, monkeypatch):
  own = {"dataset": "digits", "model": "stic", "seed": 3, "train_images": 100, "inception_weights": None}
  (tmp_path / "settings.json").write_text(json.dumps(own))
  (tmp_path / "summary.json").write_text(json.dumps({"seconds_training": 7.0}))
  found = []
  monkeypatch.setattr(evaluate, "load_classifier", lambda values: None)
  monkeypatch.setattr(evaluate, "describe", lambda summary: "")
  monkeypatch.setattr(evaluate, "finish", lambda folder, values, evaluator, classifier, seconds, **noted: found.append(
      (values.seed, evaluator.seed, seconds, evaluator.learnt)))
  for given in ((), ("seed",)):
    evaluate.run(_Values(given=given, run_dir=str(tmp_path), seed=5 if given else 0, data_dir=None, cache_dir="/none"))
  assert [one[:3] for one in found] == [(3, 3, 7.0), (3, 5, 7.0)]
  np.testing.assert_array_equal(found[0][3], found[1][3])


def test_the_summary_of_a_run_is_of_its_own_drawings_and_says_what_trained_it(tmp_path, monkeypatch):
  own = {"dataset": "digits", "model": "stic", "seed": 0, "train_images": 0, "inception_weights": None, "num_steps": 9}
  run = tmp_path / "run"
  run.mkdir()
  (run / "settings.json").write_text(json.dumps(own))
  rows = [{"pass": number + 1, "seconds": 2.0, "git_commit": commit} for number, commit in enumerate("aab")]
  (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  found = []
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(evaluate, "load_classifier", lambda values: None)
  monkeypatch.setattr(evaluate, "describe", lambda summary: "")
  monkeypatch.setattr(evaluate, "Evaluator", lambda values, dataset: None)
  monkeypatch.setattr(evaluate, "finish", lambda folder, *others, **noted: found.append((folder.path, noted)))
  for num_steps in (9, 5):  # its own, and another
    evaluate.run(_Values(given=("num_steps",), run_dir=str(run), num_steps=num_steps, data_dir=None, cache_dir="/none"))
  noted = {"git_commit": "a,b", "passes": 3}
  assert found == [(str(run), {**noted, "drawn_with": {}}),
                   ("runs/evaluated/run/num_steps=5", {**noted, "drawn_with": {"num_steps": 5}})]
  assert evaluate.commits([{"pass": 1}], "c") == "c"


def test_figures_of_more_drawings_or_another_seed_do_not_take_the_place_of_a_runs_own(tmp_path, monkeypatch):
  """Where the run has none yet they are its own."""
  own = {"dataset": "digits", "model": "stic", "seed": 0, "train_images": 0, "inception_weights": None,
         "num_samples": 20}
  run = tmp_path / "runs" / "E4" / "adjusted" / "seed0"
  run.mkdir(parents=True)
  (run / "settings.json").write_text(json.dumps(own))
  found = []
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(evaluate, "load_classifier", lambda values: None)
  monkeypatch.setattr(evaluate, "describe", lambda summary: "")
  monkeypatch.setattr(evaluate, "Evaluator", lambda values, dataset: types.SimpleNamespace(seed=values.seed))
  monkeypatch.setattr(evaluate, "finish", lambda folder, *others, **noted: found.append(os.path.relpath(folder.path)))
  more = {"given": ("num_samples",), "num_samples": 50}
  for asked in (more, None, {"given": ("seed",), "seed": 3}, more, {"given": ("num_samples",), "num_samples": 20}):
    if asked:
      evaluate.run(_Values(run_dir=str(run), data_dir=None, cache_dir="/none", **asked))
    else:
      (run / "summary.json").write_text("{\"test_accuracy\": 0.9}")
  path = "E4/adjusted/seed0"
  assert found == [f"runs/{path}", f"runs/evaluated/{path}/seed=3", f"runs/evaluated/{path}/num_samples=50",
                   f"runs/{path}"]


@pytest.mark.parametrize("name", ["small", "attentive"])
def test_a_trace_ends_where_the_drawing_does_and_says_how_chains_mix(name):
  classifier = untrained_classifiers.CLASSIFIERS[name]()
  seeds = np.stack([np.full(20, 3), np.arange(20)], axis=1)
  trace, drawn = classifier.trace(range(10), seeds[:10]), classifier.draw(range(10), seeds[:10])
  assert trace.shape == (30, 10)  # of 60 steps half are burn-in
  np.testing.assert_allclose(trace[-1], drawn.log_density, rtol=1e-5)
  assert (np.abs(np.diff(trace, axis=0)).max(axis=0) > 0).all()
  alone = classifier.trace([4], seeds[4:5])
  np.testing.assert_array_equal(alone[:, 0], trace[:, 4])
  # In a steep energy thirty steps are worth less than ten draws.
  assert evaluate.mixing(classifier, 0) == {"effective_draws_per_step": None}


def test_what_does_not_walk_or_hardly_has_no_figure():
  score = untrained_classifiers.score()
  for classifier in (score.with_settings(corrector_steps=0), untrained_classifiers.small(sampler="unadjusted")):
    assert evaluate.mixing(classifier, 0) == evaluate.corrections(classifier, 0) == {}
    with pytest.raises(ConfigError, match="traced"):
      classifier.trace([1])
  assert evaluate.mixing(score, 0) == {}
  levels = evaluate.corrections(score, 0)["corrector"]
  assert len(levels) == score.config.sampler.num_steps
  assert levels[0]["noise_level"] == pytest.approx(score.config.score.sigma_max, rel=1e-4)
  assert levels[0]["step_size"] == pytest.approx(score.step_size) and all(0 < one["acceptance"] < 1 for one in levels)
  short = untrained_classifiers.small().with_settings(num_steps=6)
  assert evaluate.mixing(short, 0) == {"effective_draws_per_step": None}


def test_a_summary_without_cas_is_described_without_it():
  """Of one class there is none, neither of drawings nor of real images; the rest is said as of any run."""
  summary = {"test_accuracy": 0.9, "ece": 0.02, "cas": 0.8125, "cas_real": 0.875, "fid": 3.0, "fid_floor": 1.5,
             "kid": 0.001, "inception_score": 1.0, "acceptance_rate": 0.6, "num_samples": 100, "judge": "inception",
             "memorisation": False}
  with_cas, without = evaluate.describe(summary), evaluate.describe({**summary, "cas": None, "cas_real": None})
  said = ", CAS 0.8125 (of as many real images 0.8750)"
  assert said in with_cas and without == with_cas.replace(said, "")


def test_images_that_no_class_has_made_are_the_less_likely_ones():
  images, labels = dataset_lib.load("digits", None).arrays("test")
  rough = types.SimpleNamespace(
      log_density=lambda images: -np.abs(np.diff(images.astype(float), axis=1)).mean((1, 2, 3)))
  found = evaluate.Evaluator.out_of_distribution(types.SimpleNamespace(real={"test": (images, labels)}), rough)
  assert found["ood_auroc_shuffled"] > 0.9 and set(found) == {"ood_auroc_shuffled", "ood_auroc_spliced"}
