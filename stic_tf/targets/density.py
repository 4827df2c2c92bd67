"""The density GRMALA draws from (docs/equations.md, "log π_w").

    log π_w(x) = [ f_w(x) - λ Σ_l ‖G_l(x) - Ḡ_l,w‖² / ‖Ḡ_l,w‖² ] / T + log q0(x)

The reference measure q0 is N(mean, M), which in whitened coordinates is N(0, I), or flat.
"""

from typing import Callable, Sequence

import tensorflow as tf

from stic_tf.preconditioners import base as preconditioner_lib
from stic_tf.targets import gradient as gradient_lib

# Every tile can be chosen: a network that looks away from a tile for ever would leave the chain reducible there.
_UNIFORM_SHARE = 0.1


def log_choice_of(attention: tf.Tensor) -> tf.Tensor:
  """Attention over tiles [B, M], rows that sum to 1 -> log probabilities of the choice, a tenth of them uniform."""
  return tf.math.log((1.0 - _UNIFORM_SHARE) * attention + _UNIFORM_SHARE / attention.shape[1])


class Target:
  """log π_w and its gradient, with one forward and one backward pass of the network.

  Args:
    energy: as in `energies`.
    preconditioner: M and the mean of the reference.
    image_shape: (H, W, C).
    reference: "gaussian" or "flat".
  """

  def __init__(self, energy: Callable, preconditioner: preconditioner_lib.Preconditioner, image_shape: Sequence[int],
               reference: str = "gaussian"):
    self.energy = energy
    self.preconditioner = preconditioner
    self.image_shape = tuple(image_shape)
    self._gaussian = reference == "gaussian"

  def to_images(self, whitened: tf.Tensor) -> tf.Tensor:
    """Whitened coordinates [B, D] -> images [B, H, W, C], not clipped."""
    return tf.reshape(self.preconditioner.to_rows(whitened), [-1, *self.image_shape])

  def to_whitened(self, images: tf.Tensor) -> tf.Tensor:
    """Images [B, H, W, C] -> whitened coordinates [B, D]."""
    return self.preconditioner.to_whitened(tf.reshape(images, [-1, self.preconditioner.size]))

  def log_reference(self, whitened: tf.Tensor) -> tf.Tensor:
    """log q0 up to a constant: [B, D] -> [B]."""
    if not self._gaussian:
      return tf.zeros([tf.shape(whitened)[0]])
    return -0.5 * tf.reduce_sum(tf.square(whitened), axis=1)

  def reference_score(self, images: tf.Tensor) -> tf.Tensor:
    """∇ log q0 in pixels: [B, H, W, C] -> the same shape."""
    if not self._gaussian:
      return tf.zeros_like(images)
    return tf.reshape(-self.preconditioner.whiten_transpose(self.to_whitened(images)), tf.shape(images))

  def whitened(self, class_weights: tf.Tensor, temperature: tf.Tensor) -> Callable:
    """For a chain in whitened coordinates: a function u [B, D] -> (log π_w [B], ∇_u log π_w [B, D]).

    Args:
      class_weights: float32 [B, K].
      temperature: T, float32 [B].
    """
    condition = self.energy.condition(class_weights)

    def evaluate(whitened):
      energy, _, gradient = gradient_lib.energy_and_gradient(lambda images: self.energy(images, condition),
                                                             self.to_images(whitened))
      log_density = energy / temperature
      gradient = tf.reshape(gradient, [-1, self.preconditioner.size])
      gradient = self.preconditioner.color_transpose(gradient) / temperature[:, tf.newaxis]
      if self._gaussian:
        log_density -= 0.5 * tf.reduce_sum(tf.square(whitened), axis=1)
        gradient -= whitened
      return log_density, gradient

    return evaluate

  def pixels(self, class_weights: tf.Tensor, temperature: tf.Tensor) -> Callable:
    """For strokes: a function x [B, D] -> (log π_w [B], ∇_x log π_w [B, D], log probability of each tile [B, M])."""
    condition = self.energy.condition(class_weights)

    def evaluate(rows):
      energy, attention, gradient = gradient_lib.energy_and_gradient(
          lambda images: self.energy(images, condition), tf.reshape(rows, [-1, *self.image_shape]))
      gradient = tf.reshape(gradient, tf.shape(rows)) / temperature[:, tf.newaxis]
      log_density = energy / temperature
      if self._gaussian:
        whitened = self.preconditioner.to_whitened(rows)
        log_density -= 0.5 * tf.reduce_sum(tf.square(whitened), axis=1)
        gradient -= self.preconditioner.whiten_transpose(whitened)
      return log_density, gradient, log_choice_of(attention)

    return evaluate

  def jump(self, whitened: tf.Tensor, gradient: tf.Tensor, noise_level: tf.Tensor) -> tf.Tensor:
    """Renders a walk at smoothing noise s: images [B, H, W, C].

    Args:
      whitened, gradient: float32 [B, D] of one chain state.
      noise_level: s, a scalar; 0 renders the walk as it stands.
    """
    rows = gradient_lib.denoise(self.preconditioner.to_rows(whitened), self.preconditioner.whiten_transpose(gradient),
                                tf.square(noise_level))
    return tf.reshape(rows, [-1, *self.image_shape])
