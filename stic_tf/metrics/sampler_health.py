"""How well the chains of a sampler mix. Traces are [num_steps, num_chains, ...]; NumPy only, after the fact."""

import math
from typing import Optional

import numpy as np


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
  """The median over chains of `effective_sample_size` over their steps, of a trace [num_steps, num_chains].

  1 would be a sampler whose every step is an independent draw. None where a trace has fewer than 4 steps, and where
  half of the chains or more have no finite value.
  """
  trace = np.asarray(trace)
  if len(trace) < 4:
    return None
  median = float(np.median(np.nan_to_num(effective_sample_size(trace)))) / len(trace)
  return median or None


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
