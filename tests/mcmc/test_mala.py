"""One step and its composition against a plain float64 version of its formulas, in image coordinates with a dense M."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.mcmc import kernel
from stic_tf.mcmc import random as random_lib
from stic_tf.preconditioners import build
from stic_tf.preconditioners import statistics
from stic_tf.targets import density
from tests.mcmc import densities
from tests.mcmc import steps

IMAGE_SHAPE, BATCH, STEPS = (3, 2, 2), 4, 30
SIZE = int(np.prod(IMAGE_SHAPE))


class Energy:
  """Σ_j a_j·tanh(w_j·x + b_j) + c·x, in TensorFlow and with its gradient in NumPy."""

  def __init__(self, seed=0):
    rng = np.random.default_rng(seed)
    self.inner, self.bias = rng.normal(size=(SIZE, 9)), rng.normal(size=9)
    self.outer, self.slope = 2.0 * rng.normal(size=9), rng.normal(size=SIZE)

  def condition(self, class_weights, guidance=None):
    del guidance
    return class_weights

  def __call__(self, images, condition):
    del condition
    rows = tf.reshape(images, [-1, SIZE])
    hidden = tf.tanh(tf.linalg.matmul(rows, tf.constant(self.inner, tf.float32)) + self.bias.astype(np.float32))
    return tf.linalg.matvec(hidden, tf.constant(self.outer, tf.float32)) + tf.linalg.matvec(
        rows, tf.constant(self.slope, tf.float32)), ()

  def value_and_gradient(self, rows):
    hidden = np.tanh(rows @ self.inner + self.bias)
    return (hidden @ self.outer + rows @ self.slope,
            ((1 - hidden ** 2) * self.outer) @ self.inner.T + self.slope)


class Reference(NamedTuple):
  """The plain chain: positions [S + 1, B, D], accepted [S, B] and how far each decision was from the other [S, B]."""

  positions: np.ndarray
  accepted: np.ndarray
  margins: np.ndarray


def _reference_chain(energy, temperature, mean, root, reference, start, noise, log_uniforms, step_size):
  """The formulas as they stand: M, M^(1/2) and M⁻¹ in x, nothing cached, nothing whitened, float64."""
  matrix = root @ root.T
  inverse = np.linalg.inv(matrix)

  def log_density(rows):
    value, gradient = energy.value_and_gradient(rows)
    value, gradient = value / temperature, gradient / temperature
    if reference == "gaussian":
      value = value - 0.5 * np.einsum("bi,ij,bj->b", rows - mean, inverse, rows - mean)
      gradient = gradient - (rows - mean) @ inverse
    return value, gradient

  def log_q(proposed, rows):
    residual = proposed - rows - step_size * log_density(rows)[1] @ matrix
    return -np.einsum("bi,ij,bj->b", residual, inverse, residual) / (4 * step_size)

  positions, decisions, margins = [start], [], []
  for step_noise, log_uniform in zip(noise, log_uniforms):
    rows = positions[-1]
    proposed = rows + step_size * log_density(rows)[1] @ matrix + np.sqrt(2 * step_size) * step_noise @ root.T
    log_ratio = log_density(proposed)[0] - log_density(rows)[0] + log_q(rows, proposed) - log_q(proposed, rows)
    accepted = np.isfinite(log_ratio) & (log_uniform < log_ratio)
    positions.append(np.where(accepted[:, np.newaxis], proposed, rows))
    decisions.append(accepted)
    margins.append(np.abs(log_uniform - log_ratio))
  return Reference(np.stack(positions), np.stack(decisions), np.stack(margins))


@pytest.mark.parametrize("name, reference, temperature", [
    ("gram", "gaussian", 1.0), ("gram", "flat", 1.0), ("gram", "gaussian", 0.4), ("spectral", "gaussian", 1.0),
    ("identity", "gaussian", 2.0)])
def test_preconditioned_chain_is_the_plain_chain_in_whitened_coordinates(name, reference, temperature):
  rng = np.random.default_rng(1)
  images = 0.5 * rng.normal(size=(100, *IMAGE_SHAPE)) @ rng.normal(size=(2, 2)) + 0.1
  preconditioner = build.build(name, IMAGE_SHAPE)
  preconditioner.fit(statistics.ImageStatistics.fit(images), 0.3)
  energy, step_size = Energy(), 0.2
  target = density.Target(energy, preconditioner, IMAGE_SHAPE, preconditioner if reference == "gaussian" else None)
  seeds = tf.constant([[16, row] for row in range(BATCH)], tf.int64)
  whitened = random_lib.normals(seeds, random_lib.CANVAS_STREAM, SIZE)
  noise, log_uniforms = random_lib.normals_and_log_uniforms(
      random_lib.image_keys(seeds, random_lib.CHAIN_STREAM), tf.range(STEPS), SIZE)

  expected = _reference_chain(
      energy, temperature, preconditioner.mean.numpy().astype(np.float64),
      preconditioner.color(tf.eye(SIZE)).numpy().T.astype(np.float64), reference,
      preconditioner.to_rows(whitened).numpy().astype(np.float64), noise.numpy().astype(np.float64),
      log_uniforms.numpy(), step_size)
  # Both decisions happen, and none is so close that rounding could turn it.
  assert 0.2 < expected.accepted.mean() < 0.97 and expected.margins.min() > 5e-4

  evaluate = target.whitened(tf.zeros([BATCH, 1]), tf.fill([BATCH], temperature))

  @tf.function
  def step(state, step_noise, log_uniform):
    return steps.one_step(state, evaluate, step_noise, log_uniform, tf.fill([BATCH], step_size))

  state = steps.initial_state(whitened, evaluate)
  for number in range(STEPS):
    state, info = step(state, noise[number], log_uniforms[number])
    np.testing.assert_array_equal(info.accepted.numpy(), expected.accepted[number])
    np.testing.assert_allclose(preconditioner.to_rows(state.position).numpy(), expected.positions[number + 1],
                               atol=2e-4)

  looped = steps.run_chain(evaluate, whitened, seeds, STEPS, step_size)
  np.testing.assert_allclose(preconditioner.to_rows(looped.state.position).numpy(), expected.positions[-1], atol=2e-4)


def test_the_cached_log_density_and_gradient_are_fresh():
  """After steps of both kinds, accepted and rejected."""
  gaussian = densities.Gaussian()
  seeds = tf.constant([[0, row] for row in range(64)], tf.int64)
  for number in (1, 2, 25):
    state = steps.run_chain(gaussian, tf.constant(gaussian.sample(64, 0)), seeds, number, 0.4).state
    log_density, gradient = gaussian(state.position)
    np.testing.assert_allclose(state.log_density.numpy(), log_density.numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(state.gradient.numpy(), gradient.numpy(), rtol=1e-6, atol=1e-6)


def test_one_evaluation_a_step():
  evaluations = []

  def counted(position):
    evaluations.append(1)
    return densities.Gaussian()(position)

  state = steps.initial_state(tf.zeros([3, 6]), counted)
  for _ in range(4):
    state, _ = steps.one_step(state, counted, tf.ones([3, 6]), tf.fill([3], -1.0), tf.fill([3], 0.1))
  assert len(evaluations) == 1 + 4


def _step_onto(log_density, gradient, adjust=True):
  """One step from 0 onto a point where the target gives these values."""
  state = kernel.ChainState(tf.zeros([1, 2]), tf.zeros([1]), tf.zeros([1, 2]))
  return steps.one_step(state, lambda position: (tf.constant([log_density]), tf.constant([gradient])),
                         tf.ones([1, 2]), tf.fill([1], -1e3), tf.fill([1], 0.1), adjust)


@pytest.mark.parametrize("log_density, gradient", [
    (np.nan, [0.0, 0.0]), (-np.inf, [0.0, 0.0]), (np.inf, [0.0, 0.0]), (0.0, [np.nan, 0.0]), (0.0, [0.0, np.inf])])
@pytest.mark.parametrize("adjust", [True, False])
def test_what_is_not_finite_is_rejected_and_does_not_leak(log_density, gradient, adjust):
  state, info = _step_onto(log_density, gradient, adjust)
  assert not info.accepted[0] and info.acceptance_probability[0] == 0
  for value in state:
    np.testing.assert_array_equal(value.numpy(), np.zeros_like(value))


def test_unadjusted_takes_what_the_accept_test_refuses():
  state, info = _step_onto(-1e6, [0.0, 0.0], adjust=True)
  assert not info.accepted[0] and not state.position.numpy().any()
  state, info = _step_onto(-1e6, [0.0, 0.0], adjust=False)
  assert info.accepted[0] and info.acceptance_probability[0] == 0  # the bias shows in the diagnostics
  np.testing.assert_allclose(state.position.numpy(), np.sqrt(0.2) * np.ones((1, 2)), rtol=1e-6)
