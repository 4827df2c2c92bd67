"""What a judge sees on a path of drawings from one class to another."""

import numpy as np
from scipy import stats


def path_figures(probabilities, first, second) -> dict:
  """How drawings of mixtures of two classes follow the mixture, by a judge.

  Args:
    probabilities: a judge's [P, S, K] on P paths of S drawings, whose weights go from all of `first` to all of `second`
      in equal steps.
    first: int [P], the class where a path begins.
    second: int [P], where it ends.
  Returns:
    `path_pair`: mean probability, between the ends, that it is one of the two classes. `path_both`: share of the paths
    on which each of the two is the likeliest class of some drawing. `path_order`: mean over paths of Kendall's τ-b of
    the step and the second class's share of the two, 1 where each step makes it likelier; 0 for a path that never
    moves. `path_entropy`: the judge's mean entropy between the ends, in nats.
  Raises:
    ValueError: fewer than 3 drawings a path, or classes that do not fit.
  """
  probabilities = np.asarray(probabilities, np.float64)
  first, second = np.asarray(first), np.asarray(second)
  if probabilities.ndim != 3 or probabilities.shape[1] < 3:
    raise ValueError(f"probabilities must be [P, S, K] with S >= 3, got {list(probabilities.shape)}")
  if not first.shape == second.shape == probabilities.shape[:1]:
    raise ValueError(f"first and second must be [{len(probabilities)}], got {list(first.shape)}, {list(second.shape)}")
  paths = np.arange(len(probabilities))
  one, other = probabilities[paths, :, first], probabilities[paths, :, second]
  between = probabilities[:, 1:-1]
  likeliest = probabilities.argmax(axis=2)
  both = (likeliest == first[:, np.newaxis]).any(axis=1) & (likeliest == second[:, np.newaxis]).any(axis=1)
  share = other / np.maximum(one + other, np.finfo(np.float64).tiny)
  orders = [stats.kendalltau(np.arange(len(row)), row).statistic if np.ptp(row) else 0.0 for row in share]
  return {
      "path_pair": float((one + other)[:, 1:-1].mean()),
      "path_both": float(both.mean()),
      "path_order": float(np.mean(orders)),
      "path_entropy": float(stats.entropy(between, axis=2).mean()),
  }
