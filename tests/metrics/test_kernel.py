"""The kernel distance: unbiased, with power, and equal to its definition."""

import itertools

import numpy as np
import pytest

from stic_tf.metrics import kernel
from stic_tf.metrics.kernel import kernel_distance

_REPEATS, _COUNT, _FEATURES = 60, 100, 8


def repeated_distances(shift):
  """Full-set distances of `_REPEATS` independent pairs of Gaussian sets, the second moved by `shift`."""
  generator = np.random.default_rng(0)
  distances = []
  for _ in range(_REPEATS):
    features_a = generator.normal(size=(_COUNT, _FEATURES))
    features_b = generator.normal(size=(_COUNT, _FEATURES)) + shift
    distances.append(kernel_distance(features_a, features_b, subsets=1, subset_size=_COUNT)[0])
  return np.array(distances)


def standard_scores(distances):
  """Mean over its standard error: |score| < 4 fails for an unbiased estimate of 60 once in 5,600."""
  return distances.mean() / (distances.std(ddof=1) / np.sqrt(len(distances)))


def test_unbiased_on_the_same_distribution():
  assert abs(standard_scores(repeated_distances(0.0))) < 4


def test_power_against_a_small_shift():
  """Negative control: a shift by a quarter of a standard deviation fails the bound of the test above."""
  assert standard_scores(repeated_distances(0.25)) > 4


def test_the_bound_would_catch_a_biased_estimate():
  """Keeping the pairs of an image with itself adds 2 (k̄(x,x) − k̄(x,x')) / n: far outside the same bound."""
  self_kernel = np.mean((np.mean(np.random.default_rng(1).normal(size=(1000, _FEATURES))**2, axis=1) + 1)**3)
  cross_kernel = 1 + 3 / _FEATURES  # E (x·y / F + 1)³ for independent standard normal x, y
  biased = repeated_distances(0.0) + 2 * (self_kernel - cross_kernel) / _COUNT
  assert standard_scores(biased) > 4


def test_equals_its_definition():
  generator = np.random.default_rng(2)
  features_a, features_b = generator.normal(size=(2, 5, 3))

  def kernel(left, right):
    return (left @ right / 3 + 1)**3

  within = sum(kernel(x[i], x[j]) for x in (features_a, features_b) for i, j in itertools.permutations(range(5), 2))
  between = sum(kernel(a, b) for a in features_a for b in features_b)
  mean, std = kernel_distance(features_a, features_b, subsets=3, subset_size=5)
  assert mean == pytest.approx(within / 20 - 2 * between / 25)
  assert std == pytest.approx(0, abs=1e-12)


def test_seed_decides_the_subsets():
  features_a, features_b = np.random.default_rng(3).normal(size=(2, 50, 4))
  first = kernel_distance(features_a, features_b, subsets=5, seed=1)
  assert first == kernel_distance(features_a, features_b, subsets=5, seed=1)
  assert first != kernel_distance(features_a, features_b, subsets=5, seed=2)
  assert first[1] > 0


@pytest.mark.parametrize("arguments, message", [
  ({"subset_size": 1}, "subset_size=1"),
  ({"subset_size": 11}, "subset_size=11"),
  ({"subsets": 0}, "subsets=0"),
])
def test_counts_out_of_range_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    kernel_distance(np.zeros((10, 2)), np.zeros((20, 2)), **arguments)


def _covered(interval_of, shift, truth):
  """How many of `_REPEATS` pairs' intervals hold the distance of the distributions."""
  generator, inside = np.random.default_rng(3), 0
  for _ in range(_REPEATS):
    features_a = generator.normal(size=(_COUNT, _FEATURES))
    low, high = interval_of(features_a, generator.normal(size=(_COUNT, _FEATURES)) + shift)
    inside += low <= truth <= high
  return inside


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_an_interval_holds_the_distance_of_the_distributions(shift):
  """Of 60 intervals at 95 % fewer than 51 do once in 1,000. The negative control: the spread of shared subsets."""
  generator = np.random.default_rng(4)
  far = [generator.normal(size=(4000, _FEATURES)) + each for each in (0.0, shift)]
  truth = kernel_distance(*far, subsets=1, subset_size=4000)[0] if shift else 0.0

  def by_blocks(*pair):
    return kernel.interval(*pair, about=kernel_distance(*pair, subsets=1, subset_size=_COUNT)[0])

  def by_subsets(*pair):
    mean, spread = kernel_distance(*pair)
    return mean - 0.196 * spread, mean + 0.196 * spread  # 1.96 / sqrt(100)

  assert _covered(by_blocks, shift, truth) >= 51 > _covered(by_subsets, shift, truth)


def test_an_interval_of_too_few_is_refused():
  with pytest.raises(ValueError, match="blocks=10: must leave 2 images a block, and the smaller set has 19"):
    kernel.interval(np.zeros([19, 3]), np.ones([40, 3]), 0.0)
