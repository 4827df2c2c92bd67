"""A loaded dataset: its three splits as arrays, and its training images as an endless shuffled walk.

Up to 1 GiB of pixels is held in memory; more is read from the prepared files as it is needed.
"""

import dataclasses
import math
from typing import Dict, Optional, Tuple, Union

import numpy as np
import tensorflow as tf

from stic_tf.config import require
from stic_tf.datasets import source
from stic_tf.datasets.catalog import DatasetSpec
from stic_tf.datasets.catalog import lookup
from stic_tf.datasets.epoch_order import shuffled_indices
from stic_tf.datasets.share import Rows
from stic_tf.datasets.splits import SPLITS
from stic_tf.datasets.splits import digits_indices
from stic_tf.datasets.splits import tfds_slices
from stic_tf.datasets.tfds_reader import TfdsReader

MEMORY_LIMIT = 2**30  # bytes of uint8 pixels, all splits together


class Dataset:
  """What the two kinds of dataset have in common.

  Attributes:
    spec: the catalogue entry, with the class names of the prepared data where the catalogue has none.
    sizes: split ("train", "validation", "test") -> number of images.
    memorisation: True where all three splits are the same images (see splits.py): a report must say so.
    in_memory: whether `arrays` may be asked for a whole split.
  """

  in_memory = True

  def __init__(self, spec: DatasetSpec, sizes: Dict[str, int], memorisation: bool):
    self.spec = spec
    self.sizes = sizes
    self.memorisation = memorisation

  def arrays(self, split: str, limit: Optional[int] = None) -> Tuple[np.ndarray, np.ndarray]:
    """The first `limit` images of a split, in stored order, or all of them.

    Args:
      split: "train", "validation" or "test".
      limit: at least 1; required where the dataset is not held in memory.

    Returns:
      images uint8 [N, H, W, C], labels int32 [N]; read-only.

    Raises:
      ValueError: an unknown split, a limit below 1, or none where one is required.
      ConfigError: the stored data is broken.
    """
    if split not in SPLITS:
      raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    if limit is not None and limit < 1:
      raise ValueError(f"limit must be at least 1, not {limit}")
    return self._arrays(split, limit)

  def training_batches(self, batch_size: int, key: int, start: int, rows: Rows) -> tf.data.Dataset:
    """Endless batches (step int64, images uint8 [R, H, W, C], labels int32 [R]) of the train split.

    Every image comes once an epoch (of a streamed dataset, all but fewer than 16 do).

    Args:
      batch_size: B, at least 1.
      key: determines the order.
      start: the step to begin at; batch n is the same whatever `start`.
      rows: those of every batch that are read.
    """
    raise NotImplementedError

  def few(self, count: int, seed: int) -> "Dataset":
    """The same with `count` of its training images, as many of each class, chosen by `seed`.

    Raises:
      ConfigError: classes do not divide `count` or have fewer images, or the data is not held in memory.
    """
    require(False, "train_images", count, f"must be 0: {self.spec.name} does not fit in memory, and is used whole")

  def learnt(self, train_images: int, seed: int) -> "Dataset":
    """What a run with --train_images and --seed learns from: `few` of it, or for 0 the whole."""
    return self.few(train_images, seed) if train_images else self

  def _arrays(self, split: str, limit: Optional[int]) -> Tuple[np.ndarray, np.ndarray]:
    raise NotImplementedError


class InMemoryDataset(Dataset):
  """A dataset held as uint8 tensors; `arrays` gives views of them, not copies."""

  def __init__(self, spec: DatasetSpec, splits: Dict[str, Tuple[np.ndarray, np.ndarray]], memorisation: bool = False):
    """Takes split -> (images uint8 [N, H, W, C], labels int [N]); splits that are the same object are stored once."""
    super().__init__(spec, {name: len(labels) for name, (_, labels) in splits.items()}, memorisation)
    stored = {}
    with tf.device("/CPU:0"):  # tf.data gathers from them on the host, also where there is a GPU
      for images, labels in splits.values():
        if id(images) not in stored:
          stored[id(images)] = tf.constant(images, tf.uint8), tf.constant(labels, tf.int32)
    self._splits = {name: stored[id(images)] for name, (images, _) in splits.items()}

  def _arrays(self, split, limit):
    images, labels = self._splits[split]
    return np.asarray(images)[:limit], np.asarray(labels)[:limit]

  def few(self, count, seed):
    splits, num_classes = {name: self.arrays(name) for name in SPLITS}, self.spec.num_classes
    images, labels = splits["train"]
    most = num_classes * int(np.bincount(labels, minlength=num_classes).min())
    require(0 < count <= most and count % num_classes == 0, "train_images", count,
            f"must be a multiple of the {num_classes} classes, at most {most}")
    rng = np.random.default_rng([seed, count])
    chosen = np.sort(np.concatenate([rng.choice(np.flatnonzero(labels == label), count // num_classes, replace=False)
                                     for label in range(num_classes)]))
    return InMemoryDataset(self.spec, {**splits, "train": (images[chosen], labels[chosen])}, self.memorisation)

  def training_batches(self, batch_size, key, start, rows):
    images, labels = self._splits["train"]
    num_images = self.sizes["train"]

    @tf.autograph.experimental.do_not_convert
    def batch(step):
      positions = step * batch_size + rows.of_batch(tf.range(batch_size, dtype=tf.int64))
      chosen = shuffled_indices(positions, num_images, key)
      return step, tf.gather(images, chosen), tf.gather(labels, chosen)

    return tf.data.Dataset.range(start, tf.int64.max).map(batch)


class StreamedDataset(Dataset):
  """A dataset too large for memory, read from its prepared files."""

  in_memory = False

  def __init__(self, spec: DatasetSpec, readers: Dict[str, TfdsReader], memorisation: bool = False):
    super().__init__(spec, {name: reader.num_images for name, reader in readers.items()}, memorisation)
    self._readers = readers

  def _arrays(self, split, limit):
    if limit is None:
      raise ValueError(f"{self.spec.name} does not fit in memory: arrays needs a limit")
    return self._readers[split].read(limit)

  def training_batches(self, batch_size, key, start, rows):
    stream = self._readers["train"].batches(key, start, rows)
    return stream.enumerate(start).map(lambda step, images_and_labels: (step, *images_and_labels))


def load(name: Union[str, DatasetSpec], data_dir: Optional[str] = None, download: bool = True,
         timeout_seconds: float = 10.0) -> Dataset:
  """Loads a dataset of the catalogue, its three splits by the rules of splits.py.

  Runs TensorFlow operations, so logical devices must have been configured before.

  Args:
    name: a name of the catalogue, or a DatasetSpec of the caller's own.
    data_dir: folder of prepared TFDS datasets, may start with ~; None is TFDS' own default. Not used for digits.
    download: whether an absent dataset may be downloaded into it.
    timeout_seconds: how long a download host has to answer before the dataset counts as unreachable.

  Returns:
    An InMemoryDataset, or a StreamedDataset where the pixels pass 1 GiB.

  Raises:
    ConfigError: unknown name, or data absent, unreachable or broken; one line that says how to get it.
  """
  spec = lookup(name) if isinstance(name, str) else name
  if spec.tfds_name is None:
    images, labels = source.digits()
    return InMemoryDataset(spec, {
        split: (images[indices], labels[indices]) for split, indices in digits_indices(labels).items()})
  builder = source.open_builder(spec, data_dir, download, timeout_seconds)

  def broken(problem):
    return source.unreadable(spec, data_dir, problem)

  spec = _checked(spec, builder.info, broken)
  slices, memorisation = tfds_slices(spec, {split: info.num_examples for split, info in builder.info.splits.items()})
  readers = {piece: TfdsReader(spec, builder, piece, broken) for piece in set(slices.values())}
  pixels = sum(reader.num_images for reader in readers.values()) * math.prod(spec.image_shape)
  if pixels > MEMORY_LIMIT:
    for reader in readers.values():
      reader.check_files()  # what is missing is told of now, not hours into a run
      reader.read(1)
    return StreamedDataset(spec, {split: readers[piece] for split, piece in slices.items()}, memorisation)
  pieces = {piece: reader.read() for piece, reader in readers.items()}
  return InMemoryDataset(spec, {split: pieces[piece] for split, piece in slices.items()}, memorisation)


def _checked(spec: DatasetSpec, info, broken) -> DatasetSpec:
  """The spec, with class names from the prepared data where it has none; raises what `broken` makes on a mismatch."""
  features = info.features
  if info.file_format.value != "tfrecord":
    raise broken(f"file format {info.file_format.value}, not tfrecord")
  if "image" not in features or (spec.num_classes > 1 and "label" not in features):
    raise broken("no image or no label feature")
  if features["image"].shape[-1] != spec.image_shape[-1]:
    raise broken(f"images of {features['image'].shape[-1]} channels, not {spec.image_shape[-1]}")
  if np.dtype(features["image"].np_dtype) != np.uint8:
    raise broken(f"images of {np.dtype(features['image'].np_dtype)}, not uint8")
  if "label" not in features:
    return spec
  num_classes = getattr(features["label"], "num_classes", None)
  if num_classes is None:
    raise broken("labels that are no class labels")
  if num_classes != spec.num_classes:
    raise broken(f"{num_classes} classes, not {spec.num_classes}")
  return spec if spec.class_names else dataclasses.replace(spec, class_names=tuple(features["label"].names))
