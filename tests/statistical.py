"""Assertions about random numbers with both errors stated.

ALPHA is the first: the probability that a correct program is refused, over all seeds. Seeds are fixed, so a test that
passes keeps passing. The second is the power: a test states the smallest fault it must find and shows it, by `z_power`
or by a negative control, a faulty program that is refused with the same sample size.
"""

import numpy as np
from scipy import stats

ALPHA = 1e-6


def _least(p_values) -> float:
  """Bonferroni: a p-value of the hypothesis that all of several hold."""
  p_values = np.atleast_1d(p_values)
  return float(min(1.0, p_values.size * p_values.min()))


def mean_p_value(samples, mean, variance=None) -> float:
  """Of the hypothesis that independent `samples` [N] or [N, D] have the mean `mean` [] or [D], by the z-test.

  `variance` is that of a sample; None estimates it.
  """
  samples = np.asarray(samples, np.float64)
  variance = samples.var(axis=0, ddof=1) if variance is None else variance
  z = (samples.mean(axis=0) - mean) / np.sqrt(np.asarray(variance) / len(samples))
  return _least(2 * stats.norm.sf(np.abs(z)))


def same_mean_p_value(first, second) -> float:
  """Of the hypothesis that independent samples [N, …] and [M, …] have one mean."""
  first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
  variance = first.var(axis=0, ddof=1) / len(first) + second.var(axis=0, ddof=1) / len(second)
  return _least(2 * stats.norm.sf(np.abs(first.mean(axis=0) - second.mean(axis=0)) / np.sqrt(variance)))


def distribution_p_value(samples, cdf) -> float:
  """Of the hypothesis that `samples` [N], or each column of [N, D], follow `cdf`: Kolmogorov-Smirnov."""
  samples = np.asarray(samples, np.float64).reshape(len(samples), -1)
  return _least([stats.kstest(column, cdf).pvalue for column in samples.T])


def same_distribution_p_value(first, second) -> float:
  """Of the hypothesis that the columns of [N, D] and [M, D] have the same distributions: two-sample KS."""
  first, second = (np.asarray(samples, np.float64).reshape(len(samples), -1) for samples in (first, second))
  return _least([stats.ks_2samp(*columns, method="asymp").pvalue for columns in zip(first.T, second.T)])


def standard_normal_p_value(samples) -> float:
  """Of the hypothesis that the rows of [N, D] are independent draws of N(0, I): moments, marginals and energy."""
  samples = np.asarray(samples, np.float64)
  size = samples.shape[1]
  energy = 0.5 * np.square(samples).sum(axis=1)
  p_values = [mean_p_value(samples, 0.0, 1.0), mean_p_value(np.square(samples), 1.0, 2.0),
              distribution_p_value(samples, stats.norm.cdf),
              mean_p_value(energy, size / 2, size / 2), distribution_p_value(energy, stats.gamma(size / 2).cdf)]
  p_values.extend(mean_p_value(samples[:, [i]] * samples[:, i + 1:], 0.0, 1.0) for i in range(size - 1))
  return _least(p_values)


def z_power(shift: float, count: int, hypotheses: int = 1, alpha: float = ALPHA) -> float:
  """The probability that a z-test of `count` samples finds a mean off by `shift` standard deviations."""
  return float(stats.norm.sf(stats.norm.isf(alpha / (2 * hypotheses)) - abs(shift) * np.sqrt(count)))


def ks_power(distance: float, count: int, hypotheses: int = 1, alpha: float = ALPHA) -> float:
  """A lower bound on the probability that KS finds a distribution function off by `distance` (from DKW)."""
  critical = np.sqrt(np.log(2 * hypotheses / alpha) / (2 * count))
  return float(1.0 - 2.0 * np.exp(-2.0 * count * max(0.0, distance - critical) ** 2))


def assert_plausible(p_value: float, alpha: float = ALPHA) -> None:
  """Fails when the hypothesis is refused at `alpha`."""
  assert p_value >= alpha, f"p = {p_value:.3g} is below {alpha:g}"


def assert_refused(p_value: float, alpha: float = ALPHA) -> None:
  """Of a negative control: fails when the faulty program would have passed."""
  assert p_value < alpha, f"a faulty program passes: p = {p_value:.3g}"
