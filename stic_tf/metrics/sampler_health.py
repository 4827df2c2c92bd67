"""How well the chains of a sampler mix. Traces are [num_steps, num_chains, ...]; NumPy only, after the fact."""

import math

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


def split_r_hat(trace) -> np.ndarray:
  """Split R-hat: each chain is cut in halves, so that a drifting chain shows as well as chains that disagree.

  √(((n − 1)/n · W + B/n) / W), with n the steps in a half, W the mean variance within and B/n that between halves.
  Near 1 when the chains agree; below 1.01 is the usual demand.

  Args:
    trace: [num_steps, num_chains, ...], num_steps >= 4; a last odd step is left out.
  Returns:
    float64 [...]. 1 where nothing varies, inf where only the halves differ, NaN where a value is not finite.
  Raises:
    ValueError: a wrong shape, or too few steps.
  Source: Gelman et al., Bayesian Data Analysis, 3rd edition, section 11.4.
  """
  trace = _check_trace(trace)
  half = len(trace) // 2
  halves = np.concatenate([trace[:half], trace[half:2 * half]], axis=1)
  within = halves.var(axis=0, ddof=1).mean(axis=0)
  between = halves.mean(axis=0).var(axis=0, ddof=1)
  with np.errstate(divide="ignore", invalid="ignore"):
    r_hat = np.sqrt((half - 1) / half + between / within)
  return np.where((within == 0) & (between == 0), 1.0, r_hat)


def expected_squared_jump_distance(trace) -> np.ndarray:
  """Mean of ‖x_t+1 − x_t‖² over the steps of each chain.

  Args:
    trace: [num_steps, num_chains, ...], all coordinates of the state, num_steps >= 4.
  Returns:
    float64 [num_chains].
  Raises:
    ValueError: a wrong shape, or too few steps.
  """
  trace = _check_trace(trace)
  jumps = np.diff(trace, axis=0)
  return np.sum(jumps**2, axis=tuple(range(2, trace.ndim))).mean(axis=0)


def acceptance_summary(accepted) -> dict:
  """Summary of accept/reject decisions.

  Args:
    accepted: bool (or acceptance probabilities in [0, 1]) [num_steps, num_chains].
  Returns:
    Floats `acceptance_rate` (over everything), `acceptance_rate_min` and `acceptance_rate_max` (over chains), and
    `stuck_chains`, the fraction of chains that accepted nothing: the mean hides those.
  Raises:
    ValueError: a wrong shape, no decisions, or a value outside [0, 1].
  """
  accepted = np.asarray(accepted, np.float64)
  if accepted.ndim != 2 or not accepted.size:
    raise ValueError(f"accepted must be [num_steps, num_chains], not empty, got {list(accepted.shape)}")
  if not ((accepted >= 0) & (accepted <= 1)).all():
    raise ValueError("accepted must lie in [0, 1]")
  rates = accepted.mean(axis=0)
  return {
    "acceptance_rate": float(rates.mean()),
    "acceptance_rate_min": float(rates.min()),
    "acceptance_rate_max": float(rates.max()),
    "stuck_chains": float(np.mean(rates == 0)),
  }


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
