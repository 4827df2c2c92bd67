"""Down a schedule of noise levels: a solver as predictor, a kernel as corrector at every level (Song et al. 2021).

The solver carries a sample from one noise level to the next, with an error of the step. The corrector then moves it by
steps that leave the density of that level invariant, which a score alone could not do: an accept test needs the
energy. Everything is one flat `tf.while_loop`, an evaluation of the network an iteration: the graph holds the network
once, and a loop within the loop meets a fault of Grappler (a TemporaryVariable that is there already).
"""

from typing import Any, Callable, NamedTuple, Optional

import tensorflow as tf

from stic_tf.diffusion import schedule as schedule_lib
from stic_tf.diffusion import solver as solver_lib
from stic_tf.mcmc import adaptation
from stic_tf.mcmc import kernel as kernel_lib
from stic_tf.mcmc import mala
from stic_tf.mcmc import metropolis
from stic_tf.mcmc import random as random_lib
from stic_tf.mcmc import recording

_GAIN = 1.0  # by which log h follows the acceptance of a level

# rows [B, D], σ [B] -> (log density [B], score [B, D], …), as the corrector's kernel takes it
Evaluate = Callable[[tf.Tensor, tf.Tensor], tuple]


class Corrector(NamedTuple):
  """What moves the samples at a level.

  Attributes:
    make: mala.Factor -> Kernel, in coordinates of the pixels.
    color: L_σ v, of rows [B, D] and σ [B]; symmetric.
    steps: how many at each level.
    step_size: h at the first level in coordinates whitened by M_σ, float32 [B].
    target_acceptance: what h follows from level to level, by each image's own acceptance; it is fixed within a level.
      None: one h for all levels.
  """

  make: Callable[[mala.Factor], kernel_lib.Kernel]
  color: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
  steps: int
  step_size: tf.Tensor
  target_acceptance: Optional[float] = None


class Annealed(NamedTuple):
  """Where B images stand at the last level of their schedules.

  Attributes:
    state: of the corrector's kernel: position float32 [B, D], not denoised, not clipped, and log π at that level.
    noise_level: float32 [B], that level.
    acceptance_rate: float32 [B], of the corrector over all levels; 1 where it has no steps.
    frames: what the recorder kept, [n, B, …]; () where nothing is recorded.
  """

  state: Any
  noise_level: tf.Tensor
  acceptance_rate: tf.Tensor
  frames: Any = ()


class Level(NamedTuple):
  """Where samples stand at the end of a level, for a recorder.

  Attributes:
    state: of the corrector's kernel.
    noise_level: float32 [B].
    acceptance: float32 [B], mean of the corrector's steps at this level; 0 where it has none.
    step_size: float32 [B], the h of this level.
  """

  state: Any
  noise_level: tf.Tensor
  acceptance: tf.Tensor
  step_size: tf.Tensor


def network_evaluations(num_steps: int, solver: solver_lib.Solver, corrector_steps: int) -> int:
  """Forward and backward passes of the network that a drawing of `num_steps` noise levels takes."""
  return num_steps * (1 + corrector_steps) + (num_steps - 1) * solver.stages


def run(evaluate: Evaluate, rows: tf.Tensor, seeds: tf.Tensor, num_steps: tf.Tensor, schedule: schedule_lib.Schedule,
        solver: solver_lib.Solver, corrector: Corrector, recorder: Optional[recording.Recorder] = None) -> Annealed:
  """Takes B samples of the first level's density down their schedules.

  At its level the corrector leaves π(·, σ) invariant, as h is fixed there. What is approximate is the way from level to
  level.

  Args:
    evaluate: log π(x, σ), its gradient, and what else the corrector's kernel reads of it.
    rows: float32 [B, D], samples at the first level.
    seeds: int64 [B, 2]; an image depends on its own pair, rows and settings alone.
    num_steps: noise levels, int32 [B]; an image that has done its own stays where it is.
    schedule, solver, corrector: what they are called. A solver's memory does not outlive a move of the corrector.
    recorder: renders a Level after some levels, for the result's `frames`; None keeps none.

  Returns:
    An Annealed.
  """
  size, batch = rows.shape[1], tf.shape(seeds)[0]
  keys = random_lib.image_keys(seeds, random_lib.CHAIN_STREAM)
  # What is done at a level, one evaluation each: the solver's trial, on the way to it (not to the first); log density
  # and score on arrival; then the corrector's proposals.
  stages, corrections = solver.stages, corrector.steps
  kinds = ["trial"] * stages + ["arrival"] + ["proposal"] * (corrections > 0)
  evaluations = stages + 1 + corrections

  def body(number, state, memory, accepted, at_level, step_size, frames):
    rows, score = state.position, state.gradient
    place, phase = number // evaluations, number % evaluations
    kind = tf.minimum(phase, len(kinds) - 1)
    before, level = (schedule.level(tf.maximum(i, 0), num_steps)[:, tf.newaxis] for i in (place - 1, place))
    color = mala.Factor(*[lambda values: corrector.color(values, level[:, 0])] * 2)
    kernel = corrector.make(color)
    zeros, nothing = tf.zeros_like(rows), tf.zeros_like(step_size)

    def inputs_of(noise, log_uniform):
      number_in_chain = place * corrections + phase - stages - 1
      return kernel_lib.StepInputs(number_in_chain, noise, log_uniform, step_size)

    def arrive():
      if stages:
        return rows, memory
      return tf.cond(place > 0, lambda: solver.advance(memory, rows, score, None, before, level),
                     lambda: (rows, memory))

    def propose():
      numbers = tf.reshape(inputs_of(None, None).number, [1])
      (noise,), (log_uniform,) = map(tf.unstack, random_lib.normals_and_log_uniforms(keys, numbers, size))
      proposal = kernel.propose(state, inputs_of(noise, log_uniform))
      return proposal.position, memory, proposal.pulled, noise, log_uniform

    points = {"trial": lambda: (solver.trial(rows, score, before, level), memory, zeros, zeros, nothing),
              "arrival": lambda: (*arrive(), zeros, zeros, nothing), "proposal": propose}
    point, arrived, pulled, noise, log_uniform = tf.switch_case(kind, [points[name] for name in kinds])
    evaluation = evaluate(point, level[:, 0])

    def advance():
      new_rows, new_memory = solver.advance(memory, rows, score, evaluation[1], before, level)
      return (state._replace(position=new_rows), new_memory), nothing

    def accept_or_reject():
      moved, info = kernel.finish(state, mala.Proposal(point, pulled), evaluation, inputs_of(noise, log_uniform))
      left = tf.nest.map_structure(lambda fresh, old: metropolis.choose(info.accepted, fresh, old),
                                   solver.init(rows), arrived)
      return (moved, left), info.acceptance_probability

    outcomes = {"trial": advance, "arrival": lambda: ((kernel.at(point, evaluation, state), arrived), nothing),
                "proposal": accept_or_reject}
    new, probability = tf.switch_case(kind, [outcomes[name] for name in kinds])
    running = place < num_steps
    kept = tf.nest.map_structure(lambda new, old: metropolis.choose(running, new, old), new, (state, memory))
    at_level = tf.where(tf.equal(phase, 0), 0.0, at_level) + probability / max(corrections, 1)
    ends = tf.equal(phase, evaluations - 1)
    if recorder is not None:
      reached = Level(kept[0], level[:, 0], at_level, step_size)
      frames = recorder.update(frames, reached, tf.where(ends, place + 1, 0), num_steps)
    if corrections and corrector.target_acceptance is not None:
      step_size = tf.where(ends, adaptation.between_chains(step_size, at_level, corrector.target_acceptance, _GAIN),
                           step_size)
    return (number + 1, *kept, accepted + tf.where(running, probability, 0.0), at_level, step_size, frames)

  zeros, many, state_shape = tf.zeros([batch]), tf.TensorShape([None]), corrector.make(None).state_shape()
  begun = tf.nest.map_structure(lambda shape: tf.zeros([batch, *shape[1:]]), state_shape)._replace(position=rows)
  _, state, _, accepted, _, _, frames = tf.while_loop(
      lambda number, *_: number < evaluations * tf.reduce_max(num_steps), body,
      [tf.constant(stages), begun, solver.init(rows), zeros, zeros, corrector.step_size,
       () if recorder is None else recorder.begin(batch)],
      shape_invariants=[tf.TensorShape([]), state_shape, solver.state_shape(size), many, many, many,
                        () if recorder is None else recorder.shape],
      parallel_iterations=1)
  rate = accepted / tf.cast(num_steps * corrections, tf.float32) if corrections else tf.ones([batch])
  return Annealed(state, schedule.level(num_steps - 1, num_steps), rate, frames)
