"""How well the chains of a sampler mix. Traces are [num_steps, num_chains, ...]; NumPy only, after the fact."""

import math
from typing import Optional

import numpy as np

LEAST_DRAWS = 10


def effective_sample_size(trace) -> np.ndarray:
  """Independent draws that each chain's trace is worth, for the mean of each coordinate.

  N / τ with τ = −1 + 2 Σ_t P_t, P_t = ρ_2t + ρ_2t+1: Geyer's initial positive sequence (the sum ends before the first
  pair that is not positive) made monotone (no pair counts more than the one before). Geyer's argument needs a
  reversible chain, which a Metropolis-adjusted one is. At most N·log10(N), as in Stan, for antithetic chains.

  Args:
    trace: [num_steps, num_chains, ...], num_steps >= 4.
  Returns:
    float64 [num_chains, ...]. A chain that never moved is worth 1, its one point; one with a non-finite value NaN.
  Raises:
    ValueError: a wrong shape, or too few steps.
  Source: Geyer 1992, section 3.3.
  """
  trace = _check_trace(trace)
  num_steps = len(trace)
  correlation = _autocorrelation(trace)
  pairs = correlation[:num_steps // 2 * 2].reshape((num_steps // 2, 2) + trace.shape[1:]).sum(axis=1)
  positive = np.logical_and.accumulate(pairs > 0, axis=0)
  monotone = np.minimum.accumulate(pairs, axis=0)
  time = -1 + 2 * np.sum(np.where(positive, monotone, 0.0), axis=0)
  size = num_steps / np.maximum(time, 1.0 / math.log10(num_steps))
  size = np.where(np.ptp(trace, axis=0) == 0, 1.0, size)
  return np.where(np.isfinite(trace).all(axis=0), size, np.nan)


def independent_draws_a_step(trace) -> Optional[float]:
  """Independent draws that a step is worth: the median over chains of `effective_sample_size` over their steps.

  1 would be a sampler whose every step is an independent draw. A chain is centred on its own mean, so that one which
  has hardly moved seems to be worth some draws whatever it does (a random walk about four): what says less than
  `LEAST_DRAWS` says nothing.

  Args:
    trace: [num_steps, num_chains].
  Returns:
    None where the median chain is worth fewer than LEAST_DRAWS draws, half of the chains or more are not finite, or
    there are fewer than 4 steps.
  """
  trace = np.asarray(trace)
  if len(trace) < 4:
    return None
  sizes = effective_sample_size(trace)
  if 2 * np.count_nonzero(np.isnan(sizes)) >= len(sizes):
    return None
  median = float(np.nanmedian(sizes))
  return median / len(trace) if median >= LEAST_DRAWS else None


def _check_trace(trace) -> np.ndarray:
  """As float64, or ValueError unless [num_steps >= 4, num_chains >= 1, ...]."""
  trace = np.asarray(trace, np.float64)
  if trace.ndim < 2 or trace.shape[0] < 4 or not trace.size:
    raise ValueError(f"a trace must be [num_steps >= 4, num_chains, ...], got {list(trace.shape)}")
  return trace


def _autocorrelation(trace: np.ndarray) -> np.ndarray:
  """ρ_t for t = 0..num_steps-1 along axis 0, by FFT; the biased estimate (divided by N), as Geyer's sequence wants."""
  num_steps = len(trace)
  centred = trace - trace.mean(axis=0)
  # Zeros up to twice the length, so that the circular correlation of the FFT does not wrap.
  spectrum = np.abs(np.fft.rfft(centred, n=2 * num_steps, axis=0))**2
  covariance = np.fft.irfft(spectrum, axis=0)[:num_steps]
  with np.errstate(divide="ignore", invalid="ignore"):
    return covariance / covariance[0]
