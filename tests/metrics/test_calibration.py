"""Calibration error by hand, by an independent loop, and by the Keras metric over uneven batches."""

import keras
import numpy as np
import pytest

from stic_tf.metrics.calibration import ExpectedCalibrationError
from stic_tf.metrics.calibration import brier_score
from stic_tf.metrics.calibration import expected_calibration_error
from stic_tf.metrics.calibration import negative_log_likelihood


def random_predictions(count=500, classes=4, seed=0):
  generator = np.random.default_rng(seed)
  logits = 2 * generator.normal(size=(count, classes)).astype(np.float32)
  exponentials = np.exp(logits.astype(np.float64))
  probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
  return logits, probabilities.astype(np.float32), generator.integers(0, classes, count)


def error_by_loop(probabilities, labels, bins):
  """Guo's equation 3 as written: a loop over bins with explicit edges."""
  confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
  error = 0.0
  for index in range(bins):
    members = (confidence > index / bins) & (confidence <= (index + 1) / bins)
    if members.any():
      error += members.mean() * abs(correct[members].mean() - confidence[members].mean())
  return error


def test_made_by_hand():
  """Two bins of ten: 0.95 twice with one right (gap 0.45), 0.65 twice with both right (gap 0.35): mean 0.4."""
  probabilities = [[0.95, 0.05], [0.05, 0.95], [0.65, 0.35], [0.35, 0.65]]
  assert expected_calibration_error(probabilities, [0, 0, 0, 1], bins=10) == pytest.approx(0.4, abs=1e-6)


def test_gaps_cancel_inside_a_bin_only():
  """In one bin over- and underconfidence cancel; in two they do not."""
  probabilities, labels = [[0.9, 0.1], [0.4, 0.6]], [1, 1]
  assert expected_calibration_error(probabilities, labels, bins=1) == pytest.approx(0.25, abs=1e-6)
  assert expected_calibration_error(probabilities, labels, bins=4) == pytest.approx((0.9 + 0.4) / 2, abs=1e-6)


def test_sure_and_right_is_calibrated():
  assert expected_calibration_error(np.eye(5), np.arange(5)) == 0


def test_confidence_on_an_edge_belongs_below():
  """0.5 of two bins: both predictions fall in (0, 0.5] and cancel; were the edge above, so would they: 0.75 tells."""
  probabilities, labels = [[0.5, 0.5], [0.75, 0.25]], [0, 1]
  assert expected_calibration_error(probabilities, labels, bins=2) == pytest.approx((0.5 + 0.75) / 2, abs=1e-6)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_function_equals_the_definition(bins):
  _, probabilities, labels = random_predictions()
  assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(
    error_by_loop(probabilities, labels, bins), abs=1e-6)


def test_metric_over_batches_equals_the_function():
  logits, probabilities, labels = random_predictions()
  metric, metric_of_logits = ExpectedCalibrationError(), ExpectedCalibrationError(from_logits=True)
  for part in (slice(0, 100), slice(100, 101), slice(101, 500)):
    metric.update_state(labels[part, np.newaxis], probabilities[part])
    metric_of_logits.update_state(labels[part], logits[part])
  expected = expected_calibration_error(probabilities, labels)
  assert float(metric.result()) == pytest.approx(expected, abs=1e-9)
  assert float(metric_of_logits.result()) == pytest.approx(expected, abs=1e-6)
  metric.reset_state()
  assert float(metric.result()) == 0


def test_sample_weights_count_as_repeats():
  _, probabilities, labels = random_predictions(40)
  repeats = np.random.default_rng(1).integers(0, 3, 40)
  metric = ExpectedCalibrationError()
  metric.update_state(labels, probabilities, sample_weight=repeats)
  expected = expected_calibration_error(np.repeat(probabilities, repeats, axis=0), np.repeat(labels, repeats))
  assert float(metric.result()) == pytest.approx(expected, abs=1e-9)


def test_metric_in_a_keras_model_and_from_its_config():
  logits, probabilities, labels = random_predictions(64)
  model = keras.Sequential([keras.layers.Activation("linear")])
  copied = ExpectedCalibrationError.from_config(ExpectedCalibrationError(bins=9, from_logits=True).get_config())
  model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=[copied])
  measured = model.evaluate(logits, labels, batch_size=10, verbose=0, return_dict=True)
  assert measured["ece"] == pytest.approx(expected_calibration_error(probabilities, labels, 9), abs=1e-6)


@pytest.mark.parametrize("probabilities, labels, bins, message", [
  ([[0.5, 0.5]], [0, 1], 15, "labels must be"),
  ([[0.5, 0.5]], [2], 15, "0..1"),
  ([[0.5, 0.6]], [0], 15, "sum to 1"),
  ([[0.5, 0.5]], [0], 0, "bins=0"),
])
def test_bad_input_is_refused(probabilities, labels, bins, message):
  with pytest.raises(ValueError, match=message):
    expected_calibration_error(probabilities, labels, bins)


def test_log_loss_and_brier_score_are_sklearns():
  from sklearn import metrics
  _, probabilities, labels = random_predictions()
  probabilities = probabilities / probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
  assert negative_log_likelihood(probabilities, labels) == pytest.approx(
    metrics.log_loss(labels, probabilities, labels=range(4)))
  by_class = [metrics.brier_score_loss(labels == label, probabilities[:, label]) for label in range(4)]
  assert brier_score(probabilities, labels) == pytest.approx(np.sum(by_class))


def test_sure_and_wrong_costs_a_finite_log_loss():
  assert 80 < negative_log_likelihood([[1.0, 0.0]], [1]) < 100 and brier_score([[1.0, 0.0]], [1]) == 2


@pytest.mark.parametrize("score", [negative_log_likelihood, brier_score])
def test_they_refuse_bad_input_too(score):
  with pytest.raises(ValueError, match="0..1"):
    score([[0.5, 0.5]], [2])
