"""Reads a slice of a prepared TFDS dataset: whole into memory, or as endless batches in shuffled order."""

from typing import Callable, Optional, Tuple

import numpy as np
import tensorflow as tf

from stic_tf.config import ConfigError
from stic_tf.datasets.catalog import DatasetSpec
from stic_tf.datasets.share import Rows

_SHUFFLE_RECORDS = 10000
_SHUFFLE_BYTES = 2**27
_LANES = 16
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
    whole = builder.info.splits[piece.partition("[")[0]]  # of a slice TFDS knows no size
    self._record_bytes = max(1, whole.num_bytes // max(1, whole.num_examples))

  def check_files(self) -> None:
    """Raises ConfigError where a file is missing."""
    for instruction in self._split.file_instructions:
      if not tf.io.gfile.exists(str(instruction.filename)):
        raise self._broken(f"{instruction.filename} is missing")

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

  def batches(self, key: int, start: int, rows: Rows) -> tf.data.Dataset:
    """Endless batches (images uint8 [R, H, W, C], labels int32 [R]) in an order that `key` determines.

    An epoch is divided into up to 16 lanes, each of which fills certain rows of every batch, so that who wants some
    rows opens the files of their lanes alone. The files come in a fresh order each epoch, are laid end to end and cut
    into the lanes, and a lane is shuffled in windows: as random as a sequential read allows. Nothing is read, but for
    one window, that lies before `start`; what does not divide among the lanes is left out, other images each epoch.

    Args:
      key: 0..2^63-1.
      start: number of the first batch.
      rows: of every batch.
    """
    lanes = max(count for count in range(1, min(_LANES, self.num_images) + 1) if rows.of % count == 0)
    each = rows.of // lanes  # of a batch's rows
    numbers = rows.numbers()
    wanted = sorted({number // each for number in numbers})
    places = [wanted.index(number // each) * each + number % each for number in numbers]
    records = tf.data.Dataset.from_tensor_slices(tf.constant(wanted, tf.int64)).interleave(
        tf.autograph.experimental.do_not_convert(lambda lane: self._lane(lane, lanes, key, start * each)),
        cycle_length=len(wanted), block_length=each, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    chosen = records.batch(len(wanted) * each, drop_remainder=True).map(
        tf.autograph.experimental.do_not_convert(lambda batch: tf.gather(batch, places)))
    return self._decoded(chosen.unbatch()).batch(rows.count, drop_remainder=True)

  def _lane(self, lane: tf.Tensor, lanes: int, key: int, start: int) -> tf.data.Dataset:
    """The undecoded records of a lane, endless, from its position `start` on."""
    paths, skips, takes = self._files()
    length = self.num_images // lanes
    window = int(max(1, min(length, min(_SHUFFLE_RECORDS, _SHUFFLE_BYTES // self._record_bytes) // lanes)))
    first_epoch, offset = divmod(start, length)
    first_window = offset // window

    # Dataset.shuffle would mix the process' global seed into the order; the stateless shuffles depend on the key alone.
    @tf.autograph.experimental.do_not_convert
    def epoch_records(epoch):
      seed = tf.stack([tf.constant(key, tf.int64), epoch])
      order = tf.random.experimental.stateless_shuffle(tf.range(paths.shape[0]), seed)
      counts = tf.gather(takes, order)
      ends = tf.cumsum(counts)
      window_now = tf.where(epoch == first_epoch, tf.constant(first_window, tf.int64), 0)
      begin = lane * length + window_now * window
      left_out = tf.clip_by_value(begin - (ends - counts), 0, counts)
      kept = tf.clip_by_value((lane + 1) * length - (ends - counts), 0, counts) - left_out
      files = tf.data.Dataset.from_tensor_slices((tf.gather(paths, order), tf.gather(skips, order) + left_out, kept))
      records = files.filter(lambda path, skip, take: take > 0).flat_map(_records)
      lane_seed = tf.random.experimental.stateless_fold_in(seed, lane)
      windows = records.batch(window).enumerate(window_now).map(
          lambda number, part: tf.random.experimental.stateless_shuffle(
              part, tf.random.experimental.stateless_fold_in(lane_seed, number)))
      return windows.prefetch(1).unbatch()

    return tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch_records).skip(offset % window)

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
