"""DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): second order from two denoised images.

With λ = -ln σ and h = λ_level - λ_before it is exact for a denoised image that is linear in λ:
x ← (σ_level/σ_before) x + (1 - e^-h) D', D' = D + h/(2 h_prev) (D - D_prev). The first step is first order.
"""

import tensorflow as tf

from stic_tf import rounding
from stic_tf.diffusion import solver
from stic_tf.targets import gradient


class DpmSolverPP(solver.Solver):
  """Its state: the denoised images [B, D] and h [B, 1] of the step before, 0 where there was none."""

  def init(self, rows):
    return tf.zeros_like(rows), tf.zeros_like(rows[:, :1])

  def state_shape(self, size):
    return tf.TensorShape([None, size]), tf.TensorShape([None, 1])

  def advance(self, state, rows, score, trial_score, before, level):
    last_denoised, last_length = state
    denoised = gradient.denoise(rows, score, tf.square(before))
    ratio = level / before
    length = -tf.math.log(ratio)
    slope = tf.math.divide_no_nan(length, 2.0 * last_length)
    extrapolated = rounding.add_product(denoised, slope, denoised - last_denoised)
    return rounding.add_product(ratio * rows, 1.0 - ratio, extrapolated), (denoised, length)
