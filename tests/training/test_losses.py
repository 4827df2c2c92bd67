"""The losses against hand formulas, and the directions in which they push."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.training import losses

REAL = np.array([2.0, -1.0, 0.5], np.float32)
FAKE = np.array([1.0, 3.0], np.float32)


def _gradients(loss, energy_decay=0.0):
  real, fake = tf.constant(REAL), tf.constant(FAKE)
  with tf.GradientTape() as tape:
    tape.watch([real, fake])
    value = loss(real, fake, energy_decay)
  return [gradient.numpy() for gradient in tape.gradient(value, [real, fake])]


def test_soft_cross_entropy():
  logits = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 5.0]], np.float32)
  labels = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], np.float32)
  log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  expected = -(labels * log_softmax).sum(1).mean()
  assert float(losses.soft_cross_entropy(labels, logits)) == pytest.approx(expected, rel=1e-6)


def test_contrastive():
  expected = 2.0 - 0.5 + 0.1 * (5.0 + 5.25 / 3)
  assert float(losses.contrastive(REAL, FAKE, 0.1)) == pytest.approx(expected, rel=1e-6)


def test_logistic():
  expected = np.log1p(np.exp(FAKE)).mean() + np.log1p(np.exp(-REAL)).mean()
  assert float(losses.logistic(REAL, FAKE, 0.1)) == pytest.approx(expected, rel=1e-6)


def test_contrastive_pulls_all_alike():
  real, fake = _gradients(losses.contrastive)
  np.testing.assert_allclose(real, [-1 / 3] * 3, rtol=1e-6)
  np.testing.assert_allclose(fake, [1 / 2] * 2, rtol=1e-6)


def test_energy_decay_draws_energies_to_nought():
  plain, decayed = _gradients(losses.contrastive), _gradients(losses.contrastive, 0.1)
  np.testing.assert_allclose(decayed[0] - plain[0], 0.2 * REAL / 3, atol=1e-6)
  np.testing.assert_allclose(decayed[1] - plain[1], 0.2 * FAKE / 2, atol=1e-6)


def test_logistic_pulls_most_where_it_is_wrong():
  real, fake = _gradients(losses.logistic)
  np.testing.assert_allclose(real, -1 / (1 + np.exp(REAL)) / 3, rtol=1e-5)
  np.testing.assert_allclose(fake, 1 / (1 + np.exp(-FAKE)) / 2, rtol=1e-5)


@pytest.mark.parametrize("loss", losses.BY_NAME.values(), ids=losses.BY_NAME)
def test_large_energies_stay_finite(loss):
  assert np.isfinite(float(loss(np.float32([1e4, -1e4]), np.float32([1e4, -1e4]), 0.01)))


def test_denoising_weighs_levels_as_edm():
  """A network that answers with the linear denoiser of N(0, σ_d²), which errs by (σ σ_d)² / (σ² + σ_d²), pays 1."""
  rng = np.random.default_rng(0)
  clean = 0.5 * rng.normal(size=(4000, 4, 4, 1)).astype(np.float32)
  for level in (0.05, 0.5, 5.0):
    noisy = clean + level * rng.normal(size=clean.shape).astype(np.float32)
    loss = losses.denoising(noisy * 0.25 / (level ** 2 + 0.25), clean,
                            tf.fill([4000], 0.25 * level ** 2 / (level ** 2 + 0.25)))
    assert float(loss) == pytest.approx(1.0, rel=0.03)
