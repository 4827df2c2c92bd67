"""The noise-conditional energy classifier: its gradient is the score that denoises, its energies are the classifier."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.models import build

SHAPE, NUM_CLASSES = (8, 8, 1), 3


def _network(shape=SHAPE, width=8, blocks=1, seed=0):
  """A network whose outputs are no longer small, as a trained one's are not."""
  network = build.build_network(config_lib.ModelConfig(model="score", width=width, blocks=blocks), shape, NUM_CLASSES,
                                seed)
  network.set_moments(np.full(shape, -0.3), 0.5)
  for variable in network.trainable_variables:
    if variable.name.endswith("kernel:0") and ("energy" in variable.name or "evidence" in variable.name):
      variable.assign(20.0 * variable)
    if "project" in variable.name:  # else no noise level would differ from another
      variable.assign(0.3 * tf.random.stateless_normal(variable.shape, [0, 1]))
  return network


def _images(count=6, shape=SHAPE, seed=0):
  return tf.constant(np.random.default_rng(seed).normal(-0.3, 0.5, [count, *shape]), tf.float32)


def _score(network, images, levels, label):
  with tf.GradientTape() as tape:
    tape.watch(images)
    energy = build.level_energies(network, images, levels)[0][:, label]
  return tape.gradient(energy, images)


@pytest.fixture(scope="module")
def network():
  return _network()


@pytest.mark.parametrize("level", [0.05, 0.5, 5.0])
def test_the_score_is_the_slope_of_the_energy(network, level):
  """Central differences along random directions; an error of 2 % of a slope would be found."""
  images, levels = _images(), tf.fill([6], level)
  direction = tf.constant(np.random.default_rng(1).normal(size=images.shape), tf.float32)
  step = 0.02 * (level ** 2 + 0.5 ** 2) ** 0.5
  ahead, behind = (build.level_energies(network, images + sign * step * direction, levels)[0][:, 1] for sign in (1, -1))
  slope = tf.reduce_sum(_score(network, images, levels, 1) * direction, axis=[1, 2, 3])
  np.testing.assert_allclose((ahead - behind) / (2 * step), slope, rtol=0.02, atol=0.02 * np.abs(slope).mean())


def test_without_noise_the_denoiser_gives_back_its_input(network):
  images = _images()
  errors = []
  for level in (1e-3, 1e-2, 1e-1, 1.0):
    denoised = images + level ** 2 * _score(network, images, tf.fill([6], level), 0)
    errors.append(float(tf.reduce_max(tf.abs(denoised - images))))
  assert errors[0] < 0.02 and (np.diff(errors) > 0).all() and errors[-1] > 0.1


def test_the_denoiser_is_that_of_edm(network):
  """D = μ + c_skip (x - μ) + c_out F, with F the gradient of the trunk (Karras et al. 2022, table 1)."""
  images, level, scale = _images(), 0.7, 0.5
  scaled = (images + 0.3) / np.hypot(level, scale)
  with tf.GradientTape() as tape:
    tape.watch(scaled)
    energy = network.trunk([scaled, tf.fill([6], np.float32(0.25 * np.log(level)))])[0][:, 2]
  inner = tape.gradient(energy, scaled)
  expected = (-0.3 + scale ** 2 / (level ** 2 + scale ** 2) * (images + 0.3)
              + level * scale / np.hypot(level, scale) * inner)
  denoised = images + level ** 2 * _score(network, images, tf.fill([6], level), 2)
  np.testing.assert_allclose(denoised, expected, atol=1e-4)


def test_the_classifier_is_that_of_the_energies(network):
  """log p(i | x) - log p(j | x) = f_i - f_j, whatever the part that all classes share."""
  images = _images()
  logits = build.logits(network, images, 0.3).numpy()
  energies, evidence = build.level_energies(network, images, tf.fill([6], 0.3))
  assert energies.shape == evidence.shape == (6, NUM_CLASSES)
  np.testing.assert_allclose(logits, energies, rtol=1e-5)
  log_probabilities = tf.math.log(tf.nn.softmax(logits)).numpy()
  np.testing.assert_allclose(log_probabilities[:, 0] - log_probabilities[:, 1], logits[:, 0] - logits[:, 1], atol=1e-3)
  assert np.abs(logits - build.logits(network, images, 0.6).numpy()).max() > 1e-3


def test_an_image_does_not_see_its_neighbours(network):
  images, levels = _images(), tf.constant([0.1, 0.2, 0.4, 0.8, 1.6, 3.2])
  together = build.level_energies(network, images, levels)[0]
  alone = build.level_energies(network, images[2:3], levels[2:3])[0]
  np.testing.assert_allclose(together[2:3], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3)], ids=str)
def test_sizes(shape):
  """Attention is there from 32 pixels up; the same seed gives the same weights, another others."""
  networks = [_network(shape, width=4, seed=seed) for seed in (0, 0, 1)]
  energies = [build.level_energies(network, _images(2, shape), tf.constant([0.1, 1.0]))[0] for network in networks]
  assert energies[0].shape == (2, NUM_CLASSES) and np.isfinite(energies[0]).all()
  np.testing.assert_array_equal(energies[0], energies[1])
  assert np.abs(energies[0] - energies[2]).max() > 0
  attends = [layer.name for layer in networks[0].trunk.layers if "attention" in layer.name]
  assert bool(attends) == (shape[0] >= 32)
