"""Energy and gradient of one pass, and the denoising step."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.targets import gradient


def test_energy_others_and_gradient_of_one_pass():
  calls = []

  def energy(images):
    calls.append(1)
    return tf.reduce_sum(images ** 3, axis=[1, 2, 3]), ("others", 2.0 * images)

  images = tf.constant(np.random.default_rng(0).normal(size=(5, 2, 3, 1)), tf.float32)
  value, (name, doubled), slope = gradient.energy_and_gradient(energy, images)
  assert calls == [1] and name == "others"
  np.testing.assert_allclose(value.numpy(), (images.numpy() ** 3).sum(axis=(1, 2, 3)), rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(doubled.numpy(), 2 * images.numpy())
  np.testing.assert_allclose(slope.numpy(), 3 * images.numpy() ** 2, rtol=1e-5)


@pytest.mark.parametrize("variance", [0.25, np.array([[0.0], [0.25], [4.0]])], ids=["one", "a row"])
def test_denoise_is_the_posterior_mean_of_a_gaussian(variance):
  """Clean N(m, τ²), noisy N(m, τ² + σ²): Tweedie's mean is m + τ²/(τ² + σ²)·(x - m)."""
  mean, clean = np.array([0.3, -0.5, 1.0, 0.0]), np.array([0.1, 0.5, 1.0, 2.0])
  rows = np.random.default_rng(1).normal(size=(3, 4))
  score = -(rows - mean) / (clean + variance)
  denoised = gradient.denoise(*(tf.constant(value, tf.float32) for value in (rows, score, variance)))
  np.testing.assert_allclose(denoised.numpy(), mean + clean / (clean + variance) * (rows - mean), rtol=1e-5, atol=1e-5)
