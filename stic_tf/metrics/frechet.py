"""Fréchet distance between the Gaussians fitted to two sets of features (FID when the features are Inception's)."""

from typing import Optional

import numpy as np
import scipy.linalg

# Added to both covariances when the root of their product is not finite, and the largest imaginary part (relative to
# the largest real one) that is taken for rounding: the values of the reference implementations.
_EPSILON = 1e-6
_LARGEST_IMAGINARY = 1e-3
_LEAST_FLOOR = 1e-6  # below it are the distances of a set from itself, which is rounding


def frechet_distance(features_a, features_b) -> float:
  """‖m_a − m_b‖² + tr(C_a + C_b − 2 (C_a C_b)^½), with means m and unbiased covariances C, in float64.

  Fewer samples than features make the covariances singular. The product may then have no finite square root: 1e-6 is
  added to both diagonals and the root is taken again, with those covariances in the whole formula. An imaginary part
  up to 1e-3 of the real one is rounding and is dropped; so is a total below 0. The estimate is biased upwards, the
  more the fewer samples there are: compare only values of equal sample counts.

  Args:
    features_a: [N, F], finite, N >= 2.
    features_b: [M, F], finite, M >= 2.
  Returns:
    The distance, >= 0.
  Raises:
    ValueError: a wrong shape, different F, fewer than 2 samples, a non-finite value, or no usable root.
  Source: Dowson and Landau 1982; Heusel et al. 2017 (arXiv 1706.08500).
  """
  features_a, features_b = check_feature_pair(features_a, features_b)
  mean_a, mean_b = features_a.mean(axis=0), features_b.mean(axis=0)
  covariance_a = np.atleast_2d(np.cov(features_a, rowvar=False))
  covariance_b = np.atleast_2d(np.cov(features_b, rowvar=False))
  root = _root(covariance_a @ covariance_b)
  if not np.isfinite(root).all():
    ridge = _EPSILON * np.eye(len(covariance_a))
    covariance_a, covariance_b = covariance_a + ridge, covariance_b + ridge
    root = _root(covariance_a @ covariance_b)
  trace = np.trace(root)
  if not np.isfinite(trace) or abs(trace.imag) > _LARGEST_IMAGINARY * max(abs(trace.real), 1.0):
    raise ValueError(f"the product of the covariances has no real square root (trace {trace})")
  distance = np.sum((mean_a - mean_b)**2) + np.trace(covariance_a) + np.trace(covariance_b) - 2 * trace.real
  return max(float(distance), 0.0)


def _root(matrix: np.ndarray) -> np.ndarray:
  """The principal square root; `disp=False` and the silence because singular is expected and judged by the caller."""
  with np.errstate(divide="ignore", invalid="ignore"):
    return scipy.linalg.sqrtm(matrix, disp=False)[0]


def check_feature_pair(features_a, features_b) -> tuple:
  """Both as float64 arrays; ValueError unless [N, F] and [M, F], finite, with N, M >= 2."""
  pair = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
  for features in pair:
    if features.ndim != 2:
      raise ValueError(f"features must be [N, F], got {list(features.shape)}")
    if len(features) < 2:
      raise ValueError(f"at least 2 samples are needed, got {len(features)}")
    if not np.isfinite(features).all():
      raise ValueError("features must be finite")
  if pair[0].shape[1] != pair[1].shape[1]:
    raise ValueError(f"features differ in dimension: {pair[0].shape[1]} and {pair[1].shape[1]}")
  return pair


def over_floor(distance: float, floor: float) -> Optional[float]:
  """A distance in units of that of real images; None where these are one set, and there is no floor."""
  return distance / floor if floor > _LEAST_FLOOR else None
