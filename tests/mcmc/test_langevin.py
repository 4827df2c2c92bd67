"""The proposal and its density against the formulas of docs/equations.md, written out in float64 with a dense M."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.mcmc import langevin

SIZE = 7


def _proposed(position, gradient, noise, step_size):
  return position + langevin.move(gradient, noise, step_size)


def _log_q(proposed, position, gradient, matrix, step_size):
  """log q(x'|x) = -(x' - x - h·M·g)ᵀ M⁻¹ (x' - x - h·M·g) / (4h), up to a constant, for one chain."""
  residual = proposed - position - step_size * matrix @ gradient
  return -residual @ np.linalg.solve(matrix, residual) / (4 * step_size)


@pytest.mark.parametrize("step_size", [1e-4, 0.03, 0.5, 4.0])
def test_proposal_and_its_log_density_in_image_coordinates(step_size):
  rng = np.random.default_rng(0)
  factor = np.tril(rng.normal(size=(SIZE, SIZE))) + 2 * np.eye(SIZE)
  matrix = factor @ factor.T
  position, noise, gradient, proposed_gradient = rng.normal(size=(4, 5, SIZE))  # gradients in x
  steps = np.full(5, step_size)

  def whitened(rows):
    return np.linalg.solve(factor, rows.T).T

  proposed_whitened = _proposed(*(
      tf.constant(rows, tf.float32) for rows in (whitened(position), gradient @ factor, noise, steps))).numpy()
  proposed = position + step_size * gradient @ matrix + np.sqrt(2 * step_size) * noise @ factor.T
  np.testing.assert_allclose(proposed_whitened @ factor.T, proposed, rtol=1e-4, atol=1e-4)

  ratio = langevin.log_proposal_ratio(*(
      tf.constant(rows, tf.float32)
      for rows in (noise, gradient @ factor, proposed_gradient @ factor, steps))).numpy()
  expected = [_log_q(x, y, g_y, matrix, step_size) - _log_q(y, x, g_x, matrix, step_size)
              for x, y, g_x, g_y in zip(position, proposed, gradient, proposed_gradient)]
  np.testing.assert_allclose(ratio, expected, rtol=2e-5, atol=1e-4)


def test_a_step_size_a_chain():
  steps = tf.constant([0.0025, 0.04])
  noise, zero = tf.ones([2, 3]), tf.zeros([2, 3])
  moved = _proposed(zero, zero, noise, steps).numpy()
  np.testing.assert_allclose(moved, np.sqrt(2 * steps.numpy())[:, np.newaxis] * np.ones((2, 3)), rtol=1e-6)
  drifted = _proposed(zero, noise, zero, steps).numpy()
  np.testing.assert_allclose(drifted, steps.numpy()[:, np.newaxis] * np.ones((2, 3)), rtol=1e-6)


def test_without_a_gradient_the_proposal_is_symmetric():
  noise = tf.constant(np.random.default_rng(1).normal(size=(4, 3)), tf.float32)
  ratio = langevin.log_proposal_ratio(noise, tf.zeros([4, 3]), tf.zeros([4, 3]), tf.fill([4], 0.3))
  np.testing.assert_array_equal(ratio.numpy(), 0.0)
