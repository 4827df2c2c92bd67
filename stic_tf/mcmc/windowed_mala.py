"""Strokes: MALA in the window of one tile, placed where attention looks (docs/equations.md, "stroke").

A stroke works in pixels x [B, D]. With A = W_m L, W_m the diagonal window of tile m and M = L Lᵀ the preconditioner,

    x' = x + h·A Aᵀ ∇log π(x) + √(2h)·A ξ ,   accepted with the Metropolis-Hastings ratio times a_w(x')[m] / a_w(x)[m].

It is exact. Only pixels inside the window move; on them the proposal is Gaussian with covariance 2h·A Aᵀ, and

    log q(x|x') − log q(x'|x) = ½‖ξ‖² − ½‖ξ + √(h/2)·Aᵀ(g + g')‖²

holds for any A, also one without an inverse: what of ξ lies in the null space of A cancels. The tile is a random choice
that depends on x, so its probability belongs to the proposal, there and back. A sweep, in which the number of the
stroke fixes the tile, has no such factor and is exact as well: each of its kernels leaves π as it is.
"""

from typing import NamedTuple, Sequence

import numpy as np
import tensorflow as tf

from stic_tf.mcmc import kernel as kernel_lib
from stic_tf.mcmc import langevin
from stic_tf.mcmc import mala
from stic_tf.mcmc import metropolis
from stic_tf.mcmc import random as random_lib


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


def choose_tile(log_choice: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
  """m ~ Categorical(exp log_choice) by the inverse distribution function: [B, M], [B] in (0, 1) -> int32 [B]."""
  below = tf.cumsum(tf.exp(log_choice), axis=1) < uniform[:, tf.newaxis]
  # The sum can end a rounding below 1.
  return tf.minimum(tf.reduce_sum(tf.cast(below, tf.int32), axis=1), log_choice.shape[1] - 1)


def log_choice_ratio(log_choice: tf.Tensor, proposed_log_choice: tf.Tensor, tile: tf.Tensor) -> tf.Tensor:
  """log a(x')[m] - log a(x)[m]: [B, M], [B, M], int32 [B] -> [B]."""
  return tf.gather(proposed_log_choice - log_choice, tile, batch_dims=1)


def tile_uniforms(seeds: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
  """What tiles are chosen by: int64 seeds [B, 2], strokes of the longest chain -> float32 [num_steps, B]."""
  return random_lib.uniforms(random_lib.image_keys(seeds, random_lib.TILE_STREAM), tf.range(num_steps))


class WindowedMala(kernel_lib.Kernel):
  """MALA in one window at a time.

  Args:
    evaluate: pixels [B, D] -> (log π [B], ∇log π [B, D], log a_w [B, M]).
    size: D.
    factor: L and Lᵀ.
    windows: float32 [M, D], as `tile_windows` gives them.
    uniforms: float32 [n, B], as `tile_uniforms` gives them.
    sweep_every: every n-th stroke goes to the tiles in turn; 0 for none, 1 for all.
  """

  def __init__(self, evaluate: kernel_lib.Evaluate, size: int, factor: mala.Factor, windows: tf.Tensor,
               uniforms: tf.Tensor, sweep_every: int = 0):
    super().__init__(evaluate, size)
    self.factor, self.windows, self.sweep_every, self._uniforms = factor, windows, sweep_every, uniforms

  def at(self, position, evaluation, state=None):
    none = tf.zeros([tf.shape(position)[0], self.windows.shape[0]])
    return DrawingState(position, *evaluation, none if state is None else state.strokes)

  def state_shape(self):
    rows, tiles = tf.TensorShape([None, self.size]), tf.TensorShape([None, self.windows.shape[0]])
    return DrawingState(rows, tf.TensorShape([None]), rows, tiles, tiles)

  def aim(self, state, inputs):
    """The tiles int32 [B] of a stroke, and whether attention chose them, bool scalar."""
    tile = choose_tile(state.log_choice, self._uniforms[inputs.number])
    if not self.sweep_every:
      return tile, tf.constant(True)
    chosen = tf.not_equal(inputs.number % self.sweep_every, self.sweep_every - 1)
    return tf.where(chosen, tile, inputs.number // self.sweep_every % self.windows.shape[0]), chosen

  def propose(self, state, inputs):
    tile, _ = self.aim(state, inputs)
    window = tf.gather(self.windows, tile)
    pulled = self.factor.color_transpose(window * state.gradient)
    # In the coordinates of A the stroke is a plain Langevin step.
    move = langevin.move(pulled, inputs.noise, inputs.step_size)
    return mala.Proposal(state.position + window * self.factor.color(move), pulled)

  def finish(self, state, proposal, evaluation, inputs):
    log_density, gradient, log_choice = evaluation
    tile, chosen = self.aim(state, inputs)
    choice = tf.where(chosen, log_choice_ratio(state.log_choice, log_choice, tile), 0.0)
    pulled = self.factor.color_transpose(tf.gather(self.windows, tile) * gradient)
    # A difference, as a sum of three may be regrouped (stic_tf/rounding.py).
    log_ratio = (log_density - (state.log_density - choice)
                 + langevin.log_proposal_ratio(inputs.noise, proposal.pulled, pulled, inputs.step_size))
    strokes = state.strokes + tf.one_hot(tile, self.windows.shape[0])
    proposed = DrawingState(proposal.position, log_density, gradient, log_choice, strokes)
    return metropolis.accept_or_reject(state, proposed, log_ratio, inputs)
