"""M in circulant form: a Hermitian C×C matrix a spatial frequency, applied by FFT."""

from typing import Sequence

import numpy as np
import tensorflow as tf

from stic_tf.preconditioners import base


class Spectral(base.Preconditioner):
  """M at one noise level. L is its symmetric root."""

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    height, width, channels = self.image_shape
    unit = tf.eye(channels, batch_shape=[height, width], dtype=tf.complex64)
    self.root = tf.Variable(unit, trainable=False, name="root")
    self.inverse_root = tf.Variable(unit, trainable=False, name="inverse_root")

  def fit(self, statistics, noise_level=None):
    self.mean.assign(statistics.mean)
    matrices = statistics.spectrum + noise_level ** 2 * np.eye(self.image_shape[2])
    values, vectors = np.linalg.eigh(matrices)
    values = np.maximum(values, 1e-12)

    def power(exponent):
      return np.einsum("hwce,hwe,hwde->hwcd", vectors, values ** exponent, vectors.conj()).astype(np.complex64)

    self.root.assign(power(0.5))
    self.inverse_root.assign(power(-0.5))

  def _apply(self, matrices, rows):
    height, width, channels = self.image_shape
    images = tf.transpose(tf.reshape(rows, [-1, height, width, channels]), [0, 3, 1, 2])
    waves = tf.signal.fft2d(tf.cast(images, tf.complex64))
    mixed = tf.reduce_sum(tf.transpose(matrices, [2, 3, 0, 1]) * waves[:, tf.newaxis], axis=2)
    images = tf.math.real(tf.signal.ifft2d(mixed))
    return tf.reshape(tf.transpose(images, [0, 2, 3, 1]), [-1, self.size])

  def color(self, rows, level=None):
    return self._apply(self.root, rows)

  def whiten(self, rows):
    return self._apply(self.inverse_root, rows)


class SpectralLevels(base.Preconditioner):
  """M_σ at every level: the eigenvectors of each frequency's matrix serve all. L_σ is the symmetric root."""

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    height, width, channels = self.image_shape
    self.vectors = tf.Variable(tf.eye(channels, batch_shape=[height, width], dtype=tf.complex64), trainable=False,
                               name="vectors")
    self.values = tf.Variable(tf.zeros([height, width, channels]), trainable=False, name="values")

  def fit(self, statistics, noise_level=None):
    self.mean.assign(statistics.mean)
    values, vectors = np.linalg.eigh(statistics.spectrum)
    self.vectors.assign(vectors.astype(np.complex64))
    self.values.assign(np.maximum(values, 0.0))

  def color(self, rows, level=None):
    height, width, channels = self.image_shape
    images = tf.transpose(tf.reshape(rows, [-1, height, width, channels]), [0, 3, 1, 2])
    waves = tf.transpose(tf.signal.fft2d(tf.cast(images, tf.complex64)), [0, 2, 3, 1])
    scales = tf.sqrt(self.values + tf.square(level)[:, tf.newaxis, tf.newaxis, tf.newaxis])
    turned = tf.einsum("hwdc,bhwd->bhwc", tf.math.conj(self.vectors), waves) * tf.cast(scales, tf.complex64)
    waves = tf.transpose(tf.einsum("hwcd,bhwd->bhwc", self.vectors, turned), [0, 3, 1, 2])
    images = tf.transpose(tf.math.real(tf.signal.ifft2d(waves)), [0, 2, 3, 1])
    return tf.reshape(images, [-1, self.size])
