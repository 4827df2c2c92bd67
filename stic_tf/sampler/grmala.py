"""One step of the Gram-matrix Metropolis-adjusted Langevin sampler: state, step and diagnostics.

The state caches log π and ∇log π, so that a step costs one forward and one backward pass of the network. Diagnostics
never feed back into the chain.
"""

from typing import Callable, NamedTuple, Optional

import tensorflow as tf

from stic_tf.sampler import langevin
from stic_tf.sampler import metropolis


class ChainState(NamedTuple):
  """B chains in whitened coordinates.

  Attributes:
    position: float32 [B, D].
    log_density: float32 [B], log π at `position`.
    gradient: float32 [B, D], ∇log π at `position`.
  """

  position: tf.Tensor
  log_density: tf.Tensor
  gradient: tf.Tensor


class StepInfo(NamedTuple):
  """What a step did: acceptance probability float32 [B], whether the proposal was taken bool [B]."""

  acceptance_probability: tf.Tensor
  accepted: tf.Tensor


# position [B, D] -> (log density [B], gradient [B, D])
LogDensityAndGradient = Callable[[tf.Tensor], tuple]


def state_shape(size: int) -> ChainState:
  """Shapes of a ChainState in a loop over chains of dimension `size`, whatever their number.

  A loop needs it said: TensorFlow cannot infer that a static batch of one keeps its size through a `tf.where`.
  """
  rows = tf.TensorShape([None, size])
  return ChainState(rows, tf.TensorShape([None]), rows)


def initial_state(position: tf.Tensor, log_density_and_gradient: LogDensityAndGradient) -> ChainState:
  """Evaluates the target once at `position`, float32 [B, D]."""
  return ChainState(position, *log_density_and_gradient(position))


def one_step(state: ChainState, log_density_and_gradient: LogDensityAndGradient, noise: tf.Tensor,
             log_uniform: tf.Tensor, step_size: tf.Tensor, adjust: bool = True, running: Optional[tf.Tensor] = None):
  """One Metropolis-adjusted Langevin step (method §2).

  Args:
    state: the chains.
    log_density_and_gradient: the target; everything it depends on must stay fixed for the length of the chain.
    noise: standard normals [B, D].
    log_uniform: logarithms of uniforms [B], for the accept test.
    step_size: h, float32 [B].
    adjust: False takes every finite proposal (unadjusted Langevin, biased; for ablation). The acceptance probability
      is still reported, so that the bias can be seen.
    running: bool [B], chains that are to move; None for all.

  Returns:
    (ChainState, StepInfo).
  """
  position = langevin.propose(state.position, state.gradient, noise, step_size)
  log_density, gradient = log_density_and_gradient(position)
  log_ratio = (log_density - state.log_density
               + langevin.log_proposal_ratio(noise, state.gradient, gradient, step_size))
  probability = metropolis.acceptance_probability(log_ratio)
  accepted = metropolis.accept(log_ratio, log_uniform) if adjust else tf.math.is_finite(log_ratio)
  if running is not None:
    accepted = tf.logical_and(accepted, running)
  proposed = ChainState(position, log_density, gradient)
  state = ChainState(*(metropolis.choose(accepted, new, old) for new, old in zip(proposed, state)))
  return state, StepInfo(probability, accepted)
