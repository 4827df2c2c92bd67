"""How far probabilities may be believed: log loss, Brier score, and calibration error (also as a Keras metric)."""

import keras
import numpy as np
import tensorflow as tf

from stic_tf.metrics.inception import check_probabilities


def expected_calibration_error(probabilities, labels, bins: int = 15) -> float:
  """Σ_b (n_b / N) |accuracy_b − confidence_b| over `bins` bins of equal width of the highest probability.

  Bin b holds the confidences in (b / bins, (b + 1) / bins].

  Args:
    probabilities: [N, K], rows on the simplex.
    labels: int [N], 0..K-1.
    bins: >= 1.
  Returns:
    The error, in [0, 1].
  Raises:
    ValueError: shapes that do not fit, rows off the simplex, a label out of range, or no bins.
  Source: Guo et al. 2017 (arXiv 1706.04599), equation 3.
  """
  probabilities, labels = _check_answers(probabilities, labels)
  metric = ExpectedCalibrationError(bins=bins, name="expected_calibration_error")
  # In float32, as the metric does, so that a confidence on an edge falls into the same bin.
  metric.update_state(labels, probabilities.astype(np.float32))
  return float(metric.result())


def negative_log_likelihood(probabilities, labels) -> float:
  """−(1/N) Σ log p(label), in nats; a probability of 0 counts as float32's smallest normal number.

  Args, Raises: as `expected_calibration_error`.
  """
  probabilities, labels = _check_answers(probabilities, labels)
  own = probabilities[np.arange(len(labels)), labels]
  return float(-np.mean(np.log(np.maximum(own, np.finfo(np.float32).tiny))))


def brier_score(probabilities, labels) -> float:
  """(1/N) Σ Σ_k (p_k − [k = label])², in [0, 2].

  Args, Raises: as `expected_calibration_error`.
  Source: Brier 1950.
  """
  probabilities, labels = _check_answers(probabilities, labels)
  return float(np.mean(np.sum(np.square(probabilities - np.eye(probabilities.shape[1])[labels]), axis=1)))


def _check_answers(probabilities, labels) -> tuple:
  probabilities, labels = check_probabilities(probabilities), np.asarray(labels)
  if labels.shape != probabilities.shape[:1]:
    raise ValueError(f"labels must be [{len(probabilities)}], got {list(labels.shape)}")
  if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
    raise ValueError(f"labels must lie in 0..{probabilities.shape[1] - 1}, got {labels.min()}..{labels.max()}")
  return probabilities, labels


class ExpectedCalibrationError(keras.metrics.Metric):
  """`expected_calibration_error` gathered over batches (and over replicas).

  Args:
    bins: bins of equal width, >= 1.
    from_logits: whether `y_pred` holds logits rather than probabilities.
  Raises:
    ValueError: `bins` below 1.
  """

  def __init__(self, bins: int = 15, from_logits: bool = False, name: str = "ece", **kwargs):
    super().__init__(name=name, **kwargs)
    if bins < 1:
      raise ValueError(f"bins={bins}: must be at least 1")
    self.bins, self.from_logits = bins, from_logits
    # The gap Σ(correct − confidence) of each bin is all the error needs; float64, as sums in float32 drift.
    self.gap = self.add_weight(name="gap", shape=(bins,), initializer="zeros", dtype=tf.float64)
    self.weight = self.add_weight(name="weight", initializer="zeros", dtype=tf.float64)

  def update_state(self, y_true, y_pred, sample_weight=None):
    """Adds a batch: y_true int [N] or [N,1], y_pred float [N,K], sample_weight [N] or None."""
    probabilities = tf.cast(y_pred, tf.float32)
    if self.from_logits:
      probabilities = tf.nn.softmax(probabilities)
    confidence = tf.reduce_max(probabilities, axis=-1)
    correct = tf.equal(tf.argmax(probabilities, axis=-1), tf.cast(tf.reshape(y_true, [-1]), tf.int64))
    index = tf.cast(tf.math.ceil(confidence * self.bins), tf.int32) - 1
    gap = tf.cast(correct, tf.float64) - tf.cast(confidence, tf.float64)
    weight = tf.ones_like(gap) if sample_weight is None else tf.cast(tf.reshape(sample_weight, [-1]), tf.float64)
    index = tf.clip_by_value(index, 0, self.bins - 1)
    self.gap.assign_add(tf.math.unsorted_segment_sum(weight * gap, index, self.bins))
    self.weight.assign_add(tf.reduce_sum(weight))

  def result(self):
    """The error over everything added, in [0, 1]; 0 when nothing was."""
    return tf.math.divide_no_nan(tf.reduce_sum(tf.abs(self.gap)), self.weight)

  def reset_state(self):
    """Forgets everything added."""
    for variable in (self.gap, self.weight):
      variable.assign(tf.zeros_like(variable))

  def get_config(self):
    return {**super().get_config(), "bins": self.bins, "from_logits": self.from_logits}
