"""Reads a slice of a prepared TFDS dataset: whole into memory, or as an endless shuffled stream of images."""

from typing import Callable, Optional, Tuple

import numpy as np
import tensorflow as tf

from stic_tf.config import ConfigError
from stic_tf.datasets.catalog import DatasetSpec

_SHUFFLE_RECORDS = 10000
_SHUFFLE_BYTES = 2**27
_FILES_AT_ONCE = 16
_RECORDS_PER_TURN = 16
_READ_BATCH = 256


class TfdsReader:
  """One slice, such as "train[:55000]", of a prepared dataset.

  Attributes:
    num_images: images in the slice.
  """

  def __init__(self, spec: DatasetSpec, builder, piece: str, broken: Callable[[object], ConfigError]):
    """`builder`: a read-only tfds builder; `broken`: makes the error to raise from a description of what is wrong."""
    self._spec = spec
    self._builder = builder
    self._piece = piece
    self._broken = broken
    self._split = builder.info.splits[piece]
    self.num_images = self._split.num_examples

  def read(self, limit: Optional[int] = None) -> Tuple[np.ndarray, np.ndarray]:
    """The first `limit` images (all for None) in stored order: uint8 [N, H, W, C], labels int32 [N].

    Raises:
      ConfigError: a file is missing, cut short or holds something else.
    """
    wanted = self.num_images if limit is None else min(limit, self.num_images)
    images = np.empty((wanted, *self._spec.image_shape), np.uint8)
    labels = np.empty((wanted,), np.int32)
    done = 0
    try:
      records = tf.data.Dataset.from_tensor_slices(self._files()).flat_map(_records).take(wanted)
      for some_images, some_labels in self._decoded(records).batch(_READ_BATCH).as_numpy_iterator():
        images[done:done + len(some_labels)] = some_images
        labels[done:done + len(some_labels)] = some_labels
        done += len(some_labels)
    except (tf.errors.OpError, OSError, ValueError) as error:
      raise self._broken(error) from error
    if done != wanted:
      raise self._broken(f"{done} of {wanted} images in {self._piece}")
    if wanted and not (0 <= labels.min() and labels.max() < self._spec.num_classes):
      raise self._broken(f"a label outside 0..{self._spec.num_classes - 1} in {self._piece}")
    for array in (images, labels):
      array.setflags(write=False)
    return images, labels

  def shuffled(self, key: int, skip: int = 0) -> tf.data.Dataset:
    """Endless (image uint8 [H, W, C], label int32), each image once an epoch, in an order that `key` determines.

    The files are taken in a fresh order each epoch and read several at a time, and what comes of them is shuffled in
    windows: as random as a sequential read allows. What is skipped is not decoded, and whole epochs are not even read.

    Args:
      key: 0..2^63-1.
      skip: images to leave out at the beginning.
    """
    paths, skips, takes = self._files()
    num_files = len(paths)
    record_bytes = max(1, self._split.num_bytes // self.num_images)
    window = int(min(self.num_images, _SHUFFLE_RECORDS, max(1, _SHUFFLE_BYTES // record_bytes)))

    # Dataset.shuffle would mix the process' global seed into the order; the stateless shuffles depend on the key alone.
    def epoch_records(epoch):
      epoch_seed = tf.stack([tf.constant(key, tf.int64), epoch])
      order = tf.random.experimental.stateless_shuffle(tf.range(num_files), epoch_seed)
      files = tf.data.Dataset.from_tensor_slices(
          (tf.gather(paths, order), tf.gather(skips, order), tf.gather(takes, order)))
      in_turn = files.interleave(
          _records, cycle_length=min(_FILES_AT_ONCE, num_files), block_length=_RECORDS_PER_TURN,
          num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
      windows = in_turn.batch(window).enumerate().map(
          lambda number, records: tf.random.experimental.stateless_shuffle(
              records, tf.random.experimental.stateless_fold_in(epoch_seed, number)))
      return windows.prefetch(1).unbatch()

    first_epoch, offset = divmod(skip, self.num_images)
    return self._decoded(tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch_records).skip(offset))

  def _files(self) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Paths, records to skip and records to take of the files of the slice, each [number of files]."""
    pieces = self._split.file_instructions
    return (tf.constant([str(piece.filename) for piece in pieces]),
            tf.constant([piece.skip for piece in pieces], tf.int64),
            tf.constant([piece.take for piece in pieces], tf.int64))

  def _decoded(self, records: tf.data.Dataset) -> tf.data.Dataset:
    features = self._builder.info.features
    height, width, channels = self._spec.image_shape
    stored_shape = tuple(features["image"].shape)

    def decode(record):
      example = features.deserialize_example(record)
      image = example["image"]
      if stored_shape != self._spec.image_shape:
        image = _centre_resized(image, height, width)
      return tf.ensure_shape(image, [height, width, channels]), tf.cast(example.get("label", 0), tf.int32)

    return records.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _records(path: tf.Tensor, skip: tf.Tensor, take: tf.Tensor) -> tf.data.Dataset:
  return tf.data.TFRecordDataset(path).skip(skip).take(take)


def _centre_resized(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
  """The largest centred piece of the image of the wanted aspect ratio, resized to [height, width] with antialiasing."""
  shape = tf.shape(image)
  scale = tf.minimum(shape[0] / height, shape[1] / width)
  rows = tf.maximum(1, tf.cast(tf.round(scale * height), tf.int32))
  columns = tf.maximum(1, tf.cast(tf.round(scale * width), tf.int32))
  piece = tf.image.crop_to_bounding_box(image, (shape[0] - rows) // 2, (shape[1] - columns) // 2, rows, columns)
  resized = tf.image.resize(piece, [height, width], tf.image.ResizeMethod.BICUBIC, antialias=True)
  return tf.saturate_cast(tf.round(resized), tf.uint8)
