"""The report: each figure answers to the drawings as it should, and real-image work is done once."""

import json

import numpy as np
import pytest

from stic_tf.metrics.features import FeatureBatch
from stic_tf.metrics.frechet import frechet_distance
from stic_tf.metrics.report import DrawingJudge
from stic_tf.metrics.report import in_turn

_KEYS = {"fid", "fid_floor", "kid", "kid_std", "inception_score", "inception_score_std", "cas", "judge",
         "judge_accuracy", "judge_agreement", "num_samples"}


class CountingNetwork:
  """Pixels as features, a constant guess as probabilities; counts the images it is shown."""

  def __init__(self, num_classes=10):
    self.name, self.num_classes, self.seen = "counting", num_classes, 0

  def __call__(self, images):
    self.seen += len(images)
    flat = images.reshape(len(images), -1).astype(np.float64)
    return FeatureBatch(flat, np.full((len(images), self.num_classes), 1 / self.num_classes, np.float32))


@pytest.fixture(scope="module")
def drawing_judge(digits, digits_judge):
  return DrawingJudge(digits_judge, *digits, 10)


def test_real_images_score_near_the_floor_and_noise_far_from_it(digits, drawing_judge):
  real = drawing_judge.score(digits[0][-600:], digits[1][-600:], with_cas=False)
  noise = np.random.default_rng(0).integers(0, 256, (600, 8, 8, 1)).astype(np.uint8)
  drawn = drawing_judge.score(noise, digits[1][-600:], with_cas=False)
  assert set(real) == _KEYS
  assert real["fid"] == pytest.approx(real["fid_floor"], rel=0.5)
  assert drawn["fid"] > 10 * drawn["fid_floor"]
  assert drawn["fid_floor"] == real["fid_floor"]
  assert drawn["kid"] > 10 * abs(real["kid"])
  assert real["judge_agreement"] > 0.98 and drawn["judge_agreement"] < 0.3
  assert real["inception_score"] > 8.5 > drawn["inception_score"] + 3
  assert real["judge_accuracy"] >= 0.985
  assert real["cas"] is None and real["num_samples"] == 600


def test_one_class_only_shows_in_the_distance(digits, drawing_judge):
  """Mode collapse: perfect images of one class agree with the judge and still score badly."""
  chosen = digits[1] == 3
  collapsed = drawing_judge.score(digits[0][chosen], digits[1][chosen], with_cas=False)
  assert collapsed["judge_agreement"] > 0.98
  assert collapsed["fid"] > 5 * collapsed["fid_floor"]
  assert collapsed["inception_score"] < 1.5


def test_score_with_cas_is_json_and_repeats(digits, digits_judge):
  images, labels = digits[0][:200], digits[1][:200]
  scores = DrawingJudge(digits_judge, *digits, 10).score(images, labels)
  assert scores["cas"] > 0.8
  assert json.loads(json.dumps(scores)) == scores
  again = DrawingJudge(digits_judge, *digits, 10).score(images, labels, with_cas=False)
  assert {**scores, "cas": None} == again


def test_floor_uses_as_many_training_images_as_drawings(digits):
  network = CountingNetwork()
  judge = DrawingJudge(network, *digits, 10)
  assert network.seen == 497
  judge.floor(100)
  assert network.seen == 597
  everything = frechet_distance(digits[0].reshape(1300, -1), digits[2].reshape(497, -1))
  assert judge.floor(5000) == pytest.approx(everything)
  assert judge.floor(100) > judge.floor(5000)


def test_real_features_are_computed_once(digits):
  network = CountingNetwork()
  judge = DrawingJudge(network, *digits, 10)
  first = judge.score(digits[0][:100], digits[1][:100], with_cas=False)
  seen = network.seen
  assert judge.score(digits[0][:100], digits[1][:100], with_cas=False) == first
  assert network.seen == seen + 100


def test_no_agreement_with_a_network_of_other_classes(digits):
  judge = DrawingJudge(CountingNetwork(num_classes=1000), *digits, 10)
  scores = judge.score(digits[0][:50], digits[1][:50], with_cas=False)
  assert scores["judge_agreement"] is None and scores["judge_accuracy"] is None


def test_of_one_class_there_is_no_accuracy_of_what_learns_from_drawings(digits):
  """Any answer would be right; the distances are there all the same."""
  labels = np.zeros(1300, int)
  judge = DrawingJudge(CountingNetwork(num_classes=1), digits[0], labels, digits[2], labels[:497], 1)
  scores = judge.score(digits[0][:50], labels[:50])
  assert scores["cas"] is None
  assert 0 < scores["fid"] == pytest.approx(scores["fid_floor"], rel=1.0)
  final = judge.final_figures(digits[0][:50], labels[:50], digits[0], {**scores, "test_accuracy": 1.0})
  assert "cas" not in final["intervals"] and "fid" in final["intervals"]


@pytest.mark.parametrize("shape, labels, message", [
  ((5, 9, 9, 1), [0] * 5, "drawings are"),
  ((5, 8, 8, 1), [0] * 4, "labels"),
  ((1, 8, 8, 1), [0], "2 samples"),
])
def test_bad_drawings_are_refused(drawing_judge, shape, labels, message):
  with pytest.raises(ValueError, match=message):
    drawing_judge.score(np.zeros(shape, np.uint8), labels, with_cas=False)


def test_classes_come_in_turn_whatever_their_shares():
  labels = np.array([0] * 70 + [1] * 20 + [2] * 10)
  order = in_turn(labels, 3, 0)
  assert sorted(order) == list(range(100))
  np.testing.assert_array_equal(np.bincount(labels[order[:30]]), [10, 10, 10])
  np.testing.assert_array_equal(np.bincount(labels[order[:50]]), [20, 20, 10])
  assert list(order) == list(in_turn(labels, 3, 0)) != list(in_turn(labels, 3, 1))


def test_final_figures_are_of_what_they_are_called_by(digits, digits_judge):
  """Of one class alone drawings are precise and recall little; what is learnt from is what nearness is to."""
  one = np.flatnonzero(digits[1] == 3)
  judge = DrawingJudge(digits_judge, *digits, 10)
  drawings, labels = digits[0][one], digits[1][one]
  scores = {**judge.score(drawings, labels, with_cas=False), "test_accuracy": 1.0}
  others = np.setdiff1d(np.arange(len(digits[0])), one)
  learnt, unseen = (judge.final_figures(drawings, labels, digits[0][rows], scores) for rows in (one, others))
  assert learnt["precision"] > 0.5 > learnt["recall"] > 0
  assert learnt["nearest_train"] < 1e-6 < 0.1 < unseen["nearest_train"]
  for mirrored, copies in ((True, True), (False, False)):
    found = judge.final_figures(drawings[:, :, ::-1], labels, drawings, scores, mirrored)
    assert (found["nearest_train"] < 1e-6) == copies
