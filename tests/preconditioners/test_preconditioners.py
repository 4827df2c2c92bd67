"""Preconditioners against dense float64 linear algebra."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.preconditioners import build
from stic_tf.preconditioners import dense
from stic_tf.preconditioners import low_rank
from stic_tf.preconditioners import spectral as spectral_lib
from stic_tf.preconditioners import statistics as statistics_lib
from tests import statistical

NOISE_LEVEL = 0.3
SHAPES = ((4, 4, 1), (4, 6, 3), (5, 3, 2))  # odd and even sides, one channel and several


def _correlated_images(image_shape, count, seed=0):
  """Smooth images whose channels go together, in [-1, 1]."""
  rng = np.random.default_rng(seed)
  images = rng.normal(size=(count, *image_shape))
  images = images + np.roll(images, 1, axis=1) + 0.5 * np.roll(images, 1, axis=2)
  images = images @ (np.eye(image_shape[2]) + 0.5 * rng.normal(size=(image_shape[2], image_shape[2])))
  return np.tanh(0.5 * images + 0.3)


def _circulant_images(image_shape, count=3, seed=0):
  """All cyclic shifts of a few images: their moments are circulant exactly."""
  height, width, _ = image_shape
  images = _correlated_images(image_shape, count, seed)
  return np.concatenate([np.roll(images, (down, right), axis=(1, 2))
                         for down in range(height) for right in range(width)])


def _fitted(name, images, noise_level=NOISE_LEVEL):
  preconditioner = build.build(name, images.shape[1:])
  preconditioner.fit(statistics_lib.ImageStatistics.fit(images), noise_level)
  return preconditioner


def _factor(preconditioner):
  """L as a matrix, float64."""
  return preconditioner.color(tf.eye(preconditioner.size)).numpy().T.astype(np.float64)


def _covariance(images, noise_level=NOISE_LEVEL):
  flat = images.reshape(len(images), -1)
  return np.cov(flat.T, bias=True) + noise_level ** 2 * np.eye(flat.shape[1])


@pytest.mark.parametrize("image_shape", SHAPES)
def test_dense_is_the_second_moment_matrix(image_shape):
  images = _correlated_images(image_shape, 200)
  preconditioner = _fitted("gram", images)
  assert isinstance(preconditioner, dense.Dense)
  factor = _factor(preconditioner)
  np.testing.assert_allclose(factor @ factor.T, _covariance(images), atol=1e-6)
  np.testing.assert_allclose(preconditioner.mean.numpy(), images.mean(axis=0).reshape(-1), atol=1e-6)


@pytest.mark.parametrize("image_shape", SHAPES)
def test_spectral_is_dense_on_circulant_data(image_shape):
  images = _circulant_images(image_shape)
  spectral, dense = _fitted("spectral", images), _fitted("gram", images)
  assert isinstance(spectral, spectral_lib.Spectral)
  root, factor = _factor(spectral), _factor(dense)
  np.testing.assert_allclose(root @ root.T, factor @ factor.T, atol=2e-6)
  np.testing.assert_allclose(root @ root.T, _covariance(images), atol=2e-6)
  np.testing.assert_allclose(root, root.T, atol=2e-6)  # the symmetric root
  np.testing.assert_allclose(spectral.mean.numpy(), dense.mean.numpy())
  # So N(mean, M) has one density by both: |L⁻¹ v|² does not depend on the root chosen.
  rows = tf.constant(np.random.default_rng(1).normal(size=(5, spectral.size)), tf.float32)
  np.testing.assert_allclose(np.square(spectral.whiten(rows)).sum(axis=1), np.square(dense.whiten(rows)).sum(axis=1),
                             rtol=1e-4)


def test_circulant_data_are_needed_for_that():
  """The negative control: on other images the two differ, and by more than the tolerance above."""
  images = _correlated_images((4, 4, 1), 20)
  root, factor = _factor(_fitted("spectral", images)), _factor(_fitted("gram", images))
  assert np.abs(root @ root.T - factor @ factor.T).max() > 1e-2


@pytest.mark.parametrize("image_shape", SHAPES)
def test_spectral_is_the_mean_of_dense_along_its_diagonals(image_shape):
  """On any images the circulant form is the average of M over all shifts."""
  images = _correlated_images(image_shape, 30)
  height, width, channels = image_shape
  dense = (_covariance(images, 0.0)).reshape(height, width, channels, height, width, channels)
  averaged = np.mean([np.roll(dense, (down, right, down, right), axis=(0, 1, 3, 4))
                      for down in range(height) for right in range(width)], axis=0)
  size = height * width * channels
  root = _factor(_fitted("spectral", images))
  np.testing.assert_allclose(root @ root.T, averaged.reshape(size, size) + NOISE_LEVEL ** 2 * np.eye(size), atol=2e-6)


@pytest.mark.parametrize("name", ["gram", "spectral", "identity", "pixels"])
@pytest.mark.parametrize("image_shape", SHAPES)
def test_inverses_and_transposes(name, image_shape):
  preconditioner = _fitted(name, _correlated_images(image_shape, 200))
  rng = np.random.default_rng(2)
  first, second = (tf.constant(rng.normal(size=(6, preconditioner.size)), tf.float32) for _ in range(2))

  def inner(left, right):
    return np.sum(left.numpy().astype(np.float64) * right.numpy(), axis=1)

  for color, undo in ((preconditioner.color, preconditioner.whiten),
                      (preconditioner.color_transpose, preconditioner.whiten_transpose),
                      (preconditioner.to_rows, preconditioner.to_whitened)):
    np.testing.assert_allclose(undo(color(first)).numpy(), first.numpy(), atol=2e-5)
    np.testing.assert_allclose(color(undo(first)).numpy(), first.numpy(), atol=2e-5)
  np.testing.assert_allclose(inner(preconditioner.color(first), second),
                             inner(first, preconditioner.color_transpose(second)), rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(inner(preconditioner.whiten(first), second),
                             inner(first, preconditioner.whiten_transpose(second)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["gram", "spectral"])
def test_coloured_normals_have_the_covariance_m(name):
  # 40,000 of 12: an entry of M off by 5 % of its variance is found.
  image_shape, count = (2, 2, 3), 40000
  assert statistical.z_power(0.05 / np.sqrt(2), count, hypotheses=78) > 0.9
  images = _circulant_images(image_shape)
  preconditioner = _fitted(name, images)
  normals = np.random.default_rng(7).normal(size=(count, preconditioner.size))
  rows = preconditioner.to_rows(tf.constant(normals, tf.float32)).numpy()

  def p_value(covariance):
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (rows - images.mean(axis=0).reshape(-1)).T).T
    return statistical.standard_normal_p_value(whitened)

  statistical.assert_plausible(p_value(_covariance(images)))
  statistical.assert_refused(p_value(1.05 * _covariance(images)))
  statistical.assert_refused(p_value(np.diag(np.diag(_covariance(images)))))


def test_identity_is_scaled_to_the_data_and_pixels_are_left_alone():
  images = _correlated_images((4, 4, 3), 50)
  variance = images.reshape(50, -1).var(axis=0).mean()
  np.testing.assert_allclose(_factor(_fitted("identity", images)),
                             np.sqrt(variance + NOISE_LEVEL ** 2) * np.eye(48), atol=1e-6)
  pixels = _fitted("pixels", images)
  np.testing.assert_array_equal(_factor(pixels), np.eye(48))
  np.testing.assert_array_equal(pixels.mean.numpy(), 0.0)


def test_the_limits_of_each_form():
  side = int(np.sqrt(build.FULL_RANK_LIMIT))
  assert isinstance(build.build("gram", (side, side, 1)), dense.Dense)
  assert isinstance(build.build("gram", (side + 1, side, 1)), low_rank.LowRank)
  side = int(np.sqrt(statistics_lib.DENSE_LIMIT))
  assert isinstance(build.build("gram", (side, side, 1)), low_rank.LowRank)
  assert isinstance(build.build("dense", (side, side, 1)), dense.Dense)
  assert isinstance(build.build("gram", (side + 1, side, 1)), spectral_lib.Spectral)
  statistics = statistics_lib.ImageStatistics.fit(_correlated_images((4, 4, 1), 20), dense_limit=15)
  assert statistics.covariance is None and statistics.spectrum.shape == (4, 4, 1, 1)


def test_statistics_agree_with_each_other():
  images = _correlated_images((4, 6, 3), 40)
  statistics = statistics_lib.ImageStatistics.fit(images)
  np.testing.assert_allclose(statistics.covariance, _covariance(images, 0.0), atol=1e-12)
  assert statistics.mean_variance == pytest.approx(np.diag(statistics.covariance).mean())


@pytest.mark.parametrize("images", [np.zeros((1, 4, 4, 1)), np.zeros((5, 4, 4)), np.zeros((0, 4, 4, 1))])
def test_too_few_images_are_refused(images):
  with pytest.raises(ValueError, match="at least two images"):
    statistics_lib.ImageStatistics.fit(images)


def test_a_constant_data_set_leaves_the_noise():
  images = np.full((5, 4, 4, 1), 0.25)
  for name in ("gram", "spectral", "identity"):
    np.testing.assert_allclose(_factor(_fitted(name, images)), NOISE_LEVEL * np.eye(16), atol=1e-6)


def _low_rank_images():
  """More numbers an image than the low-rank form keeps components: 33·32 = 1056 > 512."""
  rng = np.random.default_rng(3)
  return 0.5 * rng.normal(size=(700, 33, 32, 1)) + np.cumsum(0.2 * rng.normal(size=(700, 33, 32, 1)), axis=1)


def test_low_rank_is_the_covariance_where_it_matters_and_its_mean_elsewhere():
  images = _low_rank_images()
  preconditioner = _fitted("gram", images)
  assert isinstance(preconditioner, low_rank.LowRank)
  values, vectors = np.linalg.eigh(_covariance(images))
  rest = np.full(len(values) - statistics_lib.RANK, values[:-statistics_lib.RANK].mean())
  wanted = (vectors * np.concatenate([rest, values[-statistics_lib.RANK:]])) @ vectors.T
  factor = _factor(preconditioner)
  np.testing.assert_allclose(factor @ factor.T, wanted, atol=1e-4)
  np.testing.assert_allclose(np.trace(factor @ factor.T), np.trace(_covariance(images)), rtol=1e-5)


def test_low_rank_factor_has_its_inverse_and_its_transpose():
  preconditioner = _fitted("gram", _low_rank_images())
  rows = tf.random.stateless_normal([4, preconditioner.size], seed=(0, 0))
  other = tf.random.stateless_normal([4, preconditioner.size], seed=(0, 1))
  np.testing.assert_allclose(preconditioner.whiten(preconditioner.color(rows)), rows, atol=1e-4)
  np.testing.assert_allclose(preconditioner.whiten_transpose(preconditioner.color_transpose(rows)), rows, atol=1e-4)
  np.testing.assert_allclose(tf.reduce_sum(preconditioner.color(rows) * other, axis=1),
                             tf.reduce_sum(rows * preconditioner.color_transpose(other), axis=1), rtol=1e-3)


def test_dense_is_refused_where_there_is_no_covariance():
  with pytest.raises(config_lib.ConfigError, match="preconditioner=dense"):
    build.build("dense", (64, 64, 3))


# ---- every level ----


@pytest.mark.parametrize("name", ["identity", "gram", "spectral"])
def test_the_preconditioner_is_the_covariance_at_its_level(name):
  rng = np.random.default_rng(0)
  images = np.cumsum(rng.normal(size=(500, 4, 4, 2)), axis=1) * 0.3
  statistics = statistics_lib.ImageStatistics.fit(images)
  preconditioner = build.build(name, (4, 4, 2), levels=True)
  preconditioner.fit(statistics)
  levels = tf.constant([0.1, 0.7, 3.0])
  rows = tf.constant(rng.normal(size=(3, 32)), tf.float32)
  twice = preconditioner.color(preconditioner.color(rows, levels), levels).numpy()
  for row, level in enumerate(levels.numpy()):
    if name == "spectral":
      fixed = spectral_lib.Spectral((4, 4, 2))
      fixed.fit(statistics, level)
      expected = fixed.color(fixed.color_transpose(rows[row:row + 1]))[0]
    else:
      covariance = statistics.covariance if name == "gram" else 0.0
      expected = (covariance + level ** 2 * np.eye(32)) @ rows[row].numpy()
    np.testing.assert_allclose(twice[row], expected, rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(preconditioner.mean, images.reshape(500, -1).mean(0), atol=1e-5)


@pytest.mark.parametrize("name, image_shape", [("dense", (64, 64, 3)), ("low_rank", (64, 64, 3)),
                                               ("low_rank", (8, 8, 1))])
def test_images_of_another_size_than_a_kind_takes_are_one_line(name, image_shape):
  with pytest.raises(config_lib.ConfigError, match=f"^preconditioner={name}: takes images of "):
    build.build(name, image_shape)
