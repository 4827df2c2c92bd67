"""The streams a run learns from: endless batches, each a function of (seed, batch number) alone.

A resumed run passes `start` = the number of batches already taken and sees exactly what the unbroken run would have.
"""

from typing import Dict

import tensorflow as tf

from stic_tf.config import require
from stic_tf.datasets.augmentation import NUM_KEYS
from stic_tf.datasets.augmentation import augment as augment_batch
from stic_tf.datasets.augmentation import flip
from stic_tf.datasets.augmentation import mixup
from stic_tf.datasets.dataset import Dataset
from stic_tf.datasets.dataset import load
from stic_tf.datasets.epoch_order import stream_keys
from stic_tf.datasets.pixel_range import from_uint8
from stic_tf.datasets.share import WHOLE
from stic_tf.datasets.share import Share

__all__ = ["Dataset", "classification_stream", "generation_stream", "load", "update_stream"]

_CLASSIFICATION, _GENERATION = 0, 1
_PREFETCHED_BATCHES = 4


def classification_stream(dataset: Dataset, batch_size: int, seed: int, augment: bool = True,
                          mixup_alpha: float = 0.2, start: int = 0, share: Share = WHOLE,
                          cutout: float = 0.0, cutmix: float = 0.0) -> tf.data.Dataset:
  """Real images and mixtures of real images, for the two cross-entropy streams.

  Args:
    dataset: from `load`; its train split is used.
    batch_size: B, at least 1.
    seed: any integer; the n-th batch depends on (seed, n) and the arguments above and below, not on `start`.
    augment: whether to shift, rotate or mirror the images as suits the dataset (catalog.py).
    mixup_alpha: mixing weights are Beta(alpha, alpha); 0 makes the mixup stream equal to the real one, but for cutmix.
    start: number of the first batch.
    share: which part of every batch is wanted, and read; its rows are those that the whole batch would have.
    cutout: side of the square that augmentation hides in each image, as a share of the image's sides; 0 for none.
    cutmix: share of the mixup stream's images that get a rectangle of another image instead, in [0, 1].

  Returns:
    An endless dataset of dicts: "real_images" and "mixup_images" float32 [B, H, W, C] in [-1, 1], "real_labels" and
    "mixup_labels" float32 [B, K] on the simplex (real ones one-hot). The mixtures are of the same B images.

  Raises:
    ConfigError: batch_size, mixup_alpha, cutout or cutmix out of range, or cutout without augmentation.
  """
  require(batch_size >= 1, "batch_size", batch_size, "must be at least 1")
  require(0 <= mixup_alpha < float("inf"), "mixup_alpha", mixup_alpha, "must be a finite number of at least 0")
  require(0 <= cutout < 1, "cutout", cutout, "must lie in [0, 1)")
  require(augment or not cutout, "cutout", cutout, "needs --augment")
  require(0 <= cutmix <= 1, "cutmix", cutmix, "must lie in [0, 1]")
  order_key, mixup_key, *augment_keys = stream_keys(seed, _CLASSIFICATION, 2 + NUM_KEYS)
  sides = dataset.spec.image_shape[:2]
  require(not cutout or cutout * min(sides) > 1, "cutout", cutout, f"hides no pixel of images {list(sides)}")
  rows = share.rows(batch_size, with_neighbour=True)

  def finish(step: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> Dict[str, tf.Tensor]:
    images = from_uint8(images)
    if augment:
      images = augment_batch(images, dataset.spec, augment_keys, step, rows, cutout)
    labels = tf.one_hot(labels, dataset.spec.num_classes)
    mixup_images, mixup_labels = mixup(images, labels, mixup_alpha, tf.stack([mixup_key, step]),
                                       rows if share.of > 1 else None, cutmix)
    own = slice(rows.count - batch_size // share.of, None)
    return {"real_images": images[own], "real_labels": labels[own], "mixup_images": mixup_images,
            "mixup_labels": mixup_labels}

  return _stream(dataset.training_batches(batch_size, order_key, start, rows), finish)


def generation_stream(dataset: Dataset, batch_size: int, seed: int, start: int = 0, share: Share = WHOLE,
                      mirror: bool = True) -> tf.data.Dataset:
  """Real images as they are, for the generative streams: never mixed, no noise added, never shifted or rotated.

  Where the dataset says that a mirrored image still shows its class, half of them are mirrored: a photograph's mirror
  image is as likely as the photograph, so it is a draw from p(x | y) as well.

  Args:
    dataset: from `load`; its train split is used.
    batch_size: B, at least 1.
    seed: any integer; with the same seed the order differs from that of the classification stream.
    start: number of the first batch.
    share: as for `classification_stream`.
    mirror: False leaves all as they are, for images that are to be learnt by heart.

  Returns:
    An endless dataset of (images float32 [B, H, W, C] in [-1, 1], labels int32 [B]).

  Raises:
    ConfigError: batch_size below 1.
  """
  require(batch_size >= 1, "batch_size", batch_size, "must be at least 1")
  order_key, flip_key = stream_keys(seed, _GENERATION, 2)
  rows = share.rows(batch_size)

  def finish(step: tf.Tensor, images: tf.Tensor, labels: tf.Tensor):
    images = from_uint8(images)
    return flip(images, tf.stack([flip_key, step]), rows) if mirror and dataset.spec.flip else images, labels

  return _stream(dataset.training_batches(batch_size, order_key, start, rows), finish)


def update_stream(dataset: Dataset, batch_size: int, seed: int, augment: bool = True, mixup_alpha: float = 0.2,
                  start: int = 0, share: Share = WHOLE, ratio: int = 1, cutout: float = 0.0,
                  cutmix: float = 0.0) -> tf.data.Dataset:
  """Both streams side by side, as an update of a system reads them; arguments as for `classification_stream`.

  Args:
    augment: also whether the generative stream has mirror images.
    ratio: how many images of the classification streams there are for each of the generative one, at least 1.

  Returns:
    An endless dataset of dicts: those of `classification_stream`, B · ratio images each, with "generative_images" and
    "generative_labels", of B.
  """
  require(ratio >= 1, "classification_ratio", ratio, "must be at least 1")
  classification = classification_stream(dataset, batch_size * ratio, seed, augment, mixup_alpha, start, share,
                                         cutout, cutmix)
  generation = generation_stream(dataset, batch_size, seed, start, share, augment)
  return tf.data.Dataset.zip((classification, generation)).map(
      lambda streams, real: {**streams, "generative_images": real[0], "generative_labels": real[1]}).apply(
          tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def _stream(batches: tf.data.Dataset, finish) -> tf.data.Dataset:
  options = tf.data.Options()
  options.deterministic = True
  # None has Python's own branches on a tensor: converted, they would take a second at every start.
  finish = tf.autograph.experimental.do_not_convert(finish)
  return batches.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(
      _PREFETCHED_BATCHES).with_options(options)
