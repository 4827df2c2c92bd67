"""EDM's preconditioning written as an energy: any trunk becomes a noise-conditional classifier.

    f_k(x, σ) = -‖x - μ‖² / (2 (σ² + σ_d²)) + (σ_d / σ) · g_k((x - μ) / √(σ² + σ_d²), ln σ / 4)

μ is the mean training image and σ_d the standard deviation of a pixel about it. The denoiser D_k = x + σ² ∇_x f_k is
then exactly that of EDM (Karras et al. 2022, table 1) with ∇g_k in place of its network, and because every f_k is an
energy, softmax_k f_k is the classifier of the same density. Another Gaussian of the images can take the place of the
first term, of σ_d / σ and of the scaling (gaussians.py).
"""

from typing import List, Sequence

import keras
import tensorflow as tf

from stic_tf import first_rows
from stic_tf import registries
from stic_tf import sparse_weights
from stic_tf.config import require
from stic_tf.networks import class_queries
from stic_tf.networks import layers as shared
from stic_tf.networks import shared_energy

# Noise levels that an answer can mix.
ANSWERS = 8


class EnergyPrecond(keras.Model):
  """(images [B, H, W, C], noise levels [B]) -> [class energies f [B, K]], and real/fake logits [B, K] if any.

  Args:
    trunk: g. A model of the scaled image and ln σ / 4 [B], or of the scaled image alone, whose energies are then
      scaled and shifted by the noise level. Of several outputs the first are energies [B, K]; one called "evidence" is
      taken for real/fake logits. What all its classes share is known by shared_energy.py.
    image_shape: (H, W, C).
    num_classes: K.
    gaussian: of the registry's GAUSSIANS.
  """

  def __init__(self, trunk: keras.Model, image_shape: Sequence[int], num_classes: int, gaussian: str = "isotropic"):
    super().__init__(name="energy_precond", dtype="float32")  # whatever policy the trunk has
    self.trunk, self.image_shape = trunk, tuple(image_shape)
    self.knows_level = len(trunk.inputs) == 2
    names = list(getattr(trunk, "output_names", []))
    self._evidence = names.index("evidence") if "evidence" in names else None
    absent = {"evidence_local", "evidence_global"} - {layer.name for layer in trunk.layers}
    require(self._evidence is None or not absent, "network", trunk.name,
            f"gives real/fake logits, and no layers called {', '.join(sorted(absent))} that make them")
    self._classes = shared_energy.without(trunk) if self.knows_level else None
    self._reader = class_queries.ClassReader(trunk) if class_queries.attends(trunk) else None
    if not self.knows_level:
      self.harmonics = shared.Harmonics(name="harmonics")
      self.gain = shared.Dense(2 * num_classes, kernel_initializer="zeros", name="gain")
      self.gain.build([None, 9])
    self.mean = self.add_weight("mean", shape=tuple(image_shape), initializer="zeros", trainable=False)
    self.gaussian_name = gaussian
    self.gaussian = registries.GAUSSIANS.load(gaussian)(self.image_shape)
    # How it classifies images that are not noisy: a mixture of its answers at these σ. Chosen on validation images and
    # kept with the weights.
    self.answer_levels = self.add_weight("answer_levels", shape=(ANSWERS,), initializer="ones", trainable=False)
    self.answer_weights = self.add_weight("answer_weights", shape=(ANSWERS,), trainable=False,
                                          initializer=keras.initializers.Constant(1.0 / ANSWERS))

  @property
  def tile_grid(self) -> int:
    """Tiles a side that its class queries attend over; 0 without queries."""
    return class_queries.tile_grid(self.trunk)

  @property
  def has_evidence(self) -> bool:
    """Whether it gives real/fake logits."""
    return self._evidence is not None

  @property
  def evidence_variables(self) -> List[tf.Variable]:
    """The weights of the real/fake logits alone: a reading of features that they leave as they are."""
    if not self.has_evidence:
      return []
    return [variable for part in ("local", "global")
            for variable in self.trunk.get_layer(f"evidence_{part}").trainable_variables]

  @property
  def data_scale(self) -> tf.Variable:
    """σ_d."""
    return self.gaussian.data_scale

  def fit_moments(self, statistics) -> None:
    """Takes μ and the Gaussian's variances from an ImageStatistics, before the first update."""
    self.mean.assign(statistics.mean.reshape(self.image_shape))
    self.gaussian.fit(statistics)

  def in_common(self, images, noise_level):
    """The Gaussian's log density, a part of all class energies: [B, H, W, C], σ [B] -> [B]."""
    return self.gaussian.log_density(images - self.mean, noise_level)

  def _of_trunk(self, images, noise_level):
    """[scaled images, ln σ / 4], as the trunk takes them."""
    return [self.gaussian.scaled(images - self.mean, noise_level), 0.25 * tf.math.log(noise_level)]

  def call(self, inputs, training=False):
    images, noise_level = inputs
    scaled, conditioning = self._of_trunk(images, noise_level)
    inputs = [scaled, conditioning] if self.knows_level else scaled
    outputs = self.trunk(inputs, training=True) if training else first_rows.call(self.trunk, inputs)
    outputs = [tf.cast(output, tf.float32) for output in tf.nest.flatten(outputs)]
    energies = self._energies(outputs[0], images, noise_level, conditioning)
    return [energies] + ([outputs[self._evidence]] if self.has_evidence else [])

  def _energies(self, of_trunk, images, noise_level, conditioning):
    """f of the trunk's energies g, [B, K] each."""
    if not self.knows_level:
      gain, shift = tf.split(self.gain(self.harmonics(conditioning)), 2, axis=1)
      of_trunk = of_trunk * (1.0 + gain) + shift
    in_common = self.in_common(images, noise_level)[:, tf.newaxis]
    return in_common + self.gaussian.gain(noise_level)[:, tf.newaxis] * of_trunk

  def energies_and_attention(self, images, noise_level, class_weights: sparse_weights.SparseWeights):
    """(class energies [B, K], where w looks [B, M]) of images [B, H, W, C] at σ [B]; only where there are tiles."""
    scaled, conditioning = self._of_trunk(images, noise_level)
    logits, attention = self._reader.logits_and_attention([scaled, conditioning] if self.knows_level else scaled,
                                                          class_weights)
    return self._energies(logits, images, noise_level, conditioning), attention

  def level_energies(self, images, noise_level):
    """(class energies [B, K], real/fake logits [B, K] or None) of images [B, H, W, C] at σ [B]; nothing is random."""
    outputs = self([images, noise_level], training=False)
    return outputs[0], outputs[1] if self.has_evidence else None

  def level_logits(self, images, noise_level):
    """Class energies but for what all classes share, which costs nothing then: as `level_energies`, [B, K]."""
    if self._classes is None:
      return self.level_energies(images, noise_level)[0]
    logits = first_rows.call(self._classes, self._of_trunk(images, noise_level))
    return self.gaussian.gain(noise_level)[:, tf.newaxis] * logits

  def answer(self, images, mirrored: bool = False):
    """Class logits [B, K] of images [B, H, W, C] that are not noisy, with their mirror images if `mirrored`.

    log Σ_j w_j softmax_k f(x, σ_j) + Σ_j w_j log Σ_k exp f_k(x, σ_j).
    Their softmax is the mixture of the levels' answers, their logsumexp the mean of the levels' log densities. Of one
    level they are its energies. Levels of weight 0 cost nothing. A mirror image has half the weight of each level.
    """
    mixed = self.answer_weights > 0
    return self.mixture(images, tf.boolean_mask(self.answer_levels, mixed), tf.boolean_mask(self.answer_weights, mixed),
                        mirrored)

  def mixture(self, images, levels, weights, mirrored: bool = False):
    """`answer` of levels σ_j [L] with the weights w_j [L], which sum to 1."""
    views = tf.stack([images] + [tf.reverse(images, [2])] * mirrored, axis=1)
    levels, weights = tf.tile(levels, [views.shape[1]]), tf.tile(weights / views.shape[1], [views.shape[1]])
    count, batch = tf.shape(levels)[0], tf.shape(images)[0]
    views = tf.reshape(tf.repeat(views, count // views.shape[1], axis=1), [-1, *self.image_shape])
    with first_rows.times(count):
      energies, _ = self.level_energies(views, tf.tile(levels, [batch]))
    energies = tf.reshape(energies, [batch, count, energies.shape[-1]])
    weights = weights[:, tf.newaxis]
    answer = tf.reduce_logsumexp(tf.nn.log_softmax(energies) + tf.math.log(weights), axis=1)
    return answer + tf.reduce_sum(weights * tf.reduce_logsumexp(energies, axis=2, keepdims=True), axis=1)
