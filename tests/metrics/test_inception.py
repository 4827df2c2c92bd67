"""The Inception score at its known values."""

import numpy as np
import pytest

from stic_tf.metrics.inception import inception_score


def test_sure_and_uniform_over_classes_scores_the_number_of_classes():
  mean, std = inception_score(np.tile(np.eye(10), (30, 1)), splits=1)
  assert mean == pytest.approx(10)
  assert std == 0


def test_sorted_by_class_scores_like_shuffled():
  """Ten contiguous parts of images sorted by class would each hold one class and score 1."""
  mean, _ = inception_score(np.repeat(np.eye(10), 300, axis=0), splits=10)
  assert mean > 9.8


@pytest.mark.parametrize("row", [np.full(10, 0.1), np.eye(10)[3], np.array([0.7, 0.3])])
def test_the_same_prediction_for_all_scores_one(row):
  assert inception_score(np.tile(row, (100, 1))) == pytest.approx((1.0, 0.0), abs=1e-9)


def test_two_kinds_of_prediction():
  """Half (0.9, 0.1), half (0.1, 0.9): exp(KL((0.9, 0.1) ‖ (0.5, 0.5)))."""
  expected = np.exp(0.9 * np.log(1.8) + 0.1 * np.log(0.2))
  assert inception_score([[0.9, 0.1], [0.1, 0.9]], splits=1)[0] == pytest.approx(expected)


@pytest.mark.parametrize("probabilities, splits, message", [
  (np.full((5, 3), 0.5), 1, "sum to 1"),
  ([[1.5, -0.5]], 1, "negative"),
  ([[np.nan, 1.0]], 1, "sum to 1"),
  (np.zeros((0, 3)), 1, "N > 0"),
  ([0.5, 0.5], 1, r"\[N, J\]"),
  (np.eye(3), 4, "splits=4"),
  (np.eye(3), 0, "splits=0"),
])
def test_bad_input_is_refused(probabilities, splits, message):
  with pytest.raises(ValueError, match=message):
    inception_score(probabilities, splits=splits)
