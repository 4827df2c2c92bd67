"""The Langevin proposal and its log density, in whitened coordinates u (x = mean + L u, M = L Lᵀ).

One convention everywhere: drift h, noise √(2h). In x this is x' = x + h·M·∇log π(x) + √(2h)·L·ξ.
"""

import tensorflow as tf


def propose(position: tf.Tensor, gradient: tf.Tensor, noise: tf.Tensor, step_size: tf.Tensor) -> tf.Tensor:
  """u' = u + h·∇log π(u) + √(2h)·ξ (method §2).

  Args:
    position, gradient, noise: float32 [B, D]; noise is standard normal.
    step_size: h, float32 [B], above 0.
  """
  step = step_size[:, tf.newaxis]
  # Not a sum of three: TensorFlow's optimiser makes one operation of that and sorts its terms by their names, which
  # differ between a live and an exported graph. The last bit would depend on it.
  return position + step * (gradient + tf.sqrt(2.0 / step) * noise)


def log_proposal_ratio(noise: tf.Tensor, gradient: tf.Tensor, proposed_gradient: tf.Tensor,
                       step_size: tf.Tensor) -> tf.Tensor:
  """log q(u|u') - log q(u'|u): float32 [B].

  The forward residual is √(2h)·ξ by construction, and the backward one is -(√(2h)·ξ + h·(g + g')), so neither needs
  the inverse of M nor a difference of two nearby positions, which would lose digits.
  """
  step = step_size[:, tf.newaxis]
  backward = noise + tf.sqrt(0.5 * step) * (gradient + proposed_gradient)
  return 0.5 * (tf.reduce_sum(tf.square(noise), axis=1) - tf.reduce_sum(tf.square(backward), axis=1))
