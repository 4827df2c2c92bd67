"""Iterative drawing: GRMALA strokes, each in the window of one tile, placed where attention looks (method §5).

A stroke works in pixels x [B, D]. With A = W_m L, W_m the diagonal window of tile m and M = L Lᵀ the preconditioner,

    x' = x + h·A Aᵀ ∇log π(x) + √(2h)·A ξ ,   accepted with the Metropolis-Hastings ratio times a_w(x')[m] / a_w(x)[m].

It is exact. Only pixels inside the window move; on them the proposal is Gaussian with covariance 2h·A Aᵀ, and

    log q(x|x') − log q(x'|x) = ½‖ξ‖² − ½‖ξ + √(h/2)·Aᵀ(g + g')‖²

holds for any A, also one without an inverse: what of ξ lies in the null space of A cancels. The tile is a random choice
that depends on x, so its probability belongs to the proposal, there and back. A sweep, in which the number of the
stroke fixes the tile, has no such factor and is exact as well: each of its kernels leaves π as it is.
"""

from typing import Callable, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow as tf

from stic_tf.sampler import chain as chain_lib
from stic_tf.sampler import grmala
from stic_tf.sampler import langevin
from stic_tf.sampler import metropolis
from stic_tf.sampler import random as random_lib
from stic_tf.sampler import recording

# Every tile can be chosen: a network that looks away from a tile for ever would leave the chain reducible there.
_UNIFORM_SHARE = 0.1

# Pixels x [B, D] -> (log π [B], ∇log π [B, D], log a_w [B, M]), with one forward and one backward pass of the network.
StrokeTarget = Callable[[tf.Tensor], tuple]


class DrawingState(NamedTuple):
  """B canvases.

  Attributes:
    position: float32 [B, D], pixels as rows, not clipped.
    log_density: float32 [B].
    gradient: float32 [B, D], ∇_x log π.
    log_choice: float32 [B, M], logarithms of the probabilities that a stroke goes to each tile.
    strokes: float32 [B, M], strokes taken in each tile so far. It counts; nothing reads it.
  """

  position: tf.Tensor
  log_density: tf.Tensor
  gradient: tf.Tensor
  log_choice: tf.Tensor
  strokes: tf.Tensor


def tile_windows(image_shape: Sequence[int], tile_grid: int) -> np.ndarray:
  """Smooth windows of the tiles: 1 at a tile's centre, cos² to 0 at its neighbours' centres, level towards the border.

  Args:
    image_shape: (H, W, C); H and W are multiples of `tile_grid`.
    tile_grid: tiles a side.

  Returns:
    float32 [M, D], tiles in rows from the top left, M = tile_grid²; all windows add up to 1 in every pixel.

  Raises:
    ValueError: the grid does not divide the canvas.
  """
  height, width, channels = image_shape
  if height % tile_grid or width % tile_grid:
    raise ValueError(f"{tile_grid} tiles a side do not divide {height}x{width} pixels")

  def along(size):
    centres = (np.arange(tile_grid) + 0.5) * size / tile_grid
    # Beyond the outermost centres there is no neighbour to share with.
    pixels = np.clip(np.arange(size) + 0.5, centres[0], centres[-1])
    distance = np.abs(pixels - centres[:, np.newaxis]) * tile_grid / size
    return np.where(distance < 1.0, np.cos(0.5 * np.pi * distance) ** 2, 0.0)

  windows = np.einsum("iy,jx->ijyx", along(height), along(width)).reshape(tile_grid ** 2, height, width, 1)
  return windows.repeat(channels, axis=3).reshape(tile_grid ** 2, -1).astype(np.float32)


def log_choice_of(attention: tf.Tensor) -> tf.Tensor:
  """Attention over tiles [B, M], rows that sum to 1 -> log probabilities of the choice, a tenth of them uniform."""
  return tf.math.log((1.0 - _UNIFORM_SHARE) * attention + _UNIFORM_SHARE / attention.shape[1])


def choose_tile(log_choice: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
  """m ~ Categorical(exp log_choice) by the inverse distribution function: [B, M], [B] in (0, 1) -> int32 [B]."""
  below = tf.cumsum(tf.exp(log_choice), axis=1) < uniform[:, tf.newaxis]
  # The sum can end a rounding below 1.
  return tf.minimum(tf.reduce_sum(tf.cast(below, tf.int32), axis=1), log_choice.shape[1] - 1)


def log_choice_ratio(log_choice: tf.Tensor, proposed_log_choice: tf.Tensor, tile: tf.Tensor) -> tf.Tensor:
  """log a(x')[m] - log a(x)[m]: [B, M], [B, M], int32 [B] -> [B]."""
  return tf.gather(proposed_log_choice - log_choice, tile, batch_dims=1)


def one_stroke(state: DrawingState, target: StrokeTarget, windows: tf.Tensor, color: Callable,
               color_transpose: Callable, tile: tf.Tensor, chosen: tf.Tensor, noise: tf.Tensor, log_uniform: tf.Tensor,
               step_size: tf.Tensor, running: Optional[tf.Tensor] = None):
  """One stroke of each canvas.

  Args:
    state: the canvases.
    target: log π, its gradient and the choice probabilities; fixed for the length of the chain.
    windows: float32 [M, D].
    color, color_transpose: L and Lᵀ, on rows [B, D].
    tile: int32 [B], where.
    chosen: bool scalar, whether the tile was chosen by `log_choice`; False for a tile fixed beforehand.
    noise: standard normals [B, D].
    log_uniform: logarithms of uniforms [B].
    step_size: h, float32 [B].
    running: bool [B], canvases that are to change; None for all.

  Returns:
    (DrawingState, grmala.StepInfo).
  """
  window = tf.gather(windows, tile)
  pulled = color_transpose(window * state.gradient)
  # In the coordinates of A the stroke is a plain Langevin step from 0.
  position = state.position + window * color(langevin.propose(tf.zeros_like(noise), pulled, noise, step_size))
  log_density, gradient, log_choice = target(position)
  choice = tf.where(chosen, log_choice_ratio(state.log_choice, log_choice, tile), 0.0)
  # A difference, as a sum of three may be regrouped, see langevin.propose.
  log_ratio = (log_density - (state.log_density - choice)
               + langevin.log_proposal_ratio(noise, pulled, color_transpose(window * gradient), step_size))
  accepted = metropolis.accept(log_ratio, log_uniform)
  if running is not None:
    accepted = tf.logical_and(accepted, running)
  strokes = state.strokes + tf.one_hot(tile, windows.shape[0])
  proposed = DrawingState(position, log_density, gradient, log_choice, strokes)
  state = DrawingState(*(metropolis.choose(accepted, new, old) for new, old in zip(proposed, state)))
  return state, grmala.StepInfo(metropolis.acceptance_probability(log_ratio), accepted)


def run_strokes(target: StrokeTarget, windows: tf.Tensor, color: Callable, color_transpose: Callable,
                position: tf.Tensor, seeds: tf.Tensor, num_steps: tf.Tensor, step_size: tf.Tensor,
                burn_in_steps: tf.Tensor = 0, target_acceptance: float = chain_lib.TARGET_ACCEPTANCE,
                sweep_every: int = 0, recorder: Optional[recording.Recorder] = None) -> chain_lib.ChainResult:
  """Draws B canvases stroke by stroke; one network evaluation a stroke.

  Args:
    target, windows, color, color_transpose: as `one_stroke`.
    position: float32 [B, D], pixels of the canvases to begin with.
    seeds, num_steps, step_size, burn_in_steps, target_acceptance, recorder: as `chain.run_kernel`; a step is a stroke.
    sweep_every: every n-th stroke goes to the tiles in turn; 0 for none, 1 for all.

  Returns:
    A ChainResult whose state is a DrawingState.
  """
  size, num_tiles = position.shape[1], windows.shape[0]
  batch = tf.shape(position)[0]
  longest = tf.reduce_max(tf.broadcast_to(tf.cast(num_steps, tf.int32), [batch]))
  uniforms = random_lib.uniforms(random_lib.image_keys(seeds, random_lib.TILE_STREAM), tf.range(longest))

  def kernel(state, step, normals, log_uniforms, step_size, running):
    tile = choose_tile(state.log_choice, uniforms[step])
    chosen = tf.constant(True)
    if sweep_every:
      chosen = tf.not_equal(step % sweep_every, sweep_every - 1)
      tile = tf.where(chosen, tile, step // sweep_every % num_tiles)
    return one_stroke(state, target, windows, color, color_transpose, tile, chosen, normals, log_uniforms, step_size,
                      running)

  state = DrawingState(position, *target(position), tf.zeros([batch, num_tiles]))
  rows, tiles = tf.TensorShape([None, size]), tf.TensorShape([None, num_tiles])
  shape = DrawingState(rows, tf.TensorShape([None]), rows, tiles, tiles)
  return chain_lib.run_kernel(kernel, state, shape, size, seeds, num_steps, step_size, burn_in_steps,
                              target_acceptance, recorder=recorder)
