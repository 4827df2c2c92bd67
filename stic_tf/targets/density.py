"""The density GRMALA draws from (docs/equations.md, "log π_w").

    log π_w(x) = [ f_w(x) - λ Σ_l ‖G_l(x) - Ḡ_l,w‖² / ‖Ḡ_l,w‖² ] / T + log q0(x)

The reference measure q0 is N(mean, Cov(x) + s²·I), or flat. Where the walk's preconditioner M is that covariance as
well, q0 is N(0, I) in whitened coordinates; with another M it is the same q0, walked otherwise.
"""

from typing import Callable, Optional, Sequence

import tensorflow as tf

from stic_tf import rounding
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
    preconditioner: M, and the mean of its coordinates.
    image_shape: (H, W, C).
    reference: what has the mean and the covariance of q0; the preconditioner itself, or another; None for a flat q0.
  """

  def __init__(self, energy: Callable, preconditioner: preconditioner_lib.Preconditioner, image_shape: Sequence[int],
               reference: Optional[preconditioner_lib.Preconditioner]):
    self.energy = energy
    self.preconditioner = preconditioner
    self.image_shape = tuple(image_shape)
    self._reference, self._whitens = reference, reference is preconditioner

  def to_images(self, whitened: tf.Tensor) -> tf.Tensor:
    """Whitened coordinates [B, D] -> images [B, H, W, C], not clipped."""
    return tf.reshape(self.preconditioner.to_rows(whitened), [-1, *self.image_shape])

  def to_whitened(self, images: tf.Tensor) -> tf.Tensor:
    """Images [B, H, W, C] -> whitened coordinates [B, D]."""
    return self.preconditioner.to_whitened(tf.reshape(images, [-1, self.preconditioner.size]))

  def blank(self, draws: tf.Tensor) -> tf.Tensor:
    """Where a kernel's blank canvases, N(0, I) [B, D], begin in whitened coordinates: as draws of q0, if it is one."""
    if self._reference is None or self._whitens:
      return draws
    return self.preconditioner.to_whitened(self._reference.to_rows(draws))

  def log_reference(self, whitened: tf.Tensor) -> tf.Tensor:
    """log q0 up to a constant: [B, D] -> [B]."""
    if self._reference is None:
      return tf.zeros([tf.shape(whitened)[0]])
    return -0.5 * tf.reduce_sum(tf.square(self._of_reference(whitened)), axis=1)

  def reference_score(self, images: tf.Tensor) -> tf.Tensor:
    """∇ log q0 in pixels: [B, H, W, C] -> the same shape."""
    return tf.reshape(-self._pull_of_rows(tf.reshape(images, [-1, self.preconditioner.size])), tf.shape(images))

  def _of_reference(self, whitened):
    """Whitened coordinates -> those in which q0 is N(0, I)."""
    return whitened if self._whitens else self._reference.to_whitened(self.preconditioner.to_rows(whitened))

  def _pull(self, whitened):
    """-∇ log q0 in whitened coordinates."""
    if self._whitens:
      return whitened
    return self.preconditioner.color_transpose(self._pull_of_rows(self.preconditioner.to_rows(whitened)))

  def _pull_of_rows(self, rows):
    """-∇ log q0 in pixels."""
    if self._reference is None:
      return tf.zeros_like(rows)
    return self._reference.whiten_transpose(self._reference.to_whitened(rows))

  def whitened(self, class_weights: tf.Tensor, temperature: tf.Tensor,
               guidance: Optional[tf.Tensor] = None) -> Callable:
    """For a chain in whitened coordinates: a function u [B, D] -> (log π_w [B], ∇_u log π_w [B, D]).

    Args:
      class_weights: float32 [B, K].
      temperature: T, float32 [B].
      guidance: γ, float32 [B]: f_w is guided then (`energies.guided`); None for none.
    """
    condition = self.energy.condition(class_weights, guidance)

    def evaluate(whitened):
      energy, _, gradient = gradient_lib.energy_and_gradient(lambda images: self.energy(images, condition),
                                                             self.to_images(whitened))
      log_density = energy / temperature
      gradient = tf.reshape(gradient, [-1, self.preconditioner.size])
      gradient = self.preconditioner.color_transpose(gradient) / temperature[:, tf.newaxis]
      if self._reference is not None:
        log_density -= 0.5 * tf.reduce_sum(tf.square(self._of_reference(whitened)), axis=1)
        gradient -= self._pull(whitened)
      return log_density, gradient

    return evaluate

  def pixels(self, class_weights: tf.Tensor, temperature: tf.Tensor, guidance: Optional[tf.Tensor] = None) -> Callable:
    """For strokes: a function x [B, D] -> (log π_w [B], ∇_x log π_w [B, D], log probability of each tile [B, M])."""
    condition = self.energy.condition(class_weights, guidance)

    def evaluate(rows):
      energy, attention, gradient = gradient_lib.energy_and_gradient(
          lambda images: self.energy(images, condition), tf.reshape(rows, [-1, *self.image_shape]))
      gradient = tf.reshape(gradient, tf.shape(rows)) / temperature[:, tf.newaxis]
      log_density = energy / temperature
      if self._reference is not None:
        whitened = self._reference.to_whitened(rows)
        log_density -= 0.5 * tf.reduce_sum(tf.square(whitened), axis=1)
        gradient -= self._reference.whiten_transpose(whitened)
      return log_density, gradient, log_choice_of(attention)

    return evaluate

  def jump(self, whitened: tf.Tensor, gradient: tf.Tensor, noise_level: tf.Tensor,
           temperature: tf.Tensor) -> tf.Tensor:
    """Renders a walk at smoothing noise s: images [B, H, W, C].

    By the score at T = 1, whatever the temperature of the walk: the noise in an image is s at all of them. What was
    walked in with guidance is rendered with it.

    Args:
      whitened, gradient: float32 [B, D] of one chain state.
      noise_level: s, a scalar; 0 renders the walk as it stands.
      temperature: T of the walk, float32 [B].
    """
    score = self.preconditioner.whiten_transpose(_at_one(gradient, self._pull(whitened), temperature))
    return self._denoised(self.preconditioner.to_rows(whitened), score, noise_level)

  def jump_of_pixels(self, rows: tf.Tensor, gradient: tf.Tensor, noise_level: tf.Tensor,
                     temperature: tf.Tensor) -> tf.Tensor:
    """As `jump`, of a chain whose state [B, D] is in pixels."""
    return self._denoised(rows, _at_one(gradient, self._pull_of_rows(rows), temperature), noise_level)

  def _denoised(self, rows, score, noise_level):
    return tf.reshape(gradient_lib.denoise(rows, score, tf.square(noise_level)), [-1, *self.image_shape])


def _at_one(gradient, pull, temperature):
  """Of (∇f / T + ∇log q0) what it is at T = 1; `pull` is -∇log q0."""
  return rounding.add_product(gradient, temperature[:, tf.newaxis] - 1.0, gradient + pull)
