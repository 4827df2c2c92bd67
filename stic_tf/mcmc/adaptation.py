"""The one rule by which h follows the acceptance it saw: log h ← log h + gain·(a - target) (Robbins & Monro 1951)."""

import tensorflow as tf

TARGET_ACCEPTANCE = 0.574  # optimal for MALA (Roberts & Rosenthal 1998)
_RANGE = (1e-5, 4.0)


def burn_in_gain(step: tf.Tensor) -> tf.Tensor:
  """(t + 1)^-0.6 of burn-in step t, int32: falling, so that h settles."""
  return tf.pow(tf.cast(step + 1, tf.float32), -0.6)


def log_change(acceptance: tf.Tensor, target: float, gain) -> tf.Tensor:
  """How much log h moves, float32 of the shape of `acceptance`."""
  return gain * (acceptance - target)


def between_chains(step_size: tf.Tensor, acceptance: tf.Tensor, target: float, gain: float) -> tf.Tensor:
  """h of the next chains, given the acceptance of the last: h is fixed within each. Kept within [1e-5, 4]."""
  return tf.clip_by_value(step_size * tf.exp(log_change(acceptance, target, gain)), *_RANGE)
