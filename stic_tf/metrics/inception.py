"""Inception score: confident and varied predictions of a feature network (Inception's, or the judge's by that name)."""

import numpy as np
from scipy.special import rel_entr


def inception_score(probabilities, splits: int = 10, seed: int = 0) -> tuple:
  """exp of the mean KL(p(y|x) ‖ p(y)) in each of `splits` parts of equal size (within one).

  The images are dealt to the parts at random, since drawings mostly come sorted by class and a part with few classes
  would score low.

  Args:
    probabilities: [N, J], rows on the simplex (sums within 1e-3 of 1).
    splits: parts, 1..N.
    seed: of the dealing.
  Returns:
    (mean, standard deviation) over the parts; each lies in 1..J.
  Raises:
    ValueError: a wrong shape, rows off the simplex, or `splits` out of range.
  Source: Salimans et al. 2016 (arXiv 1606.03498).
  """
  probabilities = check_probabilities(probabilities)
  if not 1 <= splits <= len(probabilities):
    raise ValueError(f"splits={splits}: must lie in 1..{len(probabilities)}, the number of images")
  order = np.random.default_rng(seed).permutation(len(probabilities))
  scores = []
  for part in np.array_split(probabilities[order], splits):
    divergence = rel_entr(part, part.mean(axis=0)).sum(axis=1)
    scores.append(np.exp(divergence.mean()))
  return float(np.mean(scores)), float(np.std(scores))


def check_probabilities(probabilities) -> np.ndarray:
  """As float64 [N, J], or ValueError unless N > 0 and every row is on the simplex within 1e-3."""
  probabilities = np.asarray(probabilities, np.float64)
  if probabilities.ndim != 2 or not len(probabilities):
    raise ValueError(f"probabilities must be [N, J] with N > 0, got {list(probabilities.shape)}")
  # `not <=` so that NaN is refused too.
  if not (probabilities.min() >= 0 and np.abs(probabilities.sum(axis=1) - 1).max() <= 1e-3):
    raise ValueError("probabilities must not be negative and must sum to 1 in every row")
  return probabilities
