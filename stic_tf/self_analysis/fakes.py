"""Fakes: the persistent chains that draw them and the pool that keeps those of all past passes (NumPy, on the host).

Every fake is of one class or a mixture of two, and is held so: its memory does not grow with the number of classes.
"""

import dataclasses
from typing import Dict

import numpy as np


@dataclasses.dataclass
class MixedClasses:
  """Class weights of N fakes, each share·e_first + (1 - share)·e_second.

  Attributes:
    labels: int32 [N, 2], first and second class; equal for a hard fake.
    shares: float32 [N], of the first class, in [0, 1].
  """

  labels: np.ndarray
  shares: np.ndarray

  def __len__(self):
    return len(self.shares)

  def __getitem__(self, rows) -> "MixedClasses":
    return MixedClasses(self.labels[rows], self.shares[rows])

  def dense(self, num_classes: int) -> np.ndarray:
    """Class weights on the simplex: float32 [N, K]."""
    weights = np.zeros([len(self), num_classes], np.float32)
    rows = np.arange(len(self))
    weights[rows, self.labels[:, 0]] = self.shares
    weights[rows, self.labels[:, 1]] += 1 - self.shares
    return weights

  def largest(self) -> np.ndarray:
    """The class of the larger share: int32 [N]."""
    return np.where(self.shares >= 0.5, self.labels[:, 0], self.labels[:, 1])

  def hard(self) -> np.ndarray:
    """The classes that a fake is wholly of, each once and in order: int32 [≤ K]."""
    return np.unique(self.labels[self.shares == 1, 0])

  def state(self, group: str) -> Dict[str, np.ndarray]:
    """For a checkpoint."""
    return {f"{group}/labels": self.labels, f"{group}/shares": self.shares}

  @classmethod
  def from_state(cls, group: str, arrays: Dict[str, np.ndarray]) -> "MixedClasses":
    """The inverse of `state`."""
    return cls(arrays[f"{group}/labels"], arrays[f"{group}/shares"])


def classes_of_chains(num_chains: int, num_classes: int, soft_fraction: float,
                      rng: np.random.Generator) -> MixedClasses:
  """What each chain draws: hard classes in turn, in equal number, then soft mixtures of two classes.

  Soft weights are λ·e_j + (1 - λ)·e_k with λ ~ U(0, 1), a Dirichlet(1, 1) on the edge between two classes.

  Args:
    num_chains: how many chains.
    num_classes: K.
    soft_fraction: share of chains with soft weights, in [0, 1]; 0 where K is 1.
    rng: the source of the mixtures.

  Returns:
    num_chains MixedClasses.
  """
  num_soft = int(round(soft_fraction * num_chains)) if num_classes > 1 else 0
  labels = np.tile((np.arange(num_chains, dtype=np.int32) % num_classes)[:, np.newaxis], [1, 2])
  shares = np.ones([num_chains], np.float32)
  for row in range(num_chains - num_soft, num_chains):
    labels[row] = rng.choice(num_classes, 2, replace=False)
    shares[row] = rng.uniform()
  return MixedClasses(labels, shares)


class PersistentChains:
  """Chains that live on between updates and passes.

  Attributes:
    images: float32 [N, H, W, C], where each chain stands: not clipped, not rendered.
    classes: N MixedClasses.
  """

  def __init__(self, images: np.ndarray, classes: MixedClasses):
    self.images = images
    self.classes = classes

  def __len__(self):
    return len(self.images)


class FakePool:
  """Fakes of all past passes, in a fixed capacity: a class-balanced reservoir (Chrysakis & Moens 2020).

  While there is room all are kept. Then a fake of a class with less than its share takes the place of one of the
  largest class, and a fake of a class that has been the largest enters with the probability that keeps that class a
  uniform sample of all it was ever given: so early passes are never forgotten (WINN's known failure). A soft fake
  belongs to the class of its larger share.

  Attributes:
    images: float32 [N, H, W, C], N at most `capacity`.
    classes: N MixedClasses.
    passes: int32 [N], the pass each was drawn in.
    seen: int64 [K], how many of each class were ever given.
    full: bool [K], which classes have been the largest of a full pool.
  """

  def __init__(self, capacity: int, image_shape, num_classes: int):
    self.capacity, self.num_classes = capacity, num_classes
    self.images = np.zeros([0, *image_shape], np.float32)
    self.classes = MixedClasses(np.zeros([0, 2], np.int32), np.zeros([0], np.float32))
    self.passes = np.zeros([0], np.int32)
    self.seen = np.zeros([num_classes], np.int64)
    self.full = np.zeros([num_classes], bool)

  def __len__(self):
    return len(self.images)

  def add(self, images: np.ndarray, classes: MixedClasses, pass_number: int, rng: np.random.Generator) -> None:
    """Offers the fakes of a pass: images [N, H, W, C] and their N MixedClasses."""
    owners, sources = self._place(classes.largest(), rng)
    kept = len(self)
    new = sources >= 0
    old_rows, new_rows = np.flatnonzero(~new), sources[new]
    stored = np.empty([len(owners), *images.shape[1:]], np.float32)
    stored[old_rows], stored[new] = self.images[old_rows], images[new_rows]
    labels = np.concatenate([self.classes.labels, np.zeros([len(owners) - kept, 2], np.int32)])
    shares = np.concatenate([self.classes.shares, np.zeros([len(owners) - kept], np.float32)])
    passes = np.concatenate([self.passes, np.zeros([len(owners) - kept], np.int32)])
    labels[new], shares[new], passes[new] = classes.labels[new_rows], classes.shares[new_rows], pass_number
    self.images, self.classes, self.passes = stored, MixedClasses(labels, shares), passes

  def _place(self, offered: np.ndarray, rng: np.random.Generator):
    """Where fakes of the classes `offered` go: classes of all slots, and for each the number of its new fake, or -1."""
    size = len(self)
    owners = np.concatenate([self.classes.largest(), np.zeros([min(self.capacity - size, len(offered))], np.int32)])
    sources = np.full([len(owners)], -1)
    counts = np.bincount(owners[:size], minlength=self.num_classes)
    for number, label in enumerate(offered):
      self.seen[label] += 1
      if size < self.capacity:
        owners[size], sources[size] = label, number
        size += 1
        counts[label] += 1
        continue
      largest = int(counts.argmax())
      self.full |= counts == counts[largest]
      if not self.full[label]:
        victim = largest
      elif rng.uniform() * self.seen[label] < counts[label]:
        victim = label
      else:
        continue
      slot = rng.choice(np.flatnonzero(owners == victim))
      owners[slot], sources[slot] = label, number
      counts[victim] -= 1
      counts[label] += 1
    return owners, sources

  def sample(self, count: int, rng: np.random.Generator):
    """Draws `count` fakes with replacement: images [count, H, W, C] and class weights [count, K].

    Raises:
      ValueError: the pool is empty.
    """
    if not len(self):
      raise ValueError("the fake pool is empty")
    rows = rng.integers(0, len(self), count)
    return self.images[rows], self.classes[rows].dense(self.num_classes)

  def state(self, group: str) -> Dict[str, np.ndarray]:
    """For a checkpoint."""
    return {f"{group}/images": self.images, **self.classes.state(group), f"{group}/passes": self.passes,
            f"{group}/seen": self.seen.copy(), f"{group}/full": self.full.copy()}

  def load_state(self, group: str, arrays: Dict[str, np.ndarray]) -> None:
    """Takes back what `state` gave."""
    self.images, self.classes = arrays[f"{group}/images"], MixedClasses.from_state(group, arrays)
    self.passes = arrays[f"{group}/passes"]
    self.seen, self.full = arrays[f"{group}/seen"].copy(), arrays[f"{group}/full"].copy()
