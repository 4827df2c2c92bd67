"""The Fréchet distance against closed forms. Samples are shaped to have their moments exactly, so no tolerance is
statistical."""

import numpy as np
import pytest
import scipy.linalg

from stic_tf.metrics.frechet import frechet_distance
from stic_tf.metrics.frechet import over_floor


def samples_with_moments(mean, covariance, count, seed):
  """[count, F] whose sample mean and unbiased sample covariance are the given ones up to rounding."""
  noise = np.random.default_rng(seed).normal(size=(count, len(mean)))
  noise -= noise.mean(axis=0)
  white = scipy.linalg.solve_triangular(
    np.linalg.cholesky(np.cov(noise, rowvar=False)), noise.T, lower=True).T
  return mean + white @ np.linalg.cholesky(covariance).T


def psd_root(covariance):
  values, vectors = np.linalg.eigh(covariance)
  return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def closed_form(mean_a, covariance_a, mean_b, covariance_b):
  """By the nuclear norm: tr (A B)^½ = ‖A^½ B^½‖_*, another way than the one under test, sound for singular A, B."""
  overlap = np.linalg.svd(psd_root(covariance_a) @ psd_root(covariance_b), compute_uv=False).sum()
  return np.sum((mean_a - mean_b)**2) + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap


def test_diagonal_gaussians_have_the_analytic_distance():
  variances_a, variances_b = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.25])
  mean_a, mean_b = np.array([0.0, 1.0, -2.0]), np.array([3.0, 1.0, -1.0])
  expected = 9 + 1 + (1 - 3)**2 + (2 - 1)**2
  distance = frechet_distance(samples_with_moments(mean_a, np.diag(variances_a), 50, 0),
                              samples_with_moments(mean_b, np.diag(variances_b), 80, 1))
  assert distance == pytest.approx(expected, rel=1e-9)


def test_full_covariances_have_the_closed_form():
  generator = np.random.default_rng(2)
  factors = generator.normal(size=(2, 6, 6))
  covariance_a, covariance_b = factors[0] @ factors[0].T, factors[1] @ factors[1].T
  mean_a, mean_b = generator.normal(size=(2, 6))
  distance = frechet_distance(samples_with_moments(mean_a, covariance_a, 40, 3),
                              samples_with_moments(mean_b, covariance_b, 40, 4))
  assert distance == pytest.approx(closed_form(mean_a, covariance_a, mean_b, covariance_b), rel=1e-8)


def test_singular_covariances():
  """Fewer samples than features, and features that never fire: a judge's ReLU has such."""
  generator = np.random.default_rng(5)
  features_a, features_b = generator.normal(size=(20, 40)), generator.normal(size=(25, 40)) + 1
  features_a[:, 7] = features_b[:, 7] = 0.0
  expected = closed_form(features_a.mean(0), np.cov(features_a.T), features_b.mean(0), np.cov(features_b.T))
  assert frechet_distance(features_a, features_b) == pytest.approx(expected, rel=1e-5)
  assert frechet_distance(features_a, features_a) == pytest.approx(0, abs=1e-4)


def test_constant_features():
  assert frechet_distance(np.zeros((5, 3)), np.full((4, 3), 2.0)) == pytest.approx(12)


def test_symmetric_and_zero_on_itself():
  generator = np.random.default_rng(6)
  features_a, features_b = generator.normal(size=(100, 5)), generator.normal(size=(60, 5)) * 2
  assert frechet_distance(features_a, features_a) == pytest.approx(0, abs=1e-9)
  assert frechet_distance(features_a, features_b) == pytest.approx(frechet_distance(features_b, features_a))


@pytest.mark.parametrize("features_a, features_b, message", [
  (np.array([[0.0, np.nan], [1, 1]]), np.zeros((2, 2)), "finite"),
  (np.zeros((2, 2)), np.array([[0.0, np.inf], [1, 1]]), "finite"),
  (np.zeros((1, 2)), np.zeros((2, 2)), "2 samples"),
  (np.zeros((3, 2)), np.zeros((3, 4)), "dimension"),
  (np.zeros(3), np.zeros((3, 4)), r"\[N, F\]"),
])
def test_bad_features_are_refused(features_a, features_b, message):
  with pytest.raises(ValueError, match=message):
    frechet_distance(features_a, features_b)


def test_of_a_set_and_itself_there_is_no_ratio():
  features = np.random.default_rng(0).normal(size=(50, 4))
  assert over_floor(3.0, frechet_distance(features, features)) is None
  assert over_floor(3.0, 2.0) == 1.5
