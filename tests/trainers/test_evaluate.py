"""trainers/evaluate.py: what an Evaluator needs of a data set."""

import types

import pytest

from stic_tf.config import ConfigError
from stic_tf.datasets import dataset as dataset_lib
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
