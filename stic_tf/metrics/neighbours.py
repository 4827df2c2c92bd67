"""Nearest neighbours of drawings: precision and recall of features, and how near drawings come to training images."""

import numpy as np
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors

from stic_tf.metrics.frechet import check_feature_pair

_COPY = 1e-3  # of a distance; the rounding of equal images is less, one step of one pixel of 64 is 1e-3


def precision_and_recall(real, drawn, neighbours: int = 3) -> tuple:
  """(share of drawings within the real images' manifold, share of real images within the drawings').

  A set's manifold is the union of balls about its points, each out to that point's `neighbours`-th nearest other.

  Args:
    real: features [N, F], finite.
    drawn: features [M, F], finite.
    neighbours: >= 1; of a smaller set all others.
  Returns:
    Two numbers in [0, 1].
  Raises:
    ValueError: as `frechet_distance`.
  Source: Kynkäänniemi et al. 2019 (arXiv 1904.06991), equations 1 and 2.
  """
  real, drawn = check_feature_pair(real, drawn)
  return _covered(drawn, real, neighbours), _covered(real, drawn, neighbours)


def _covered(points: np.ndarray, centres: np.ndarray, neighbours: int) -> float:
  """The share of `points` within a ball of `centres`."""
  nearest = NearestNeighbors(n_neighbors=min(neighbours, len(centres) - 1), algorithm="brute").fit(centres)
  radii = nearest.kneighbors()[0][:, -1]
  inside = pairwise_distances_chunked(points, centres, reduce_func=lambda part, start: (part <= radii).any(axis=1))
  return float(np.mean(np.concatenate(list(inside))))


def distances_to_nearest(images, others) -> np.ndarray:
  """How far each image is from the nearest of `others`, as a root mean square of pixels.

  Args:
    images: uint8 [N, H, W, C].
    others: uint8 [M, H, W, C].
  Returns:
    float [N], in the pixels' range [-1, 1], so 0..2.
  """
  images, others = (np.asarray(one).reshape(len(one), -1) / np.float32(127.5) for one in (images, others))
  nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(others).kneighbors(images)[0][:, 0]
  return nearest / np.sqrt(images.shape[1])


def nearness_to_training(drawings, train_images, test_images, mirrored: bool = False) -> dict:
  """Whether drawings are copies: their distances to the nearest training image, over those of real test images.

  Args:
    drawings, train_images, test_images: uint8 [·, H, W, C].
    mirrored: whether the training images were learnt in their mirror image too, which is then one to be near to.
  Returns:
    `nearest_train`: median over median; about 1 is as far as unseen real images are, 0 is copied.
    `nearest_train_least`: least over least. None where a least or median test image is itself a training image.
  """

  def distances(images):
    # As far as an image is from another's mirror image, its mirror image is from that other.
    ways = [images, images[:, :, ::-1]] if mirrored else [images]
    return np.min([distances_to_nearest(way, train_images) for way in ways], axis=0)

  drawn, real = map(distances, (drawings, test_images))
  ratios = {"nearest_train": (np.median(drawn), np.median(real)), "nearest_train_least": (drawn.min(), real.min())}
  return {name: float(own / beside) if beside > _COPY else None for name, (own, beside) in ratios.items()}
