"""The error bounds of `tests/statistical.py` themselves: how often a right and a wrong program is refused."""

import numpy as np
from scipy import stats

from tests import statistical

COUNT = 400
TRIALS = 300


def _refused(p_values, alpha):
  return np.mean(np.asarray(p_values) < alpha)


def test_a_right_program_is_refused_as_rarely_as_stated():
  rng = np.random.default_rng(0)
  samples = rng.standard_normal((TRIALS, COUNT, 3))
  for p_value in (lambda rows: statistical.mean_p_value(rows, 0.0, 1.0), statistical.standard_normal_p_value,
                  lambda rows: statistical.distribution_p_value(rows, stats.norm.cdf),
                  lambda rows: statistical.same_mean_p_value(rows[:150], rows[150:]),
                  lambda rows: statistical.same_distribution_p_value(rows[:150], rows[150:])):
    refused = _refused([p_value(rows) for rows in samples], alpha=0.05)
    # At most 0.05 is stated; Bonferroni may refuse less. 3 standard errors of the trials.
    assert refused <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / TRIALS)


def test_power_is_at_least_as_stated():
  rng = np.random.default_rng(1)
  shift = 0.2
  samples = shift + rng.standard_normal((TRIALS, COUNT))
  stated = statistical.z_power(shift, COUNT, alpha=0.01)
  found = _refused([statistical.mean_p_value(rows, 0.0, 1.0) for rows in samples], alpha=0.01)
  error = 3 * np.sqrt(stated * (1 - stated) / TRIALS)
  assert 0.5 < stated < 0.99 and abs(found - stated) < error
  distance = stats.norm.cdf(shift / 2) - stats.norm.cdf(-shift / 2)
  stated = statistical.ks_power(distance, COUNT, alpha=0.5)
  found = _refused([statistical.distribution_p_value(rows, stats.norm.cdf) for rows in samples], alpha=0.5)
  assert found >= stated > 0
