"""Fakes on the device: the persistent chains that draw them and the pool that keeps those of all past passes.

Every fake is of one class or a mixture of two, and is held so: its memory does not grow with the number of classes.
"""

from typing import Tuple

import numpy as np
import tensorflow as tf

MOST_CLASSES = 2  # of which a fake is a mixture


def _variable(value, dtype, name: str) -> tf.Variable:
  return tf.Variable(tf.cast(value, dtype), trainable=False, name=name)


def classes_of_chains(num_chains: int, num_classes: int, soft_fraction: float,
                      rng: np.random.Generator) -> Tuple[np.ndarray, np.ndarray]:
  """What each chain draws: hard classes in turn, in equal number, then soft mixtures of two classes.

  Soft weights are λ·e_j + (1 - λ)·e_k with λ ~ U(0, 1), a Dirichlet(1, 1) on the edge between two classes.

  Args:
    num_chains: how many chains.
    num_classes: K.
    soft_fraction: share of chains with soft weights, in [0, 1]; 0 where K is 1.
    rng: the source of the mixtures.

  Returns:
    labels int32 [N, 2], first and second class, equal for a hard fake; shares float32 [N] of the first, in [0, 1].
  """
  num_soft = int(round(soft_fraction * num_chains)) if num_classes > 1 else 0
  labels = np.tile((np.arange(num_chains, dtype=np.int32) % num_classes)[:, np.newaxis], [1, 2])
  shares = np.ones([num_chains], np.float32)
  for row in range(num_chains - num_soft, num_chains):
    labels[row] = rng.choice(num_classes, 2, replace=False)
    shares[row] = rng.uniform()
  return labels, shares


class MixedFakes(tf.Module):
  """N fakes, each with class weights share·e_first + (1 - share)·e_second.

  Args:
    capacity: N.
    image_shape: (H, W, C).
    name: of the variables' group.

  Attributes:
    images: float32 [N, H, W, C].
    labels: int32 [N, 2], first and second class.
    shares: float32 [N], of the first class.
  """

  def __init__(self, capacity: int, image_shape, name: str):
    super().__init__(name=name)
    self.capacity = capacity
    self.images = _variable(tf.zeros([capacity, *image_shape]), tf.float32, "images")
    self.labels = _variable(tf.zeros([capacity, 2]), tf.int32, "labels")
    self.shares = _variable(tf.ones([capacity]), tf.float32, "shares")

  def class_weights(self, rows: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Class weights on the simplex of some rows, int32 [B]: float32 [B, K]."""
    labels, shares = tf.gather(self.labels, rows), tf.gather(self.shares, rows)[:, tf.newaxis]
    return shares * tf.one_hot(labels[:, 0], num_classes) + (1.0 - shares) * tf.one_hot(labels[:, 1], num_classes)

  def named_variables(self) -> dict:
    """What a checkpoint must hold, by name."""
    return {variable.name.split(":")[0]: variable for variable in self.variables}


class Chains(MixedFakes):
  """Chains that live on between updates and passes.

  `images` are where each stands: not clipped, not rendered; `begun`, bool [N], says which hold an image yet.
  """

  def __init__(self, image_shape, labels: np.ndarray, shares: np.ndarray):
    super().__init__(len(shares), image_shape, "chains")
    self.labels.assign(labels)
    self.shares.assign(shares)
    self.begun = _variable(tf.zeros([len(shares)], tf.bool), tf.bool, "begun")

  def put(self, rows: tf.Tensor, images: tf.Tensor) -> None:
    """Takes back chains int32 [B] that have moved to images [B, H, W, C]; of a row named twice the last counts."""
    self.images.scatter_update(tf.IndexedSlices(images, rows))
    self.begun.scatter_update(tf.IndexedSlices(tf.ones_like(rows, tf.bool), rows))

  def hard_classes(self) -> np.ndarray:
    """The classes that a chain is wholly of, each once and in order: int32 [≤ K]."""
    return np.unique(self.labels.numpy()[self.shares.numpy() == 1, 0])


class FakePool(MixedFakes):
  """Fakes of all past passes, in a fixed capacity: a class-balanced reservoir (Chrysakis & Moens 2020).

  While there is room all are kept. Then a fake of a class with less than its share takes the place of one of the
  largest class, and a fake of a class that has been the largest enters with the probability that keeps that class a
  uniform sample of all it was ever given: so early passes are never forgotten (WINN's known failure). A soft fake
  belongs to the class of its larger share.

  Attributes:
    count: int32 scalar, how many of the rows hold a fake.
    passes: int32 [N], the pass each was drawn in.
    seen: int64 [K], how many of each class were ever given.
    full: bool [K], which classes have been the largest of a full pool.
  """

  def __init__(self, capacity: int, image_shape, num_classes: int):
    super().__init__(capacity, image_shape, "pool")
    self.num_classes = num_classes
    self.passes = _variable(tf.zeros([capacity]), tf.int32, "passes")
    self.count = _variable(0, tf.int32, "count")
    self.seen = _variable(tf.zeros([num_classes]), tf.int64, "seen")
    self.full = _variable(tf.zeros([num_classes], tf.bool), tf.bool, "full")

  def __len__(self):
    return int(self.count.numpy())

  def add(self, chains: Chains, images: tf.Tensor, pass_number: int, rng: np.random.Generator) -> None:
    """Offers the begun chains, rendered as `images`, as fakes of a pass; only labels come to the host."""
    offered = np.flatnonzero(chains.begun.numpy())
    owners, sources = self._place(_largest(chains, offered), rng)
    slots = np.flatnonzero(sources >= 0).astype(np.int32)
    if len(slots):
      rows = offered[sources[slots]].astype(np.int32)
      for mine, theirs in ((self.images, images), (self.labels, chains.labels), (self.shares, chains.shares)):
        mine.scatter_update(tf.IndexedSlices(tf.gather(theirs, rows), slots))
      self.passes.scatter_update(tf.IndexedSlices(tf.fill([len(slots)], pass_number), slots))
    self.count.assign(len(owners))

  def _place(self, offered: np.ndarray, rng: np.random.Generator):
    """Where fakes of the classes `offered` go: classes of all slots, and for each the number of its new fake, or -1."""
    size, seen, full = len(self), self.seen.numpy().copy(), self.full.numpy().copy()
    owners = np.concatenate([_largest(self, np.arange(size)),
                             np.zeros([min(self.capacity - size, len(offered))], np.int32)])
    sources = np.full([len(owners)], -1)
    counts = np.bincount(owners[:size], minlength=self.num_classes)
    for number, label in enumerate(offered):
      seen[label] += 1
      if size < self.capacity:
        owners[size], sources[size] = label, number
        size += 1
        counts[label] += 1
        continue
      largest = int(counts.argmax())
      full |= counts == counts[largest]
      if not full[label]:
        victim = largest
      elif rng.uniform() * seen[label] < counts[label]:
        victim = label
      else:
        continue
      slot = rng.choice(np.flatnonzero(owners == victim))
      owners[slot], sources[slot] = label, number
      counts[victim] -= 1
      counts[label] += 1
    self.seen.assign(seen)
    self.full.assign(full)
    return owners, sources


def _largest(fakes: MixedFakes, rows: np.ndarray) -> np.ndarray:
  """The class of the larger share of some rows: int32 [N]."""
  labels, shares = fakes.labels.numpy()[rows], fakes.shares.numpy()[rows]
  return np.where(shares >= 0.5, labels[:, 0], labels[:, 1])
