"""Fakes: the persistent chains that draw them and the pool that keeps those of all past passes (NumPy, on the host)."""

import numpy as np


def class_weights_of_chains(num_chains: int, num_classes: int, soft_fraction: float,
                            rng: np.random.Generator) -> np.ndarray:
  """The class weights each chain draws under: hard ones in equal number a class, then soft mixtures of two classes.

  Soft weights are λ·e_j + (1 - λ)·e_k with λ ~ U(0, 1), a Dirichlet(1, 1) on the edge between two classes.

  Args:
    num_chains: how many chains.
    num_classes: K.
    soft_fraction: share of chains with soft weights, in [0, 1]; 0 where K is 1.
    rng: the source of the mixtures.

  Returns:
    float32 [num_chains, K], on the simplex.
  """
  num_soft = int(round(soft_fraction * num_chains)) if num_classes > 1 else 0
  weights = np.zeros([num_chains, num_classes], np.float32)
  weights[np.arange(num_chains), np.arange(num_chains) % num_classes] = 1.0
  for row in range(num_chains - num_soft, num_chains):
    pair = rng.choice(num_classes, 2, replace=False)
    share = rng.uniform()
    weights[row] = 0.0
    weights[row, pair] = share, 1.0 - share
  return weights


class PersistentChains:
  """Chains that live on between updates and passes.

  Attributes:
    images: float32 [N, H, W, C], where each chain stands: not clipped, not rendered.
    class_weights: float32 [N, K].
  """

  def __init__(self, images: np.ndarray, class_weights: np.ndarray):
    self.images = images
    self.class_weights = class_weights

  def __len__(self):
    return len(self.images)


class FakePool:
  """Fakes of all past passes, in a fixed capacity.

  Each pass gets an equal share: when a pass comes in and the pool would overflow, every pass is thinned at random to
  the new share, so that early passes are never forgotten (WINN's known failure).
  """

  def __init__(self, capacity: int, image_shape, num_classes: int):
    self.capacity = capacity
    self.images = np.zeros([0, *image_shape], np.float32)
    self.class_weights = np.zeros([0, num_classes], np.float32)
    self.passes = np.zeros([0], np.int32)

  def __len__(self):
    return len(self.images)

  def add(self, images: np.ndarray, class_weights: np.ndarray, pass_number: int, rng: np.random.Generator) -> None:
    """Adds the fakes of a pass: [N, H, W, C], [N, K]."""
    self.images = np.concatenate([self.images, images])
    self.class_weights = np.concatenate([self.class_weights, class_weights])
    self.passes = np.concatenate([self.passes, np.full(len(images), pass_number, np.int32)])
    if len(self.images) > self.capacity:
      self._thin(rng)

  def _thin(self, rng: np.random.Generator) -> None:
    numbers = np.unique(self.passes)
    share, extra = divmod(self.capacity, len(numbers))
    kept = []
    # The newest passes take what does not divide.
    for rank, number in enumerate(numbers[::-1]):
      rows = np.flatnonzero(self.passes == number)
      size = min(len(rows), share + (rank < extra))
      kept.append(rng.choice(rows, size, replace=False))
    rows = np.sort(np.concatenate(kept))
    self.images, self.class_weights, self.passes = self.images[rows], self.class_weights[rows], self.passes[rows]

  def sample(self, count: int, rng: np.random.Generator):
    """Draws `count` fakes with replacement: ([count, H, W, C], [count, K]).

    Raises:
      ValueError: the pool is empty.
    """
    if not len(self.images):
      raise ValueError("the fake pool is empty")
    rows = rng.integers(0, len(self.images), count)
    return self.images[rows], self.class_weights[rows]
