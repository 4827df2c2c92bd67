"""Intervals hold the truth about as often as they say, and those that are too narrow are found."""

import numpy as np
from scipy import stats

from stic_tf.metrics import frechet
from stic_tf.metrics import intervals


def _covered(low_high, truth):
  return np.mean([low <= truth <= high for low, high in low_high])


def test_of_a_share():
  """Of 1000 shares of 200 images, 93 to 97 % of the intervals hold the truth (Wilson's own coverage is 94 to 96 %).

  The share's own standard error is .7 %. Intervals a sixth narrower cover 90 %, which is four of them below.
  """
  counts = np.random.default_rng(0).binomial(200, 0.95, 1000)
  found = [intervals.of_share(count / 200, 200) for count in counts]
  assert 0.93 <= _covered(found, 0.95) <= 0.97
  narrow = [[(11 * low + high) / 12, (low + 11 * high) / 12] for low, high in found]
  assert _covered(narrow, 0.95) < 0.93


def test_of_all_or_none():
  low, high = intervals.of_share(1.0, 100)
  assert 0.95 < low < 0.97 and high == 1.0


def test_a_mean_resampled():
  """Against the interval of the t distribution: 200 samples of 100, at least 90 and at most 99 % of them."""
  rng = np.random.default_rng(1)
  samples = rng.normal(size=(200, 100))
  found = [intervals.resampled(np.mean, sample) for sample in samples]
  assert 0.9 <= _covered(found, 0.0) <= 0.99
  widths = np.mean([high - low for low, high in found])
  assert abs(widths / (2 * stats.t.ppf(0.975, 99) / 10) - 1) < 0.1


def test_a_biased_distance_lies_within_its_own_interval():
  """Without the shift it would not: resamples of 60 images repeat some, which raises the distance."""
  rng = np.random.default_rng(2)
  one, other = rng.normal(size=(60, 12)), rng.normal(size=(60, 12))
  low, high = intervals.resampled(frechet.frechet_distance, one, other)
  assert low < frechet.frechet_distance(one, other) < high
