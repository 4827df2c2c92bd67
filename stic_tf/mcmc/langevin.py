"""The Langevin proposal and its log density, in coordinates where its noise is white.

One convention everywhere: drift h, noise √(2h). With x = mean + L u, M = L Lᵀ, a move of u is in x
x' = x + h·M·∇log π(x) + √(2h)·L·ξ.
"""

import tensorflow as tf


def move(gradient: tf.Tensor, noise: tf.Tensor, step_size: tf.Tensor) -> tf.Tensor:
  """u' - u = h·∇log π(u) + √(2h)·ξ (docs/equations.md, "u' = u + h ∇_u log π").

  Args:
    gradient, noise: float32 [B, D]; noise is standard normal.
    step_size: h, float32 [B], above 0.
  """
  step = step_size[:, tf.newaxis]
  # A product, to be added to u: a sum of three may be regrouped (stic_tf/rounding.py).
  return step * (gradient + tf.sqrt(2.0 / step) * noise)


def log_proposal_ratio(noise: tf.Tensor, gradient: tf.Tensor, proposed_gradient: tf.Tensor,
                       step_size: tf.Tensor) -> tf.Tensor:
  """log q(u|u') - log q(u'|u): float32 [B].

  The forward residual is √(2h)·ξ by construction, and the backward one is -(√(2h)·ξ + h·(g + g')), so neither needs
  the inverse of M nor a difference of two nearby positions, which would lose digits.
  """
  step = step_size[:, tf.newaxis]
  backward = noise + tf.sqrt(0.5 * step) * (gradient + proposed_gradient)
  return 0.5 * (tf.reduce_sum(tf.square(noise), axis=1) - tf.reduce_sum(tf.square(backward), axis=1))
