"""Drawing: from a canvas, blank or not, through a chain to images in uint8."""

from typing import Any, NamedTuple, Optional

import tensorflow as tf

from stic_tf.datasets import pixel_range
from stic_tf.sampler import chain as chain_lib
from stic_tf.sampler import drawing as drawing_lib
from stic_tf.sampler import random as random_lib
from stic_tf.sampler import recording
from stic_tf.sampler import sgld
from stic_tf.sampler import target as target_lib


class Strokes(NamedTuple):
  """How a canvas is drawn tile by tile.

  Attributes:
    windows: float32 [M, D], as `drawing.tile_windows` gives them.
    sweep_every: every n-th stroke goes to the tiles in turn; 0 for none.
  """

  windows: tf.Tensor
  sweep_every: int


class Drawing(NamedTuple):
  """B drawn images.

  Attributes:
    images: uint8 [B, H, W, C], rendered by the jump.
    walk: float32 [B, H, W, C], where the chains ended: not rendered, not clipped.
    log_density: float32 [B], log π_w of the walk up to a constant of the class weights.
    acceptance_rate: float32 [B], after burn-in.
    step_size: float32 [B], after burn-in.
    frames: uint8 [B, n, H, W, C], the canvas at each checkpoint, rendered; () where none was asked for.
    strokes: float32 [B, M], strokes taken in each tile; () for whole-image steps.
    attention: float32 [B, M], probabilities with which the next stroke would choose a tile; () for whole-image steps.
  """

  images: tf.Tensor
  walk: tf.Tensor
  log_density: tf.Tensor
  acceptance_rate: tf.Tensor
  step_size: tf.Tensor
  frames: Any = ()
  strokes: Any = ()
  attention: Any = ()


def start(target: target_lib.Target, seeds: tf.Tensor, sampler: str = "grmala") -> tf.Tensor:
  """A blank canvas: a draw from the reference measure N(mean, M), never a data image.

  With a flat reference the chain still starts here; JEM's SGLD starts from uniform noise.

  Args:
    target: log π_w.
    seeds: int64 [B, 2].
    sampler: as in `run`.

  Returns:
    Whitened coordinates, float32 [B, D].
  """
  if sampler == "jem_sgld":
    return sgld.uniform_canvas(seeds, target.preconditioner.size)
  return random_lib.normals(seeds, random_lib.CANVAS_STREAM, target.preconditioner.size)


def start_from(target: target_lib.Target, images: tf.Tensor, seeds: tf.Tensor, noise_level: tf.Tensor) -> tf.Tensor:
  """An image as the canvas: its pixels plus the smoothing noise of the density that the chain walks in.

  Args:
    target: log π_w.
    images: uint8 [B, H, W, C].
    seeds: int64 [B, 2].
    noise_level: s, a scalar.

  Returns:
    Whitened coordinates, float32 [B, D].
  """
  noise = random_lib.normals(seeds, random_lib.CANVAS_STREAM, target.preconditioner.size)
  return target.to_whitened(pixel_range.from_uint8(images) + noise_level * tf.reshape(noise, tf.shape(images)))


def run(target: target_lib.Target, position: tf.Tensor, class_weights: tf.Tensor, seeds: tf.Tensor,
        num_steps: tf.Tensor, temperature: tf.Tensor, step_size: tf.Tensor, burn_in_steps: tf.Tensor = 0,
        sampler: str = "grmala", target_acceptance: float = chain_lib.TARGET_ACCEPTANCE,
        recorder: Optional[recording.Recorder] = None) -> chain_lib.ChainResult:
  """Runs the chain called `sampler` from `position` [B, D] under class weights [B, K]; other arguments as run_chain.

  Args:
    temperature: T, float32 [B] or scalar.
    sampler: "grmala", "unadjusted" (Langevin without the correction) or "jem_sgld", which records nothing.
  """
  temperature = tf.broadcast_to(tf.cast(temperature, tf.float32), [tf.shape(position)[0]])
  class_weights = target.condition(class_weights)

  def log_density_and_gradient(whitened):
    return target.log_density_and_gradient(whitened, class_weights, temperature)

  if sampler == "jem_sgld":
    return sgld.run_chain(log_density_and_gradient, position, seeds, num_steps)
  return chain_lib.run_chain(log_density_and_gradient, position, seeds, num_steps, step_size, burn_in_steps,
                             target_acceptance, adjust=sampler == "grmala", recorder=recorder)


def draw(target: target_lib.Target, class_weights: tf.Tensor, seeds: tf.Tensor, num_steps: tf.Tensor,
         temperature: tf.Tensor, step_size: tf.Tensor, noise_level: tf.Tensor, burn_in_fraction: tf.Tensor = 0.5,
         sampler: str = "grmala", target_acceptance: float = chain_lib.TARGET_ACCEPTANCE,
         canvas_images: Optional[tf.Tensor] = None, strokes: Optional[Strokes] = None, num_frames: int = 0) -> Drawing:
  """Draws from a blank canvas, or on from images.

  Args:
    target: log π_w.
    class_weights: float32 [B, K] on the simplex; one-hot for a class, otherwise a soft class.
    seeds: int64 [B, 2]; an image depends on its own pair and weights alone.
    num_steps: int32 [B] or scalar.
    temperature: float32 [B] or scalar.
    step_size: h at the start of burn-in, float32 [B] or scalar.
    noise_level: s of the smoothed density the chain walks in; the image is rendered by one jump.
    burn_in_fraction: the first share of the steps that adapts h, in [0, 1).
    sampler: as in `run`.
    target_acceptance: what the burn-in aims at.
    canvas_images: uint8 [B, H, W, C], what to start from; None for a blank canvas.
    strokes: draws tile by tile, GRMALA only; None draws in whole-image steps. A step is then a stroke.
    num_frames: checkpoints whose canvas is kept.

  Returns:
    A Drawing.
  """
  num_steps = tf.broadcast_to(tf.cast(num_steps, tf.int32), [tf.shape(seeds)[0]])
  burn_in_steps = tf.cast(tf.cast(num_steps, tf.float32) * burn_in_fraction, tf.int32)
  if canvas_images is None:
    position = start(target, seeds, sampler)
  else:
    position = start_from(target, canvas_images, seeds, noise_level)
  if strokes is not None:
    return _draw_in_strokes(target, position, class_weights, seeds, num_steps, temperature, step_size, noise_level,
                            burn_in_steps, target_acceptance, strokes, num_frames)

  def render(state):
    return pixel_range.to_uint8(target.jump(state.position, state.gradient, noise_level))

  recorder = recording.Recorder(render, num_frames, target.image_shape) if num_frames else None
  result = run(target, position, class_weights, seeds, num_steps, temperature, step_size, burn_in_steps, sampler,
               target_acceptance, recorder)
  state = result.state
  return Drawing(render(state), target.to_images(state.position), state.log_density, result.acceptance_rate,
                 result.step_size, _batch_first(result.frames))


def _draw_in_strokes(target, position, class_weights, seeds, num_steps, temperature, step_size, noise_level,
                     burn_in_steps, target_acceptance, strokes: Strokes, num_frames: int) -> Drawing:
  """`draw` tile by tile; `num_steps` and `burn_in_steps` are int32 [B]."""
  temperature = tf.broadcast_to(tf.cast(temperature, tf.float32), [tf.shape(position)[0]])
  class_weights = target.condition(class_weights)

  def render(state):
    # A stroke's gradient is in pixels already.
    rows = state.position + tf.square(noise_level) * state.gradient
    return pixel_range.to_uint8(tf.reshape(rows, [-1, *target.image_shape]))

  recorder = recording.Recorder(render, num_frames, target.image_shape) if num_frames else None
  preconditioner = target.preconditioner
  result = drawing_lib.run_strokes(
      lambda rows: target.at_pixels(rows, class_weights, temperature), strokes.windows, preconditioner.color,
      preconditioner.color_transpose, preconditioner.to_rows(position), seeds, num_steps, step_size, burn_in_steps,
      target_acceptance, strokes.sweep_every, recorder)
  state = result.state
  return Drawing(render(state), tf.reshape(state.position, [-1, *target.image_shape]), state.log_density,
                 result.acceptance_rate, result.step_size, _batch_first(result.frames), state.strokes,
                 tf.exp(state.log_choice))


def _batch_first(frames):
  """Frames [n, B, …] -> [B, n, …]; () stays ()."""
  return tf.transpose(frames, [1, 0, 2, 3, 4]) if isinstance(frames, tf.Tensor) else frames
