"""One drawing request and its answer: what every system is asked, normalised once, and what a user is given."""

import dataclasses
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf

# What a traced drawing tells of each of its noise levels: σ, the corrector's acceptance and its h.
LEVEL_FIGURES = ("noise_level", "acceptance", "step_size")


class Request(NamedTuple):
  """B drawings that are asked for.

  Attributes:
    class_weights: float32 [B, K] on the simplex.
    seeds: int64 [B, 2], a pair an image.
    num_steps: int32 [B], at least 1.
    temperature: float32 [B], above 0.
    step_size: h to begin with, float32 [B].
    canvas: uint8 [B, H, W, C], what to draw on; None for a blank canvas.
    num_frames: n, how many checkpoints of the drawing to give, a number.
    guidance: γ, float32 [B]; None for the drawer's own. Only where it has one.
    canvas_noise: standard deviation of the noise in which a canvas is drowned, float32 [B]; None for the drawer's own.
  """

  class_weights: tf.Tensor
  seeds: tf.Tensor
  num_steps: tf.Tensor
  temperature: tf.Tensor
  step_size: tf.Tensor
  canvas: Optional[tf.Tensor] = None
  num_frames: int = 0
  guidance: Optional[tf.Tensor] = None
  canvas_noise: Optional[tf.Tensor] = None

  def rows(self, gather) -> "Request":
    """The request with `gather` applied to each tensor of rows."""
    return Request(*(gather(value) if isinstance(value, tf.Tensor) else value for value in self))


def normalise(class_weights: tf.Tensor, seeds: tf.Tensor, num_steps, temperature, step_size,
              canvas: Optional[tf.Tensor] = None, num_frames: int = 0, guidance: Optional[tf.Tensor] = None,
              canvas_noise: Optional[tf.Tensor] = None) -> Request:
  """A Request of what may be scalars: a number for each row, in its type."""
  count = tf.shape(seeds)[0]

  def a_row_each(value, dtype):
    return tf.broadcast_to(tf.cast(value, dtype), [count])

  return Request(tf.convert_to_tensor(class_weights), tf.convert_to_tensor(seeds), a_row_each(num_steps, tf.int32),
                 a_row_each(temperature, tf.float32),
                 a_row_each(step_size, tf.float32), canvas, num_frames, guidance, canvas_noise)


class Drawing(NamedTuple):
  """B drawn images.

  Attributes:
    images: uint8 [B, H, W, C], rendered.
    walk: float32 [B, H, W, C], where the chains ended: not rendered, not clipped.
    log_density: float32 [B], log π_w of the walk, guided as it was, up to a constant of the class weights and γ.
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


@dataclasses.dataclass
class Drawings:
  """N drawings.

  Attributes:
    images: uint8 [N, H, W, C].
    class_weights: float32 [N, K], what each was drawn for.
    seeds: int64 [N, 2].
    log_density: float32 [N], log π_w, guided as it was, where the chain ended; up to a constant of w and γ.
    probabilities: float32 [N, K], the classifier's answer to the rendered image.
    acceptance_rate: float32 [N], after burn-in.
    step_size: float32 [N], after burn-in.
    frames: uint8 [N, n, H, W, C], the canvas at n checkpoints; None where none was asked for.
    strokes: float32 [N, M], strokes taken in each tile, rows of tiles from the top left; None for whole-image steps.
    attention: float32 [N, M], probability that the next stroke goes to each tile; None for whole-image steps.
  """

  images: np.ndarray
  class_weights: np.ndarray
  seeds: np.ndarray
  log_density: np.ndarray
  probabilities: np.ndarray
  acceptance_rate: np.ndarray
  step_size: np.ndarray
  frames: Optional[np.ndarray] = None
  strokes: Optional[np.ndarray] = None
  attention: Optional[np.ndarray] = None
