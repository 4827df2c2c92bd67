"""The Gaussian of the training images, at every noise level: what all class energies of Score-STIC have in common.

A trunk learns what the images have beyond it. A Gaussian's denoiser is Wiener's filter, which is most of what there is
to know at high noise and a good part of it at any (Wang & Vastola 2024): a trunk that has to learn it as well learns it
for long.
"""

from typing import Sequence

import keras
import numpy as np
import scipy.fft
import tensorflow as tf
from keras import layers

from stic_tf import rounding


class Isotropic(layers.Layer):
  """One variance σ_d² for all numbers of an image, as in EDM (Karras et al. 2022, table 1)."""

  weight_name = "data_scale"  # of what else energies correct, another: weights beside one say nothing beside another

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(name="isotropic")
    del image_shape
    self.data_scale = self.add_weight(self.weight_name, shape=(), initializer="ones", trainable=False)

  def fit(self, statistics) -> None:
    """Takes the variances of a preconditioners.statistics.ImageStatistics."""
    self.data_scale.assign(np.sqrt(statistics.mean_variance))

  def log_density(self, centred, level):
    """-‖x - μ‖² / (2 (σ² + σ_d²)): images less their mean [B, H, W, C], σ [B] -> [B]."""
    return -0.5 * tf.reduce_sum(tf.square(centred), axis=[1, 2, 3]) / (tf.square(level) + tf.square(self.data_scale))

  def scaled(self, centred, level):
    """What the trunk is given: (x - μ) / √(σ² + σ_d²)."""
    scale = tf.sqrt(tf.square(level) + tf.square(self.data_scale))
    return centred / scale[:, tf.newaxis, tf.newaxis, tf.newaxis]

  def gain(self, level):
    """What multiplies the trunk's energies, σ_d / σ: [B] -> [B]. The trunk's gradient is then of one size at all σ."""
    return self.data_scale / level

  def denoising_error(self, level):
    """Mean squared error a pixel of the Gaussian's own denoiser, σ² σ_d² / (σ² + σ_d²): [B] -> [B]."""
    variance, noise = tf.square(self.data_scale), tf.square(level)
    return noise * variance / (noise + variance)


class Point(Isotropic):
  """All variance left to the trunk: images about their mean as noise alone has them.

      -‖x - μ‖² / (2 σ²),   gain σ_d √(σ² + σ_d²) / σ²

  The denoiser of f is μ + σ_d ∇g: the trunk predicts the image (the x₀-prediction of Salimans & Ho 2022), and no noise
  passes it. For classes of one image each, whose density at σ is a single Gaussian of that width. The right g is then
  of the size ‖x - μ‖² / (2 σ_d √(σ² + σ_d²)), some thousands of a large image, and f at little noise of millions, whose
  last digits float32 does not have: let σ be 0.1 at least.
  """

  weight_name = "image_scale"

  def log_density(self, centred, level):
    return -0.5 * tf.reduce_sum(tf.square(centred), axis=[1, 2, 3]) / tf.square(level)

  def gain(self, level):
    """σ_d √(σ² + σ_d²) / σ²: [B] -> [B]. The trunk's gradient is then the image's, over σ_d, at all σ."""
    return self.data_scale * tf.sqrt(tf.square(level) + tf.square(self.data_scale)) / tf.square(level)

  def denoising_error(self, level):
    return tf.fill(tf.shape(level), tf.square(self.data_scale))


class Cosine(Isotropic):
  """A variance λ_j for each wave of the discrete cosine transform, in the principal colours.

      -½ Σ_j c_j² / (σ² + λ_j),   input of the trunk Σ_j √(λ_j / (σ² + λ_j)) c_j / σ_d · wave_j

  c are the coordinates of x - μ. The denoiser of f is then EDM's for each wave by itself. What noise hides the trunk is
  not shown, and what the images do not have it need not keep from drawing.
  """

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    height, width, channels = self.image_shape = tuple(image_shape)
    self.spectrum = self.add_weight("spectrum", shape=self.image_shape, initializer="ones", trainable=False)
    self.colours = self.add_weight("colours", shape=(channels, channels), trainable=False,
                                   initializer=keras.initializers.Identity())
    self._rows, self._columns = (scipy.fft.dct(np.eye(size), axis=0, norm="ortho").astype(np.float32)
                                 for size in (height, width))

  def fit(self, statistics) -> None:
    super().fit(statistics)
    self.colours.assign(statistics.colours)
    self.spectrum.assign(np.maximum(statistics.cosine_spectrum, 1e-6))

  def _waves(self, images):
    """Coordinates, [B, C', H, W], of [B, H, W, C]."""
    planes = tf.transpose(images, [0, 3, 1, 2])
    planes = tf.reduce_sum(planes[:, :, tf.newaxis] * self.colours[:, :, tf.newaxis, tf.newaxis], axis=1)
    return self._turned(planes, self._rows, self._columns)

  def _images(self, waves):
    """The way back."""
    planes = self._turned(waves, self._rows.T, self._columns.T)
    planes = tf.reduce_sum(planes[:, tf.newaxis] * self.colours[:, :, tf.newaxis, tf.newaxis], axis=2)
    return tf.transpose(planes, [0, 2, 3, 1])

  @staticmethod
  def _turned(planes, of_rows: np.ndarray, of_columns: np.ndarray):
    """[B, C, H, W] by a matrix along the rows and one along the columns."""
    planes = tf.transpose(rounding.along_last_axis(planes, of_columns.T), [0, 1, 3, 2])
    return tf.transpose(rounding.along_last_axis(planes, of_rows.T), [0, 1, 3, 2])

  def _variances(self, level):
    spectrum = tf.transpose(self.spectrum, [2, 0, 1])
    return spectrum, spectrum + tf.square(level)[:, tf.newaxis, tf.newaxis, tf.newaxis]

  def log_density(self, centred, level):
    _, variances = self._variances(level)
    of_rows = tf.reduce_sum(tf.square(self._waves(centred)) / variances, axis=[1, 3])
    return -0.5 * tf.reduce_sum(of_rows, axis=1)

  def scaled(self, centred, level):
    spectrum, variances = self._variances(level)
    return self._images(self._waves(centred) * tf.sqrt(spectrum / variances)) / self.data_scale

  def denoising_error(self, level):
    spectrum, variances = self._variances(level)
    noise = tf.square(level)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    return tf.reduce_mean(noise * spectrum / variances, axis=[1, 2, 3])
