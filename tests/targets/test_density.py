"""log π_w against its formula; its gradient against differences and autodiff; the jump in image coordinates."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.preconditioners import build
from stic_tf.preconditioners import statistics as statistics_lib
from stic_tf.targets import class_grams
from stic_tf.targets import density
from stic_tf.targets import energies

IMAGE_SHAPE, NUM_CLASSES, BATCH = (4, 4, 3), 4, 5
SIZE = int(np.prod(IMAGE_SHAPE))


def _network():
  """A small smooth network: images -> (logits [B, K], [features, features])."""
  rng = np.random.default_rng(0)
  kernels = [tf.constant(0.4 * rng.normal(size=shape), tf.float32) for shape in ((3, 3, 3, 6), (3, 3, 6, 4))]
  dense = tf.constant(rng.normal(size=(2 * 2 * 4, NUM_CLASSES)), tf.float32)

  def logits_and_features(images):
    first = tf.nn.silu(tf.nn.conv2d(images, kernels[0], 1, "SAME"))
    second = tf.nn.silu(tf.nn.conv2d(first, kernels[1], 2, "SAME"))
    return tf.matmul(tf.reshape(second, [-1, 16]), dense), [first, second]

  return logits_and_features


def _class_grams(logits_and_features):
  images = tf.constant(np.random.default_rng(1).normal(size=(20, *IMAGE_SHAPE)), tf.float32)
  grams = class_grams.ClassGrams(NUM_CLASSES, [6, 4])
  grams.update(logits_and_features(images)[1], tf.range(20) % NUM_CLASSES)
  return grams


def _make(preconditioner_name="gram", reference="gaussian", gram_weight=0.0):
  network = _network()
  if gram_weight:
    energy = energies.ClassEnergy(network, _class_grams(network), gram_weight)
  else:
    energy = energies.ClassEnergy(network)
  preconditioner = build.build(preconditioner_name, IMAGE_SHAPE)
  images = np.random.default_rng(2).normal(size=(300, *IMAGE_SHAPE))
  images = 0.4 * (images + np.roll(images, 1, axis=1)) + 0.1
  preconditioner.fit(statistics_lib.ImageStatistics.fit(images), 0.3)
  return density.Target(energy, preconditioner, IMAGE_SHAPE, preconditioner if reference == "gaussian" else None)


def _log_density(target, whitened, weights, temperature):
  """log π_w, put together anew."""
  energy, _ = target.energy(target.to_images(whitened), target.energy.condition(weights))
  return energy / temperature + target.log_reference(whitened)


def _log_density_and_gradient(target, whitened, weights, temperature):
  return target.whitened(weights, temperature)(whitened)


def _inputs():
  """Whitened coordinates, class weights (hard and soft) and temperatures."""
  rng = np.random.default_rng(3)
  whitened = tf.constant(rng.normal(size=(BATCH, SIZE)), tf.float32)
  weights = np.concatenate([np.eye(NUM_CLASSES)[:2], rng.dirichlet(np.ones(NUM_CLASSES), BATCH - 2)])
  return whitened, tf.constant(weights, tf.float32), tf.constant(rng.uniform(0.3, 2.0, BATCH), tf.float32)


VARIANTS = pytest.mark.parametrize("variant", [
    {}, {"reference": "flat"}, {"preconditioner_name": "spectral"}, {"preconditioner_name": "identity"},
    {"gram_weight": 3.0}, {"gram_weight": 0.7, "preconditioner_name": "spectral", "reference": "flat"},
], ids=str)


@VARIANTS
def test_log_density_is_the_formula(variant):
  target = _make(**variant)
  whitened, weights, temperature = _inputs()
  images = target.to_images(whitened)
  logits, features = _network()(images)
  energy = np.sum(logits.numpy() * weights.numpy(), axis=1)
  if variant.get("gram_weight"):
    means = [np.einsum("bk,kij->bij", weights.numpy(), mean.numpy()) for mean in _class_grams(_network()).means]
    for layer, mean in zip(features, means):
      difference = class_grams.gram_matrix(layer).numpy() - mean
      energy -= variant["gram_weight"] * np.square(difference).sum(axis=(1, 2)) / np.square(mean).sum(axis=(1, 2))
  expected = energy / temperature.numpy()
  if variant.get("reference") != "flat":
    rows = (images.numpy().reshape(BATCH, -1) - target.preconditioner.mean.numpy()).astype(np.float64)
    factor = target.preconditioner.color(tf.eye(SIZE)).numpy().T.astype(np.float64)
    expected -= 0.5 * np.sum(rows * np.linalg.solve(factor @ factor.T, rows.T).T, axis=1)
  np.testing.assert_allclose(_log_density(target, whitened, weights, temperature).numpy(), expected, rtol=1e-4,
                             atol=1e-3)


@VARIANTS
def test_gradient_against_autodiff_and_differences(variant):
  target = _make(**variant)
  whitened, weights, temperature = _inputs()
  log_density, gradient = _log_density_and_gradient(target, whitened, weights, temperature)
  with tf.GradientTape() as tape:
    tape.watch(whitened)
    direct = _log_density(target, whitened, weights, temperature)
  np.testing.assert_allclose(log_density.numpy(), direct.numpy(), rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(gradient.numpy(), tape.gradient(direct, whitened).numpy(), rtol=1e-4, atol=2e-4)

  rng = np.random.default_rng(4)
  for _ in range(3):
    direction = rng.normal(size=(BATCH, SIZE)).astype(np.float32)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    slopes = []
    for width in (0.04, 0.02):
      above, below = (_log_density(target, whitened + sign * width * direction, weights, temperature).numpy()
                      for sign in (1, -1))
      slopes.append((above - below).astype(np.float64) / (2 * width))
    richardson = (4 * slopes[1] - slopes[0]) / 3
    np.testing.assert_allclose(np.sum(gradient.numpy() * direction, axis=1), richardson, rtol=5e-3, atol=5e-3)


def test_gradient_of_an_image_does_not_depend_on_the_others():
  target = _make(gram_weight=2.0)
  whitened, weights, temperature = _inputs()
  _, together = _log_density_and_gradient(target, whitened, weights, temperature)
  for row in range(BATCH):
    part = slice(row, row + 1)
    _, alone = _log_density_and_gradient(target, whitened[part], weights[part], temperature[part])
    np.testing.assert_allclose(alone.numpy(), together.numpy()[part], rtol=1e-4, atol=1e-4)


def test_temperature_divides_the_energy_and_not_the_reference():
  target, flat = _make(), _make(reference="flat")
  whitened, weights, _ = _inputs()
  cold, warm = (tf.fill([BATCH], value) for value in (0.5, 1.0))
  reference = _log_density(target, whitened, weights, warm) - _log_density(flat, whitened, weights, warm)
  expected = 2 * _log_density(flat, whitened, weights, warm) + reference
  np.testing.assert_allclose(_log_density(target, whitened, weights, cold).numpy(), expected.numpy(), rtol=1e-4)


@VARIANTS
def test_jump_is_x_plus_s2_times_the_models_own_score_in_images(variant):
  """At any temperature of the walk: that of the gradient is taken out again."""
  target = _make(**variant)
  whitened, weights, temperature = _inputs()
  images = target.to_images(whitened)
  with tf.GradientTape() as tape:
    tape.watch(images)
    log_density = _log_density(target, target.to_whitened(images), weights, tf.ones([BATCH]))
  score = tape.gradient(log_density, images)
  _, gradient = _log_density_and_gradient(target, whitened, weights, temperature)
  noise_level = 0.3
  np.testing.assert_allclose(target.jump(whitened, gradient, tf.constant(noise_level), temperature).numpy(),
                             (images + noise_level ** 2 * score).numpy(), rtol=1e-3, atol=1e-3)
  np.testing.assert_array_equal(target.jump(whitened, gradient, tf.constant(0.0), temperature).numpy(), images.numpy())


@pytest.mark.parametrize("name", ["identity", "spectral"])
def test_another_preconditioner_walks_in_the_same_density(name):
  """q0 is that of the images whatever M is: log π and its gradient in pixels differ by a constant and by nothing."""
  target, weights, temperature = _make(), *_inputs()[1:]
  rows = target.preconditioner.to_rows(_inputs()[0])
  other = _make(name).preconditioner
  walked_otherwise, changed = (density.Target(target.energy, other, IMAGE_SHAPE, reference)
                               for reference in (target.preconditioner, other))

  def of(walked):
    log_density, gradient = walked.whitened(weights, temperature)(walked.preconditioner.to_whitened(rows))
    return log_density.numpy() - log_density.numpy()[0], walked.preconditioner.whiten_transpose(gradient).numpy()

  (expected, score), (found, found_score), (bad, _) = map(of, (target, walked_otherwise, changed))
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-2)
  np.testing.assert_allclose(found_score, score, rtol=1e-3, atol=1e-2)
  assert np.abs(bad - expected).max() > 0.1  # the negative control: q0 by the preconditioner itself
  images = walked_otherwise.to_images(walked_otherwise.blank(_inputs()[0]))
  np.testing.assert_allclose(images, target.to_images(_inputs()[0]), atol=1e-4)
  of_pixels = walked_otherwise.jump_of_pixels(rows, tf.constant(score), tf.constant(0.3), temperature)
  jumped = target.jump(target.to_whitened(rows), target.preconditioner.color_transpose(tf.constant(score)),
                       tf.constant(0.3), temperature)
  np.testing.assert_allclose(of_pixels, jumped, atol=1e-2)


def test_the_jump_of_pure_noise_is_tweedie():
  """With a constant energy and M = C + s²·I the jump is the posterior mean of the clean image."""
  preconditioner = build.build("gram", IMAGE_SHAPE)
  statistics = statistics_lib.ImageStatistics.fit(0.5 * np.random.default_rng(5).normal(size=(100, *IMAGE_SHAPE)) + 0.2)
  preconditioner.fit(statistics, 0.4)
  target = density.Target(
      energies.ClassEnergy(lambda images: (tf.zeros([BATCH, NUM_CLASSES]) * tf.reduce_sum(images), [])), preconditioner,
      IMAGE_SHAPE, preconditioner)
  whitened, weights, temperature = _inputs()
  rows = target.preconditioner.to_rows(whitened).numpy().astype(np.float64)
  _, gradient = _log_density_and_gradient(target, whitened, weights, temperature)
  noisy = statistics.covariance + 0.4 ** 2 * np.eye(SIZE)
  expected = statistics.mean + (rows - statistics.mean) @ np.linalg.solve(noisy, statistics.covariance)
  np.testing.assert_allclose(target.jump(whitened, gradient, tf.constant(0.4), temperature).numpy().reshape(BATCH, -1),
                             expected, atol=1e-4)


def test_whitened_and_images_are_inverse():
  for name in ("gram", "spectral", "identity", "pixels"):
    target = _make(name)
    whitened, _, _ = _inputs()
    images = target.to_images(whitened)
    assert images.shape == (BATCH, *IMAGE_SHAPE)
    np.testing.assert_allclose(target.to_whitened(images).numpy(), whitened.numpy(), atol=2e-5)
