"""95 % intervals of figures of one set of images: of shares by Wilson, of distances by resampling."""

from typing import Callable

import numpy as np
from scipy import stats

LEVEL = 0.95
_RESAMPLES = 100


def of_share(share: float, count: int) -> list:
  """[low, high] of a share in [0, 1] of `count` > 0 images, by Wilson's score interval (Wilson 1927)."""
  interval = stats.binomtest(int(round(share * count)), count).proportion_ci(LEVEL, "wilson")
  return [float(interval.low), float(interval.high)]


def resampled(figure: Callable, *samples, seed: int = 0) -> list:
  """[low, high] of `figure(*samples)`: the percentiles over bootstrap resamples of each of the samples.

  A figure that is biased by how many different images there are, as a Fréchet distance is, is higher in resamples,
  which repeat images; the interval is shifted so that the resamples' median lies on the figure itself.

  Args:
    figure: a number of some arrays.
    samples: arrays [N, …] of their own lengths.
    seed: of the choice.
  """
  rng = np.random.default_rng(seed)
  values = [figure(*(sample[rng.integers(0, len(sample), len(sample))] for sample in samples))
            for _ in range(_RESAMPLES)]
  shift = figure(*samples) - np.median(values)
  return [float(value + shift) for value in np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]
