"""JEM's SGLD (Grathwohl et al. 2020), for comparison: a gradient step and a noise that do not belong to each other.

x' = x + 1.0·∇log π(x) + 0.01·ξ, from uniform noise in [-1, 1], without an accept test. Its implied temperature is
σ²/(2·lr) = 5e-5. It runs in pixel coordinates: the preconditioner must be the unit one.
"""

from typing import NamedTuple

import tensorflow as tf

from stic_tf.mcmc import kernel as kernel_lib
from stic_tf.mcmc import metropolis

GRADIENT_STEP = 1.0
NOISE = 0.01


class Proposal(NamedTuple):
  """Where to, float32 [B, D]."""

  position: tf.Tensor


class Sgld(kernel_lib.Kernel):
  """Every step is taken and counts as accepted; h is not read."""

  adapts = False
  exact = False

  def blank(self, seeds):
    """Uniform noise in (-1, 1)."""
    return tf.math.erf(super().blank(seeds) * 0.70710678)

  def propose(self, state, inputs):
    return Proposal(state.position + GRADIENT_STEP * state.gradient + NOISE * inputs.noise)

  def finish(self, state, proposal, evaluation, inputs):
    moved = kernel_lib.ChainState(proposal.position, *evaluation)
    taken = tf.ones_like(inputs.log_uniform, tf.bool) if inputs.running is None else inputs.running
    state = kernel_lib.ChainState(*(metropolis.choose(taken, new, old) for new, old in zip(moved, state)))
    return state, kernel_lib.StepInfo(tf.ones_like(inputs.log_uniform), taken)
