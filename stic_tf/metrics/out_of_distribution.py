"""Images that no class could have made, and how well a log density tells them from real ones."""

import numpy as np
from scipy import stats


def shuffled(images: np.ndarray, seed: int = 0) -> np.ndarray:
  """Images with their pixels in random order, each in an order of its own: [N, H, W, C] of any type."""
  rng = np.random.default_rng(seed)
  pixels = images.reshape(len(images), -1, images.shape[-1])
  return np.stack([rows[rng.permutation(len(rows))] for rows in pixels]).reshape(images.shape)


def spliced(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Upper halves on lower halves of images of another class, where there is one: [N, H, W, C], int [N]."""
  order = np.argsort(labels, kind="stable")
  # Half of the whole away in the order of classes is another class, unless one class has more than half of the images.
  partner = np.empty(len(images), np.int64)
  partner[order] = np.roll(order, len(images) // 2)
  half = images.shape[1] // 2
  return np.concatenate([images[:, :half], images[partner, half:]], axis=1)


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
  """Probability that a real image [N] has the higher log density than one from outside [M]; a tie counts half."""
  return float(stats.mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside)))
