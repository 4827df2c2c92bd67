"""The density GRMALA draws from, as a function of whitened coordinates (method §1).

    log π_w(x) = [ f_w(x) - λ Σ_l ‖G_l(x) - Ḡ_l,w‖² / ‖Ḡ_l,w‖² ] / T + log q0(x)

The reference measure q0 is N(mean, M), which in whitened coordinates is N(0, I), or flat.
"""

from typing import Callable, Optional, Sequence

import tensorflow as tf

from stic_tf import sparse_weights
from stic_tf.sampler import drawing
from stic_tf.sampler import gram as gram_lib

# images float32 [B, H, W, C], class weights float32 [B, K] -> float32 [B]
ClassEnergy = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def weighted_logit(logits: tf.Tensor, class_weights: tf.Tensor) -> tf.Tensor:
  """f_w = Σ_k w_k z_k: [B, K], [B, K] -> [B]."""
  return tf.reduce_sum(logits * class_weights, axis=1)


def class_energy(logits: Callable[[tf.Tensor], tf.Tensor]) -> ClassEnergy:
  """f_w(x) of a classifier given as a function images -> logits [B, K]."""
  return lambda images, class_weights: weighted_logit(logits(images), class_weights)


def gram_regularised_energy(logits_and_features: Callable, class_grams: gram_lib.ClassGrams,
                            gram_weight: float) -> ClassEnergy:
  """f_w(x) - λ·(Gram distance), of a function images -> (logits [B, K], [features [B, H, W, C], …])."""

  def energy(images, class_weights):
    logits, features = logits_and_features(images)
    distance = gram_lib.gram_distance(class_grams.project(features), class_grams.of_weights(class_weights))
    return weighted_logit(logits, class_weights) - gram_weight * distance

  return energy


class AttentiveEnergy:
  """f_w(x), with the Gram term where it has a weight, of a classifier that reads single classes and shows attention.

  Args:
    read: function (images, SparseWeights) -> (f_w [B], a_w [B, M], [features [B, H, W, C], …]).
    class_grams: class statistics; not read where `gram_weight` is 0.
    gram_weight: λ.
  """

  def __init__(self, read: Callable, class_grams: gram_lib.ClassGrams, gram_weight: float):
    self._read, self._class_grams, self._gram_weight = read, class_grams, gram_weight

  def condition(self, class_weights: tf.Tensor):
    """What the calls below take for class weights float32 [B, K]; to be worked out once a chain."""
    sparse = sparse_weights.of_dense(class_weights)
    return sparse, self._class_grams.of_sparse(sparse) if self._gram_weight > 0 else []

  def with_attention(self, images: tf.Tensor, condition):
    """The energy [B] and the attention over tiles [B, M] of images [B, H, W, C], in one pass of the network."""
    sparse, means = condition
    energy, attention, features = self._read(images, sparse)
    if self._gram_weight > 0:
      energy -= self._gram_weight * gram_lib.gram_distance(self._class_grams.project(features), means)
    return energy, attention

  def __call__(self, images: tf.Tensor, condition) -> tf.Tensor:
    return self.with_attention(images, condition)[0]


class Target:
  """log π_w and its gradient in whitened coordinates, with one forward and one backward pass of the network."""

  def __init__(self, energy: ClassEnergy, preconditioner: gram_lib.Preconditioner, image_shape: Sequence[int],
               reference: str = "gaussian"):
    self.energy = energy
    self.preconditioner = preconditioner
    self.image_shape = tuple(image_shape)
    self.reference = reference

  def condition(self, class_weights: tf.Tensor):
    """What the methods below take as class weights, float32 [B, K] here; to be worked out once a chain."""
    return self.energy.condition(class_weights) if isinstance(self.energy, AttentiveEnergy) else class_weights

  def to_images(self, whitened: tf.Tensor) -> tf.Tensor:
    """Whitened coordinates [B, D] -> images [B, H, W, C], not clipped."""
    return tf.reshape(self.preconditioner.to_rows(whitened), [-1, *self.image_shape])

  def to_whitened(self, images: tf.Tensor) -> tf.Tensor:
    """Images [B, H, W, C] -> whitened coordinates [B, D]."""
    return self.preconditioner.to_whitened(tf.reshape(images, [-1, self.preconditioner.size]))

  def log_density(self, whitened: tf.Tensor, class_weights: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """log π_w up to a constant: float32 [B]; temperature is float32 [B]."""
    log_density = self.energy(self.to_images(whitened), class_weights) / temperature
    if self.reference == "gaussian":
      log_density -= 0.5 * tf.reduce_sum(tf.square(whitened), axis=1)
    return log_density

  def log_density_and_gradient(self, whitened: tf.Tensor, class_weights: tf.Tensor, temperature: tf.Tensor):
    """log π_w [B] and ∇_u log π_w [B, D]."""
    images = self.to_images(whitened)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(images)
      energy = self.energy(images, class_weights)
    image_gradient = tf.reshape(tape.gradient(energy, images), [-1, self.preconditioner.size])
    log_density = energy / temperature
    gradient = self.preconditioner.color_transpose(image_gradient) / temperature[:, tf.newaxis]
    if self.reference == "gaussian":
      log_density -= 0.5 * tf.reduce_sum(tf.square(whitened), axis=1)
      gradient -= whitened
    return log_density, gradient

  def at_pixels(self, rows: tf.Tensor, class_weights, temperature: tf.Tensor):
    """For strokes: log π_w [B], ∇_x log π_w [B, D] and log choice [B, M] at pixels [B, D]; an AttentiveEnergy only."""
    images = tf.reshape(rows, [-1, *self.image_shape])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(images)
      energy, attention = self.energy.with_attention(images, class_weights)
    gradient = tf.reshape(tape.gradient(energy, images), tf.shape(rows)) / temperature[:, tf.newaxis]
    log_density = energy / temperature
    if self.reference == "gaussian":
      whitened = self.preconditioner.to_whitened(rows)
      log_density -= 0.5 * tf.reduce_sum(tf.square(whitened), axis=1)
      gradient -= self.preconditioner.whiten_transpose(whitened)
    return log_density, gradient, drawing.log_choice_of(attention)

  def jump(self, whitened: tf.Tensor, gradient: tf.Tensor, noise_level: Optional[tf.Tensor]) -> tf.Tensor:
    """Renders a walk at smoothing noise s: x + s²·∇_x log π(x) (Saremi & Hyvärinen 2019), images [B, H, W, C].

    Args:
      whitened, gradient: float32 [B, D] of one chain state.
      noise_level: s, a scalar; 0 renders the walk as it stands.
    """
    # A difference, as a sum of three may be regrouped, see langevin.propose.
    rows = self.preconditioner.to_rows(whitened)
    rows -= -tf.square(noise_level) * self.preconditioner.whiten_transpose(gradient)
    return tf.reshape(rows, [-1, *self.image_shape])
