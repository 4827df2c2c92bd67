"""What an MCMC kernel is: how a chain begins and makes one step. State, step and loop are three things.

A kernel is given `evaluate`, the target as a function of positions, and knows nothing else of it. A step is two halves,
`propose` and `finish`, with one evaluation between them, so that a loop that evaluates by itself (diffusion/) can use
any kernel as well.
"""

from typing import Any, Callable, NamedTuple, Optional

import tensorflow as tf

from stic_tf.mcmc import random as random_lib

# position [B, D] -> (log density [B], gradient [B, D], …), with one forward and one backward pass of the network.
Evaluate = Callable[[tf.Tensor], tuple]


class ChainState(NamedTuple):
  """B chains, with what their next step needs of the target: a step costs one evaluation.

  Attributes:
    position: float32 [B, D].
    log_density: float32 [B], log π at `position`.
    gradient: float32 [B, D], ∇log π at `position`.
  """

  position: tf.Tensor
  log_density: tf.Tensor
  gradient: tf.Tensor


class StepInputs(NamedTuple):
  """What a step is made with.

  Attributes:
    number: the step's number in its chain, int32 scalar.
    noise: standard normals, float32 [B, D].
    log_uniform: logarithms of uniforms in (0, 1), float32 [B].
    step_size: h, float32 [B].
    running: bool [B], chains that are to move; None for all.
  """

  number: Any
  noise: tf.Tensor
  log_uniform: tf.Tensor
  step_size: tf.Tensor
  running: Optional[tf.Tensor] = None


class StepInfo(NamedTuple):
  """What a step did, never fed back into a chain: acceptance probability float32 [B], whether it was taken bool [B]."""

  acceptance_probability: tf.Tensor
  accepted: tf.Tensor


class Kernel:
  """One Markov kernel on B chains of dimension D.

  Args:
    evaluate: the target; everything it depends on must stay fixed for the length of a chain. None where a system asks
      no more than `adapts` and `exact`, or evaluates by itself: it is not to be called here.
    size: D.

  One that corrects between noise levels is also given `factor`, a mala.Factor.
  """

  # Whether h adapts to the acceptance in burn-in.
  adapts = True
  # Whether it leaves the target invariant.
  exact = True

  def __init__(self, evaluate: Evaluate, size: int):
    self.evaluate, self.size = evaluate, size

  def blank(self, seeds: tf.Tensor) -> tf.Tensor:
    """Where a chain begins on a blank canvas, in whitened coordinates: N(0, I) of int64 seeds [B, 2], [B, D]."""
    return random_lib.normals(seeds, random_lib.CANVAS_STREAM, self.size)

  def init(self, position: tf.Tensor) -> NamedTuple:
    """The state at float32 [B, D]; evaluates the target once."""
    return self.at(position, self.evaluate(position))

  def at(self, position: tf.Tensor, evaluation: tuple, state=None) -> NamedTuple:
    """The state at a position of which `evaluation` is known.

    Args:
      position: float32 [B, D].
      evaluation: what `evaluate` says of it.
      state: where a chain was before it was moved there by other means, whose counts go on; None for a new chain.
    """
    del state
    return ChainState(position, *evaluation)

  def state_shape(self) -> NamedTuple:
    """Shapes of a state in a loop, whatever the number of chains.

    A loop needs it said: TensorFlow cannot infer that a static batch of one keeps its size through a `tf.where`.
    """
    rows = tf.TensorShape([None, self.size])
    return ChainState(rows, tf.TensorShape([None]), rows)

  def propose(self, state, inputs: StepInputs) -> NamedTuple:
    """A proposal: a NamedTuple whose `position`, [B, D], is where the target is to be evaluated.

    A loop that evaluates by itself takes kernels whose proposals are `mala.Proposal`s.
    """
    raise NotImplementedError

  def finish(self, state, proposal, evaluation: tuple, inputs: StepInputs) -> tuple:
    """(the next state, StepInfo), given what `evaluate` says of the proposal's position."""
    raise NotImplementedError

  def one_step(self, state, inputs: StepInputs) -> tuple:
    """(the next state, StepInfo)."""
    proposal = self.propose(state, inputs)
    return self.finish(state, proposal, self.evaluate(proposal.position), inputs)
