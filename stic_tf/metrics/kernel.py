"""Kernel distance between two sets of features (KID when the features are Inception's)."""

from typing import Optional

import numpy as np
from scipy import stats
from sklearn.metrics.pairwise import polynomial_kernel

from stic_tf.metrics.frechet import check_feature_pair
from stic_tf.metrics.intervals import LEVEL

_LARGEST_SUBSET = 1000


def kernel_distance(features_a, features_b, subsets: int = 100, subset_size: Optional[int] = None,
                    seed: int = 0) -> tuple:
  """Unbiased squared maximum mean discrepancy under the kernel (x·y / F + 1)³, averaged over random subsets.

  Args:
    features_a: [N, F], finite.
    features_b: [M, F], finite.
    subsets: how many pairs of subsets to draw, >= 1.
    subset_size: images in a subset, 2..min(N, M). None takes 1000, or half of the smaller set where that is less:
      subsets of a whole set would all be alike, and their spread would say nothing.
    seed: of the choice of subsets.
  Returns:
    (mean, standard deviation) over the subsets. The mean may be below 0: the estimator is unbiased.
  Raises:
    ValueError: as `frechet_distance`, or a count out of range.
  Source: Bińkowski et al. 2018 (arXiv 1801.01401).
  """
  features_a, features_b = check_feature_pair(features_a, features_b)
  smaller = min(len(features_a), len(features_b))
  if subset_size is None:
    subset_size = max(2, min(_LARGEST_SUBSET, smaller // 2))
  if not 2 <= subset_size <= smaller:
    raise ValueError(f"subset_size={subset_size}: must lie in 2..{smaller}, the smaller set")
  if subsets < 1:
    raise ValueError(f"subsets={subsets}: must be at least 1")
  generator = np.random.default_rng(seed)
  distances = [
    _squared_discrepancy(features_a[generator.choice(len(features_a), subset_size, replace=False)],
                         features_b[generator.choice(len(features_b), subset_size, replace=False)])
    for _ in range(subsets)
  ]
  return float(np.mean(distances)), float(np.std(distances))


def interval(features_a, features_b, about: float, blocks: int = 10, seed: int = 0) -> list:
  """[low, high] at 95 % about a distance: by the spread of its estimates from disjoint blocks of both sets.

  Subsets that share images, as `kernel_distance` has them, differ by too little. The mean over blocks varies as the
  distance of all images does, or by more where that is near 0: the interval is rather too wide.

  Args:
    features_a, features_b: as for `kernel_distance`; of each at least 2 a block.
    about: the distance.
    blocks: >= 2.
    seed: of the dealing.
  Raises:
    ValueError: as `frechet_distance`, or a set too small.
  """
  features_a, features_b = check_feature_pair(features_a, features_b)
  smaller = min(len(features_a), len(features_b))
  if smaller < 2 * blocks:
    raise ValueError(f"blocks={blocks}: must leave 2 images a block, and the smaller set has {smaller}")
  generator, size = np.random.default_rng(seed), smaller // blocks
  dealt = [features[generator.permutation(len(features))[:size * blocks]].reshape(blocks, size, -1)
           for features in (features_a, features_b)]
  distances = [_squared_discrepancy(*pair) for pair in zip(*dealt)]
  half = stats.t.ppf(0.5 + LEVEL / 2, blocks - 1) * np.std(distances, ddof=1) / np.sqrt(blocks)
  return [float(about - half), float(about + half)]


def _squared_discrepancy(sample_a: np.ndarray, sample_b: np.ndarray) -> float:
  """The unbiased estimate for two samples [n, F]: pairs of an image with itself are left out."""
  size = len(sample_a)
  within_a = polynomial_kernel(sample_a, degree=3, coef0=1)  # gamma defaults to 1 / F
  within_b = polynomial_kernel(sample_b, degree=3, coef0=1)
  between = polynomial_kernel(sample_a, sample_b, degree=3, coef0=1)
  within = within_a.sum() - np.trace(within_a) + within_b.sum() - np.trace(within_b)
  return within / (size * (size - 1)) - 2 * between.mean()
