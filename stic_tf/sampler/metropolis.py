"""Metropolis-Hastings accept / reject."""

import tensorflow as tf


def acceptance_probability(log_ratio: tf.Tensor) -> tf.Tensor:
  """min(1, exp(log_ratio)), and 0 where the ratio is not finite: float32 [B]."""
  finite = tf.math.is_finite(log_ratio)
  return tf.where(finite, tf.exp(tf.minimum(tf.where(finite, log_ratio, 0.0), 0.0)), 0.0)


def accept(log_ratio: tf.Tensor, log_uniform: tf.Tensor) -> tf.Tensor:
  """Whether each proposal is taken: log u < log ratio; a ratio that is not finite is rejected. bool [B]."""
  return tf.logical_and(tf.math.is_finite(log_ratio), log_uniform < log_ratio)


def choose(accepted: tf.Tensor, proposed: tf.Tensor, current: tf.Tensor) -> tf.Tensor:
  """Row-wise choice; a NaN in the branch not taken does not leak. accepted is bool [B]."""
  shape = tf.concat([tf.shape(accepted), tf.ones([tf.rank(proposed) - 1], tf.int32)], axis=0)
  return tf.where(tf.reshape(accepted, shape), proposed, current)
