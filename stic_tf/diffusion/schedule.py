"""The noise levels that a drawing passes through (Karras et al. 2022, eqn 5)."""

from typing import NamedTuple

import tensorflow as tf


class Schedule(NamedTuple):
  """σ_i = (σ_max^(1/ρ) + i/(N-1) (σ_min^(1/ρ) - σ_max^(1/ρ)))^ρ, and σ_min beyond its end.

  Attributes:
    sigma_min, sigma_max: last and first level, standard deviations in [-1, 1] pixel units; the first may be [B].
    rho: larger puts more levels low.
  """

  sigma_min: float
  sigma_max: float
  rho: float

  def level(self, step: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
    """σ_i of step i, int32 scalar, for N of each image, int32 [B]: float32 [B]."""
    first, last = self.sigma_max ** (1.0 / self.rho), self.sigma_min ** (1.0 / self.rho)
    share = tf.cast(step, tf.float32) / tf.maximum(tf.cast(num_steps - 1, tf.float32), 1.0)
    return tf.pow(first + tf.minimum(share, 1.0) * (last - first), self.rho)
