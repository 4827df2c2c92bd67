"""Class energies of both kinds of classifiers, and what a stroke asks of the density."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import sparse_weights
from stic_tf.preconditioners import build
from stic_tf.preconditioners import statistics as statistics_lib
from stic_tf.targets import class_grams
from stic_tf.targets import density
from stic_tf.targets import energies

IMAGE_SHAPE, NUM_CLASSES, BATCH, TILES = (4, 4, 2), 12, 3, 4
SIZE = int(np.prod(IMAGE_SHAPE))
WEIGHTS = np.zeros([BATCH, NUM_CLASSES], np.float32)
WEIGHTS[0, 1], WEIGHTS[1, [0, 11]], WEIGHTS[2, [2, 3, 4]] = 1.0, (0.25, 0.75), (0.2, 0.3, 0.5)


class Classifier:
  """Logits and features, and the same read a few classes at a time, as an attentive network does."""

  def __init__(self):
    rng = np.random.default_rng(0)
    self.kernel = tf.constant(rng.normal(size=(2, 3)), tf.float32)
    self.readout = tf.constant(rng.normal(size=(SIZE // 2 * 3, NUM_CLASSES)), tf.float32)
    self.looks = tf.constant(rng.normal(size=(NUM_CLASSES, TILES)), tf.float32)
    self.sizes = []

  def logits_and_features(self, images):
    features = tf.tanh(tf.tensordot(images, self.kernel, 1))
    return tf.matmul(tf.reshape(features, [tf.shape(images)[0], -1]), self.readout), [features]

  def read(self, images, sparse, all_classes=False):
    self.sizes.append(sparse.classes.shape[1])
    logits, features = self.logits_and_features(images)
    energy = tf.reduce_sum(tf.gather(logits, sparse.classes, batch_dims=1) * sparse.weights, axis=1)
    looks = tf.reduce_sum(tf.gather(self.looks, sparse.classes) * sparse.weights[..., tf.newaxis], axis=1)
    attention = tf.nn.softmax(looks * tf.reduce_mean(images, axis=[1, 2, 3])[:, tf.newaxis])
    return energy, attention, features, tf.reduce_logsumexp(logits, axis=1) if all_classes else None


def _images(count=BATCH, seed=1):
  return tf.constant(np.random.default_rng(seed).normal(size=(count, *IMAGE_SHAPE)), tf.float32)


def _grams(classifier):
  grams = class_grams.ClassGrams(NUM_CLASSES, [3])
  grams.update(classifier.logits_and_features(_images(20, 2))[1], tf.range(20) % NUM_CLASSES)
  return grams


def test_weighted_logit():
  logits = np.random.default_rng(3).normal(size=WEIGHTS.shape).astype(np.float32)
  found = energies.weighted_logit(tf.constant(logits), tf.constant(WEIGHTS)).numpy()
  np.testing.assert_allclose(found, [logits[0, 1], 0.25 * logits[1, 0] + 0.75 * logits[1, 11],
                                     logits[2, 2:5] @ [0.2, 0.3, 0.5]], rtol=1e-5)


def test_guidance_is_a_power_of_the_posterior():
  """Each row its own γ; at -1 nothing is left of the class."""
  logits = np.random.default_rng(3).normal(size=WEIGHTS.shape).astype(np.float32)
  guidance = np.array([-1.0, 0.0, 3.0], np.float32)
  own, anyone = (logits * WEIGHTS).sum(1), np.log(np.exp(logits).sum(1))
  found = energies.guided(tf.constant(own), tf.constant(anyone), tf.constant(guidance)).numpy()
  np.testing.assert_allclose(found, own + guidance * (own - anyone), rtol=1e-5)
  np.testing.assert_allclose(found[0], anyone[0], rtol=1e-5)


@pytest.mark.parametrize("gram_weight", [0.0, 2.0])
def test_one_energy_whether_all_logits_or_some_classes_are_read(gram_weight):
  classifier, images, weights = Classifier(), _images(), tf.constant(WEIGHTS)
  grams = _grams(classifier)
  whole = energies.ClassEnergy(classifier.logits_and_features, grams, gram_weight)
  some = energies.AttentiveEnergy(classifier.read, grams, gram_weight)
  expected, nothing = whole(images, whole.condition(weights))
  found, attention = some(images, some.condition(weights))
  np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)
  assert nothing == () and attention.shape == (BATCH, TILES)
  assert classifier.sizes == [sparse_weights.MOST_CLASSES] and NUM_CLASSES > sparse_weights.MOST_CLASSES  # one pass
  logits = classifier.logits_and_features(images)[0].numpy()
  plain = (logits * WEIGHTS).sum(axis=1)
  assert np.allclose(found.numpy(), plain, atol=1e-3) == (gram_weight == 0)
  guidance = tf.constant([-1.0, 0.5, 4.0])
  guided, _ = whole(images, whole.condition(weights, guidance))
  np.testing.assert_allclose(some(images, some.condition(weights, guidance))[0].numpy(), guided.numpy(), rtol=1e-4,
                             atol=1e-4)
  anyone = np.log(np.exp(logits).sum(1))
  np.testing.assert_allclose(guided - expected, guidance * (plain - anyone), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("guidance", [None, [0.5, -1.0, 6.0]], ids=str)
@pytest.mark.parametrize("reference", ["gaussian", "flat"])
def test_a_strokes_density_is_that_of_whitened_coordinates(reference, guidance):
  """log π is the same in both, and ∇_u = Lᵀ ∇_x; here with a factor L that is not symmetric."""
  classifier, weights, temperature = Classifier(), tf.constant(WEIGHTS), tf.constant([0.5, 1.0, 2.0])
  preconditioner = build.build("gram", IMAGE_SHAPE)
  preconditioner.fit(statistics_lib.ImageStatistics.fit(np.cumsum(_images(200, 4).numpy(), axis=1)), 0.3)
  target = density.Target(energies.AttentiveEnergy(classifier.read, _grams(classifier), 1.0), preconditioner,
                          IMAGE_SHAPE, preconditioner if reference == "gaussian" else None)
  rows = tf.reshape(_images(seed=5), [BATCH, SIZE])
  guidance = None if guidance is None else tf.constant(guidance)
  log_density, gradient, log_choice = target.pixels(weights, temperature, guidance)(rows)
  expected, whitened_gradient = target.whitened(weights, temperature, guidance)(preconditioner.to_whitened(rows))
  np.testing.assert_allclose(log_density.numpy(), expected.numpy(), rtol=1e-4, atol=1e-3)
  np.testing.assert_allclose(preconditioner.color_transpose(gradient).numpy(), whitened_gradient.numpy(), rtol=1e-3,
                             atol=1e-3)
  assert np.abs(preconditioner.color(gradient).numpy() - whitened_gradient.numpy()).max() > 0.1  # the negative control
  _, attention, _, _ = classifier.read(tf.reshape(rows, [-1, *IMAGE_SHAPE]), sparse_weights.of_dense(weights))
  np.testing.assert_allclose(np.exp(log_choice.numpy()), 0.9 * attention.numpy() + 0.1 / TILES, rtol=1e-5)
