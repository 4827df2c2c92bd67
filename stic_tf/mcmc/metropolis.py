"""Metropolis-Hastings accept / reject: the one accept step of all kernels."""

import tensorflow as tf

from stic_tf.mcmc import kernel as kernel_lib


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


def accept_or_reject(state, proposed, log_ratio: tf.Tensor, inputs: kernel_lib.StepInputs, adjust: bool = True):
  """The next state of B chains.

  Args:
    state, proposed: NamedTuples of tensors [B] and [B, …].
    log_ratio: log π(x') - log π(x) + log q(x|x') - log q(x'|x), float32 [B].
    inputs: of the step; a chain that is not running stays where it is.
    adjust: False takes every finite proposal (biased; for ablation). The acceptance probability is still reported, so
      that the bias can be seen.

  Returns:
    (state, kernel.StepInfo).
  """
  probability = acceptance_probability(log_ratio)
  accepted = accept(log_ratio, inputs.log_uniform) if adjust else tf.math.is_finite(log_ratio)
  if inputs.running is not None:
    accepted = tf.logical_and(accepted, inputs.running)
  state = type(state)(*(choose(accepted, new, old) for new, old in zip(proposed, state)))
  return state, kernel_lib.StepInfo(probability, accepted)
