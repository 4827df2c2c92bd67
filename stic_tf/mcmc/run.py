"""The loop over a kernel's steps: burn-in with step-size adaptation, then a fixed kernel. One `tf.while_loop`."""

from typing import Any, NamedTuple, Optional, Union

import tensorflow as tf

from stic_tf.mcmc import adaptation
from stic_tf.mcmc import kernel as kernel_lib
from stic_tf.mcmc import random as random_lib
from stic_tf.mcmc import recording

# Random numbers are made for several steps at once when images are small: the cost is then that of the arithmetic,
# not of starting a hundred tiny operations a step.
_BLOCK_NUMBERS = 16384


class ChainResult(NamedTuple):
  """Where B chains ended.

  Attributes:
    state: the kernel's final state.
    step_size: float32 [B], after adaptation.
    acceptance_rate: float32 [B], mean acceptance probability after burn-in (over all steps where there is none after).
    steps: int32 [B], steps taken.
    frames: what the recorder kept, [n, B, …]; () where nothing is recorded.
  """

  state: Any
  step_size: tf.Tensor
  acceptance_rate: tf.Tensor
  steps: tf.Tensor
  frames: Any = ()


def run(kernel: kernel_lib.Kernel, position: tf.Tensor, seeds: tf.Tensor, num_steps: tf.Tensor, step_size: tf.Tensor,
        burn_in_steps: tf.Tensor = 0, target_acceptance: float = adaptation.TARGET_ACCEPTANCE,
        block_steps: Optional[int] = None,
        recorder: Union[recording.Recorder, recording.Trace, None] = None) -> ChainResult:
  """Runs B independent chains.

  During burn-in each chain moves its own log h by Robbins-Monro towards `target_acceptance`; afterwards h is fixed and
  the kernel leaves π invariant. Adaptation is per chain so that no image depends on its neighbours.

  Args:
    kernel: one step.
    position: float32 [B, D], where the chains start.
    seeds: int64 [B, 2], one pair an image.
    num_steps: int32 [B] or scalar; a chain that has done its steps stays where it is.
    step_size: h, float32 [B] or scalar.
    burn_in_steps: int32 [B] or scalar.
    target_acceptance: what the burn-in aims at.
    block_steps: how many steps' random numbers are made at once; never changes a number.
    recorder: keeps the canvas at some steps or log π at all of them, for the result's `frames`; None keeps nothing.

  Returns:
    A ChainResult.
  """
  batch, size = tf.shape(seeds)[0], kernel.size
  num_steps = tf.broadcast_to(tf.cast(num_steps, tf.int32), [batch])
  burn_in_steps = tf.broadcast_to(tf.cast(burn_in_steps, tf.int32), [batch])
  log_step_size = tf.math.log(tf.broadcast_to(tf.cast(step_size, tf.float32), [batch]))
  keys = random_lib.image_keys(seeds, random_lib.CHAIN_STREAM)
  block = block_steps or max(1, min(32, _BLOCK_NUMBERS // (16 * size)))

  longest = tf.reduce_max(num_steps)
  # Keys of all steps at once: two words a step and chain, against a hundred tiny operations in every step.
  step_keys = random_lib.fold_steps(keys, tf.range(longest + block))

  def random_block(step):
    return random_lib.of_step_keys([tf.slice(key, [step, 0], [block, batch]) for key in step_keys], size)

  def body(step, state, log_step_size, accepted_sum, accepted_count, normals, log_uniforms, frames):
    running = step < num_steps
    burning = tf.logical_and(running, step < burn_in_steps)
    state, info = kernel.one_step(state, kernel_lib.StepInputs(
        step, normals[step % block], log_uniforms[step % block], tf.exp(log_step_size), running))
    # The next step's random numbers wait for nothing: they are made in the gaps that the network leaves on the cores.
    used_up = tf.logical_and(tf.equal((step + 1) % block, 0), step + 1 < longest)
    normals, log_uniforms = tf.cond(used_up, lambda: random_block(step + 1), lambda: (normals, log_uniforms))
    if kernel.adapts:
      change = adaptation.log_change(info.acceptance_probability, target_acceptance, adaptation.burn_in_gain(step))
      log_step_size += tf.where(burning, change, 0.0)
    # Before burn-in ends the sum starts anew, so that what is reported is the fixed kernel's acceptance.
    restart = tf.logical_and(running, tf.equal(step, burn_in_steps))
    accepted_sum = tf.where(restart, 0.0, accepted_sum) + tf.where(running, info.acceptance_probability, 0.0)
    accepted_count = tf.where(restart, 0.0, accepted_count) + tf.cast(running, tf.float32)
    if recorder is not None:
      frames = recorder.update(frames, state, step + 1, num_steps)
    return step + 1, state, log_step_size, accepted_sum, accepted_count, normals, log_uniforms, frames

  zeros = tf.zeros([batch])
  _, state, log_step_size, accepted_sum, accepted_count, _, _, frames = tf.while_loop(
      lambda step, *_: step < longest, body,
      [tf.constant(0), kernel.init(position), log_step_size, zeros, zeros, *random_block(0),
       () if recorder is None else recorder.begin(batch)],
      shape_invariants=[tf.TensorShape([]),
                        kernel.state_shape(),
                        tf.TensorShape([None]), tf.TensorShape([None]), tf.TensorShape([None]),
                        tf.TensorShape([block, None, size]), tf.TensorShape([block, None]),
                        () if recorder is None else recorder.shape],
      parallel_iterations=1)
  return ChainResult(state, tf.exp(log_step_size), accepted_sum / tf.maximum(accepted_count, 1.0), num_steps, frames)
