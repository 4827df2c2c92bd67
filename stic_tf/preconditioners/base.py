"""What a preconditioner is: M = L Lᵀ, the Gram matrix of centred training images plus noise², and the canvas' mean.

GRMALA runs in whitened coordinates u, x = mean + L u, where M is the unit matrix (docs/equations.md, "x = μ + L u"), so
only L, Lᵀ and their inverses are ever applied. A kind fitted to one noise level is called without a level; one that
knows every level (`LEVELS` of the registry) takes σ, a number for each row.
"""

from typing import Dict, Optional, Sequence

import numpy as np
import tensorflow as tf

from stic_tf.preconditioners import statistics as statistics_lib


class Preconditioner(tf.Module):
  """M = L Lᵀ with the mean of the canvas; images are handled as rows [B, D]. Subclasses say how L is applied.

  Args:
    image_shape: (H, W, C).
  """

  # Whether M is the images' covariance plus noise², however it is kept.
  of_images = True

  def __init__(self, image_shape: Sequence[int]):
    super().__init__()
    self.image_shape = tuple(image_shape)
    self.size = int(np.prod(self.image_shape))
    self.mean = tf.Variable(tf.zeros([self.size]), trainable=False, name="mean")

  def fit(self, statistics: statistics_lib.ImageStatistics, noise_level: Optional[float] = None) -> None:
    """Fits the mean and M to moments of images plus noise of standard deviation `noise_level` (None: all levels)."""
    raise NotImplementedError

  def color(self, rows: tf.Tensor, level: Optional[tf.Tensor] = None) -> tf.Tensor:
    """L v: float32 [B, D] -> [B, D]; `level` is σ, float32 [B], of a kind that knows every level."""
    raise NotImplementedError

  def color_transpose(self, rows: tf.Tensor, level: Optional[tf.Tensor] = None) -> tf.Tensor:
    """Lᵀ v, which takes a gradient in x to a gradient in u; here for a symmetric L."""
    return self.color(rows, level)

  def whiten(self, rows: tf.Tensor) -> tf.Tensor:
    """L⁻¹ v: float32 [B, D] -> [B, D]."""
    raise NotImplementedError

  def whiten_transpose(self, rows: tf.Tensor) -> tf.Tensor:
    """L⁻ᵀ v, which takes a gradient in u to a gradient in x; here for a symmetric L."""
    return self.whiten(rows)

  def to_rows(self, whitened: tf.Tensor) -> tf.Tensor:
    """x = mean + L u."""
    return self.mean + self.color(whitened)

  def to_whitened(self, rows: tf.Tensor) -> tf.Tensor:
    """u = L⁻¹ (x - mean)."""
    return self.whiten(rows - self.mean)

  def named_variables(self) -> Dict[str, tf.Variable]:
    """What a checkpoint must hold, by name."""
    return {variable.name.split(":")[0]: variable for variable in self.variables}
