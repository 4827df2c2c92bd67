"""JEM's SGLD (Grathwohl et al. 2020), for comparison: a gradient step and a noise that do not belong to each other.

x' = x + 1.0·∇log π(x) + 0.01·ξ, from uniform noise in [-1, 1], without an accept test. Its implied temperature is
σ²/(2·lr) = 5e-5. It runs in pixel coordinates: the preconditioner must be the unit one.
"""

import tensorflow as tf

from stic_tf.sampler import chain as chain_lib
from stic_tf.sampler import grmala
from stic_tf.sampler import random as random_lib

GRADIENT_STEP = 1.0
NOISE = 0.01


def uniform_canvas(seeds: tf.Tensor, size: int) -> tf.Tensor:
  """Uniform noise in (-1, 1): int64 seeds [B, 2] -> float32 [B, size]."""
  normals = random_lib.normals(seeds, random_lib.CANVAS_STREAM, size)
  return tf.math.erf(normals * 0.70710678)


def run_chain(log_density_and_gradient: grmala.LogDensityAndGradient, position: tf.Tensor, seeds: tf.Tensor,
              num_steps: tf.Tensor) -> chain_lib.ChainResult:
  """Runs `num_steps` (int32 [B] or scalar) SGLD steps from `position` [B, D]; every step counts as accepted."""
  size = position.shape[1]
  batch = tf.shape(position)[0]
  num_steps = tf.broadcast_to(tf.cast(num_steps, tf.int32), [batch])
  keys = random_lib.image_keys(seeds, random_lib.CHAIN_STREAM)

  def body(step, state):
    normals, _ = random_lib.normals_and_log_uniforms(keys, tf.reshape(step, [1]), size)
    position = state.position + GRADIENT_STEP * state.gradient + NOISE * normals[0]
    running = step < num_steps
    moved = grmala.initial_state(position, log_density_and_gradient)
    return step + 1, grmala.ChainState(*(
        tf.where(running if new.shape.rank == 1 else running[:, tf.newaxis], new, old)
        for new, old in zip(moved, state)))

  _, state = tf.while_loop(lambda step, _: step < tf.reduce_max(num_steps), body,
                           [tf.constant(0), grmala.initial_state(position, log_density_and_gradient)],
                           shape_invariants=[tf.TensorShape([]), grmala.state_shape(size)], parallel_iterations=1)
  ones = tf.ones([batch])
  return chain_lib.ChainResult(state, GRADIENT_STEP * ones, ones, num_steps)
