"""Densities whose exact samples are known, as the functions that the sampler takes."""

import numpy as np
import tensorflow as tf


class Gaussian:
  """A correlated Gaussian with standard deviations from 0.5 to 2."""

  def __init__(self, size: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    self.size, self.mean = size, rng.normal(size=size)
    self.factor = basis * np.geomspace(0.5, 2.0, size)
    self._precision = tf.constant(np.linalg.inv(self.factor @ self.factor.T), tf.float32)

  def sample(self, count: int, seed: int) -> np.ndarray:
    """Exact samples, float32 [count, D]."""
    noise = np.random.default_rng(seed).normal(size=(count, self.size))
    return (self.mean + noise @ self.factor.T).astype(np.float32)

  def whiten(self, samples: np.ndarray) -> np.ndarray:
    """Samples of this density -> samples of N(0, I)."""
    return np.linalg.solve(self.factor, (samples.astype(np.float64) - self.mean).T).T

  def __call__(self, position):
    centred = position - tf.constant(self.mean, tf.float32)
    gradient = -tf.matmul(centred, self._precision)
    return 0.5 * tf.reduce_sum(centred * gradient, axis=1), gradient


class Mixture:
  """Three overlapping Gaussians in the plane, of different widths and weights."""

  size = 2
  weights = np.array([0.5, 0.3, 0.2])
  means = np.array([[0.0, 0.0], [2.5, 1.0], [-1.0, 2.5]])
  scales = np.array([0.7, 1.0, 0.5])

  def sample(self, count: int, seed: int) -> np.ndarray:
    """Exact samples, float32 [count, 2]."""
    rng = np.random.default_rng(seed)
    component = rng.choice(3, count, p=self.weights)
    noise = rng.normal(size=(count, 2)) * self.scales[component, np.newaxis]
    return (self.means[component] + noise).astype(np.float32)

  def _terms(self, position):
    """The logarithm of each weighted component, [B, 3]."""
    scales = tf.constant(self.scales, tf.float32)
    distances = tf.reduce_sum(tf.square(position[:, tf.newaxis] - tf.constant(self.means, tf.float32)), axis=2)
    return tf.constant(np.log(self.weights / self.scales ** 2), tf.float32) - 0.5 * distances / tf.square(scales)

  def responsibilities(self, samples: np.ndarray) -> np.ndarray:
    """The posterior probability of each component, [N, 3]; its mean under the density is `weights`."""
    return tf.nn.softmax(self._terms(tf.constant(samples, tf.float32))).numpy()

  def log_density(self, position):
    """Up to a constant: [B, 2] -> [B]."""
    return tf.reduce_logsumexp(self._terms(position), axis=1)

  def __call__(self, position):
    with tf.GradientTape() as tape:
      tape.watch(position)
      log_density = self.log_density(position)
    return log_density, tape.gradient(log_density, position)


def banana(position):
  """exp(-u₁²/2 - 2·(u₂ - u₁²/2)²): curved, far from Gaussian. [B, 2] -> [B]."""
  first, second = position[:, 0], position[:, 1]
  return -0.5 * tf.square(first) - 2.0 * tf.square(second - 0.5 * tf.square(first))


def with_gradient(log_density):
  """A log density -> the log density and its gradient."""

  def both(position):
    with tf.GradientTape() as tape:
      tape.watch(position)
      value = log_density(position)
    return value, tape.gradient(value, position)

  return both


def sharpened(density, factor: float = 1.1):
  """factor · log p: the faulty target of a negative control."""
  return lambda position: tuple(factor * value for value in density(position))
