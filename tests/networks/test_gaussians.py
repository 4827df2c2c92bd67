"""The Gaussians that energies are corrections of: their denoisers, and the bits of their transforms."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.networks import gaussians
from stic_tf.preconditioners import statistics as statistics_lib

SHAPE = (12, 10, 3)


def _images(count: int, shape=SHAPE, seed: int = 0) -> np.ndarray:
  """Smooth, of correlated colours, about a mean of 0.2."""
  rng = np.random.default_rng(seed)
  waves = rng.normal(size=(count, *shape)).cumsum(1).cumsum(2)
  mixed = waves @ rng.normal(size=(shape[2], shape[2]))
  return 0.2 + 0.5 * (mixed - mixed.mean(0)) / mixed.std()


def _fitted(kind, images):
  statistics, gaussian = statistics_lib.ImageStatistics.fit(images), kind(images.shape[1:])
  gaussian.fit(statistics)
  return gaussian, statistics.mean.reshape(images.shape[1:])


def _denoised(gaussian, centred, level: float):
  """x + σ² ∇ log density, less the mean."""
  centred, levels = tf.constant(centred, tf.float32), tf.fill([len(centred)], level)
  with tf.GradientTape() as tape:
    tape.watch(centred)
    energy = gaussian.log_density(centred, levels)
  return (centred + level ** 2 * tape.gradient(energy, centred)).numpy()


def test_with_equal_variances_both_are_one():
  isotropic, cosine = gaussians.Isotropic(SHAPE), gaussians.Cosine(SHAPE)
  isotropic.data_scale.assign(0.6)
  cosine.data_scale.assign(0.6)
  cosine.spectrum.assign(tf.fill(SHAPE, 0.36))
  cosine.colours.assign(np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0])
  images, levels = tf.constant(_images(4), tf.float32), tf.constant([0.02, 0.3, 1.0, 20.0])
  for method in ("log_density", "scaled"):
    np.testing.assert_allclose(getattr(cosine, method)(images, levels), getattr(isotropic, method)(images, levels),
                               rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(cosine.denoising_error(levels), isotropic.denoising_error(levels), rtol=1e-5)
  np.testing.assert_allclose(cosine.gain(levels), 0.6 / levels, rtol=1e-6)


@pytest.mark.parametrize("level", [0.1, 0.5, 2.0])
def test_of_a_point_the_trunk_predicts_the_image(level):
  """σ_d ∇g, whatever the noise; beside EDM's, through which noise passes."""
  images = _images(200)
  rows, direction = images[:2] - images.mean(0), tf.constant(_images(1, seed=4), tf.float32)
  denoised = {}
  for kind in (gaussians.Point, gaussians.Isotropic):
    gaussian, _ = _fitted(kind, images)
    centred, levels = tf.constant(rows, tf.float32), tf.fill([2], level)
    with tf.GradientTape() as tape:
      tape.watch(centred)
      learnt = tf.reduce_sum(direction * gaussian.scaled(centred, levels), axis=[1, 2, 3])
      energy = gaussian.log_density(centred, levels) + gaussian.gain(levels) * learnt
    denoised[kind] = (centred + level ** 2 * tape.gradient(energy, centred)).numpy()
  predicted = float(np.std(images - images.mean(0))) * np.tile(direction, (2, 1, 1, 1))
  np.testing.assert_allclose(denoised[gaussians.Point], predicted, atol=2e-3)
  assert np.abs(denoised[gaussians.Isotropic] - predicted).mean() > 2e-3
  point, _ = _fitted(gaussians.Point, images)
  errors = point.denoising_error(tf.constant([0.1, 3.0]))
  np.testing.assert_allclose(errors, np.mean(np.square(images - images.mean(0))), rtol=1e-4)


@pytest.mark.parametrize("kind", [gaussians.Isotropic, gaussians.Cosine])
@pytest.mark.parametrize("level", [0.05, 0.5, 3.0])
def test_its_denoiser_errs_as_it_says(kind, level):
  """4000 images of 360 numbers: the mean of the squares has a standard error of some 0.5 %, and 4 % are allowed."""
  images = _images(4000)
  gaussian, mean = _fitted(kind, images)
  noise = level * np.random.default_rng(2).normal(size=images.shape)
  error = np.mean(np.square(_denoised(gaussian, images - mean + noise, level) - (images - mean)))
  said = float(gaussian.denoising_error(tf.constant([level]))[0])
  np.testing.assert_allclose(error, said, rtol=0.04)
  # A filter for quite other noise errs more: the test can tell.
  other = 1.0 if level < 0.1 else 0.1
  wrong = np.mean(np.square(_denoised(gaussian, images - mean + noise, other) - (images - mean)))
  assert wrong > 1.04 * said


def test_waves_denoise_better_than_one_variance():
  """What is smooth, that is."""
  images, levels = _images(2000), tf.constant([0.1, 0.5, 2.0])
  cosine, isotropic = (_fitted(kind, images)[0] for kind in (gaussians.Cosine, gaussians.Isotropic))
  assert (cosine.denoising_error(levels) < 0.7 * isotropic.denoising_error(levels)).numpy().all()
  white = np.random.default_rng(3).normal(size=(2000, *SHAPE))
  cosine, isotropic = (_fitted(kind, white)[0] for kind in (gaussians.Cosine, gaussians.Isotropic))
  np.testing.assert_allclose(cosine.denoising_error(levels), isotropic.denoising_error(levels), rtol=0.02)


def test_waves_there_and_back():
  cosine, _ = _fitted(gaussians.Cosine, _images(500))
  images = tf.constant(_images(3, seed=5), tf.float32)
  waves = cosine._waves(images)
  np.testing.assert_allclose(cosine._images(waves), images, atol=1e-4)
  np.testing.assert_allclose(tf.reduce_sum(waves ** 2), tf.reduce_sum(images ** 2), rtol=1e-4)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3)], ids=str)
def test_a_row_has_the_same_bits_in_any_company(shape):
  """Of 16 rows and 32, which are what a sampler moves (drawing_classifier.py)."""
  cosine, _ = _fitted(gaussians.Cosine, _images(300, shape))

  @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, *shape])])
  def of_rows(images):
    levels = tf.fill([tf.shape(images)[0]], 0.3)
    with tf.GradientTape() as tape:
      tape.watch(images)
      density = cosine.log_density(images, levels)
      scaled = cosine.scaled(images, levels)
      both = density + tf.reduce_sum(tf.reduce_sum(tf.sin(scaled), axis=[2, 3]), axis=1)
    return density, scaled, tape.gradient(both, images)

  images = _images(96, shape, seed=7).astype(np.float32)
  whole = [value.numpy() for value in of_rows(images)]
  for start, count in ((0, 16), (16, 32), (48, 16), (32, 64)):
    for value, expected in zip(of_rows(images[start:start + count]), whole):
      np.testing.assert_array_equal(value, expected[start:start + count], err_msg=f"{count} from {start}")
