"""M as a whole matrix: a Cholesky factor at one noise level, the eigenvectors of the covariance for all of them."""

from typing import Sequence

import numpy as np
import scipy.linalg
import tensorflow as tf

from stic_tf import rounding
from stic_tf.preconditioners import base


class Dense(base.Preconditioner):
  """M = covariance + noise²·I by its Cholesky factor."""

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    self.factor = tf.Variable(tf.eye(self.size), trainable=False, name="factor")

  def fit(self, statistics, noise_level=None):
    self.mean.assign(statistics.mean)
    matrix = statistics.covariance + noise_level ** 2 * np.eye(self.size)
    self.factor.assign(scipy.linalg.cholesky(matrix, lower=True).astype(np.float32))

  def color(self, rows, level=None):
    return rounding.product(rows, self.factor, transposed=True)

  def color_transpose(self, rows, level=None):
    return rounding.product(rows, self.factor)

  def whiten(self, rows):
    return tf.transpose(tf.linalg.triangular_solve(self.factor, tf.transpose(rows), lower=True))

  def whiten_transpose(self, rows):
    return tf.transpose(tf.linalg.triangular_solve(self.factor, tf.transpose(rows), lower=True, adjoint=True))


class DenseLevels(base.Preconditioner):
  """M_σ = covariance + σ²·I: one eigendecomposition serves every level. L_σ is the symmetric root."""

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    self.basis = tf.Variable(tf.eye(self.size), trainable=False, name="basis")
    self.values = tf.Variable(tf.zeros([self.size]), trainable=False, name="values")

  def fit(self, statistics, noise_level=None):
    self.mean.assign(statistics.mean)
    values, vectors = np.linalg.eigh(statistics.covariance)
    self.basis.assign(vectors)
    self.values.assign(np.maximum(values, 0.0))

  def color(self, rows, level=None):
    scales = tf.sqrt(self.values + tf.square(level)[:, tf.newaxis])
    return rounding.product(rounding.product(rows, self.basis) * scales, self.basis, transposed=True)
