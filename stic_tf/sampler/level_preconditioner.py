"""Preconditioners that know the noise level: M_σ = L_σ², L_σ symmetric, each row at a level of its own.

One eigendecomposition of the training images' covariance Σ serves every level: Σ + σ²·I has the same eigenvectors.
"""

from typing import Sequence

import numpy as np
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.sampler import gram as gram_lib


class LevelPreconditioner:
  """M_σ with the mean of the canvas; images are handled as rows [B, D]. Subclasses say how L_σ acts."""

  def __init__(self, image_shape: Sequence[int]):
    self.image_shape = tuple(image_shape)
    self.size = int(np.prod(self.image_shape))
    self.mean = tf.Variable(tf.zeros([self.size]), trainable=False, name="mean")

  def color(self, rows: tf.Tensor, noise_level: tf.Tensor) -> tf.Tensor:
    """L_σ v: float32 [B, D], σ [B] -> [B, D]."""
    raise NotImplementedError

  def fit(self, statistics: gram_lib.ImageStatistics) -> None:
    """Takes μ and Σ from the moments of training images."""
    self.mean.assign(statistics.mean)

  def variables(self) -> Sequence[tf.Variable]:
    """What a checkpoint must hold."""
    return [self.mean]


class ScaledLevels(LevelPreconditioner):
  """M_σ = σ²·I."""

  def color(self, rows, noise_level):
    return rows * noise_level[:, tf.newaxis]


class DenseLevels(LevelPreconditioner):
  """M_σ = Σ + σ²·I by the eigenvectors of Σ."""

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    self.basis = tf.Variable(tf.eye(self.size), trainable=False, name="basis")
    self.values = tf.Variable(tf.zeros([self.size]), trainable=False, name="values")

  def fit(self, statistics):
    super().fit(statistics)
    values, vectors = np.linalg.eigh(statistics.covariance)
    self.basis.assign(vectors)
    self.values.assign(np.maximum(values, 0.0))

  def variables(self):
    return [self.mean, self.basis, self.values]

  def color(self, rows, noise_level):
    scales = tf.sqrt(self.values + tf.square(noise_level)[:, tf.newaxis])
    return tf.matmul(tf.matmul(rows, self.basis) * scales, self.basis, transpose_b=True)


class SpectralLevels(LevelPreconditioner):
  """M_σ in circulant form: a Hermitian C×C matrix a spatial frequency, applied by FFT."""

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    height, width, channels = self.image_shape
    self.vectors = tf.Variable(tf.eye(channels, batch_shape=[height, width], dtype=tf.complex64), trainable=False,
                               name="vectors")
    self.values = tf.Variable(tf.zeros([height, width, channels]), trainable=False, name="values")

  def fit(self, statistics):
    super().fit(statistics)
    values, vectors = np.linalg.eigh(statistics.spectrum)
    self.vectors.assign(vectors.astype(np.complex64))
    self.values.assign(np.maximum(values, 0.0))

  def variables(self):
    return [self.mean, self.vectors, self.values]

  def color(self, rows, noise_level):
    height, width, channels = self.image_shape
    images = tf.transpose(tf.reshape(rows, [-1, height, width, channels]), [0, 3, 1, 2])
    waves = tf.transpose(tf.signal.fft2d(tf.cast(images, tf.complex64)), [0, 2, 3, 1])
    scales = tf.sqrt(self.values + tf.square(noise_level)[:, tf.newaxis, tf.newaxis, tf.newaxis])
    turned = tf.einsum("hwdc,bhwd->bhwc", tf.math.conj(self.vectors), waves) * tf.cast(scales, tf.complex64)
    waves = tf.transpose(tf.einsum("hwcd,bhwd->bhwc", self.vectors, turned), [0, 3, 1, 2])
    images = tf.transpose(tf.math.real(tf.signal.ifft2d(waves)), [0, 2, 3, 1])
    return tf.reshape(images, [-1, self.size])


def build(name: str, image_shape: Sequence[int]) -> LevelPreconditioner:
  """The preconditioner called `name`, to be given its moments by `fit`.

  Args:
    name: "gram" (dense up to gram.FULL_RANK_LIMIT numbers an image, spectral above), "dense", "spectral", or "identity"
      (σ²·I).
    image_shape: (H, W, C).

  Raises:
    ConfigError: "dense" for images of more than gram.DENSE_LIMIT numbers.
  """
  size = np.prod(image_shape)
  if name == "identity":
    return ScaledLevels(image_shape)
  if name == "dense":
    config_lib.require(size <= gram_lib.DENSE_LIMIT, "preconditioner", name,
                       f"takes images of at most {gram_lib.DENSE_LIMIT} numbers")
    return DenseLevels(image_shape)
  if name == "spectral" or size > gram_lib.FULL_RANK_LIMIT:
    return SpectralLevels(image_shape)
  return DenseLevels(image_shape)
