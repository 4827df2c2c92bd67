"""Sampler health on chains of known correlation."""

import numpy as np
import pytest
import scipy.signal

from stic_tf.metrics import sampler_health

_STEPS, _CHAINS = 20000, 32


def autoregressive(correlation, steps=_STEPS, chains=_CHAINS, seed=0):
  """Stationary AR(1) chains [steps, chains] of unit variance: ρ_t = correlation^t, τ = (1 + ρ) / (1 − ρ)."""
  noise = np.random.default_rng(seed).normal(size=(steps, chains)) * np.sqrt(1 - correlation**2)
  noise[0] /= np.sqrt(1 - correlation**2)
  return scipy.signal.lfilter([1.0], [1.0, -correlation], noise, axis=0)


def relative_error(trace, correlation):
  """Of the mean effective sample size over chains, against N (1 − ρ) / (1 + ρ)."""
  expected = len(trace) * (1 - correlation) / (1 + correlation)
  return sampler_health.effective_sample_size(trace).mean() / expected - 1


# One chain's estimate has a relative deviation of about √(2 (2W + 1) / N), W the summed lags (Madras and Sokal 1988):
# at ρ = 0.9, W near 60, 0.11, so 0.02 for the mean of 32 chains. 0.08 is four of those.
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_effective_sample_size_of_autoregressive_chains(correlation):
  assert abs(relative_error(autoregressive(correlation), correlation)) < 0.08


def test_the_bound_has_power():
  """Negative control: chains of ρ = 0.92 fail the bound when they are said to be of 0.9."""
  assert abs(relative_error(autoregressive(0.92), 0.9)) > 0.08


def test_antithetic_chains_are_worth_more_than_their_steps_and_capped():
  size = sampler_health.effective_sample_size(autoregressive(-0.5))
  assert size.mean() == pytest.approx(3 * _STEPS, rel=0.08)
  alternating = np.tile([[1.0], [-1.0]], (500, 1))
  assert sampler_health.effective_sample_size(alternating) == pytest.approx(1000 * np.log10(1000))


def test_coordinates_are_independent_of_each_other():
  trace = np.stack([autoregressive(0.5, 1000, 3), autoregressive(0.9, 1000, 3, seed=1)], axis=-1)
  size = sampler_health.effective_sample_size(trace)
  assert size.shape == (3, 2)
  np.testing.assert_allclose(size[:, 1], sampler_health.effective_sample_size(trace[..., 1]))


def test_stuck_and_broken_chains():
  trace = autoregressive(0.5, 100, 3)
  trace[:, 1] = 4.0
  trace[50, 2] = np.nan
  size = sampler_health.effective_sample_size(trace)
  assert size[0] > 1
  assert size[1] == 1
  assert np.isnan(size[2])


def test_draws_a_step_are_those_of_the_median_chain():
  trace = autoregressive(0.9, 4000, 12)
  assert sampler_health.independent_draws_a_step(trace) == pytest.approx(0.1 / 1.9, rel=0.3)
  trace[:, :2] = 4.0
  trace[50, 2] = np.nan
  assert sampler_health.independent_draws_a_step(trace) == pytest.approx(0.1 / 1.9, rel=0.4)
  trace[50, :4] = np.nan
  assert sampler_health.independent_draws_a_step(trace[:, :9]) is not None
  assert sampler_health.independent_draws_a_step(trace[:, :8]) is None  # half of them
  assert sampler_health.independent_draws_a_step(trace[:3]) is None


def test_a_walk_that_does_not_mix_has_no_figure():
  """Negative control: chains that mix have one from so short a trace."""
  steps = np.random.default_rng(0).normal(size=(150, 33))
  assert sampler_health.independent_draws_a_step(np.cumsum(steps, axis=0)) is None
  assert sampler_health.independent_draws_a_step(steps) == pytest.approx(1, rel=0.3)


@pytest.mark.parametrize("trace", [np.zeros((3, 2)), np.zeros(10), np.zeros((10, 0))])
def test_bad_input_is_refused(trace):
  with pytest.raises(ValueError):
    sampler_health.effective_sample_size(trace)
