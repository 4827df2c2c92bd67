"""The streams of images that an update reads, made of whatever a data set gives.

real_images and mixup_images are those that the classification losses see (augmented), float32 [B, H, W, C] in [-1, 1],
with real_labels and mixup_labels float32 [B, K]; generative_images and generative_labels those whose density is learnt
(never augmented).
"""

from typing import Dict

import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.datasets import augmentation
from stic_tf.datasets import pixel_range
from stic_tf.training import randomness as randomness_lib

NAMES = ("real", "mixup", "generative")


def of_batch(data, num_classes: int, mixup_alpha: float,
             randomness: randomness_lib.Randomness) -> Dict[str, tf.Tensor]:
  """The streams of one batch of one replica.

  Args:
    data: a dictionary of the streams, as `trainers` makes it, or a pair (images, labels): images uint8, or float in
      [-1, 1], [B, H, W, C]; labels int [B] or [B, 1], or float [B, K]. A pair's images are taken as they are for all
      streams.
    num_classes: K.
    mixup_alpha: images of a pair are mixed with each other in shares of Beta(α, α); 0 for none.
    randomness: of the update.

  Raises:
    ConfigError: data of another form.
    InvalidArgumentError: when it runs, of a pair with labels that are no classes, or no weights on the simplex.
  """
  if isinstance(data, dict):
    missing = [f"{name}_{what}" for name in NAMES for what in ("images", "labels") if f"{name}_{what}" not in data]
    config_lib.require(not missing, "dataset", sorted(data), "lacks " + ", ".join(missing))
    return {name: _one_hot(value, num_classes) if name.endswith("labels") else _floats(value)
            for name, value in data.items()}
  config_lib.require(isinstance(data, (tuple, list)) and len(data) == 2, "dataset", type(data).__name__,
                     "must give pairs (images, labels)")
  images, labels = _floats(data[0]), _on_simplex(_one_hot(data[1], num_classes))
  # Mixed over the whole batch: neighbours must not depend on how the replicas divide it.
  mixup_images, mixup_labels = (randomness_lib.replica_rows(mixed) for mixed in augmentation.mixup(
      _whole(images), _whole(labels), mixup_alpha, randomness.key(randomness_lib.MIXUP)))
  return {"real_images": images, "real_labels": labels, "mixup_images": mixup_images, "mixup_labels": mixup_labels,
          "generative_images": images, "generative_labels": labels}


def _whole(values: tf.Tensor) -> tf.Tensor:
  """A whole batch's values [B, …], of this replica's rows of them."""
  context = tf.distribute.get_replica_context()
  return values if context.num_replicas_in_sync == 1 else context.all_gather(values, axis=0)


def _floats(images: tf.Tensor) -> tf.Tensor:
  return pixel_range.from_uint8(images) if images.dtype == tf.uint8 else tf.cast(images, tf.float32)


def _one_hot(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
  is_number = labels.dtype.is_integer
  if is_number and labels.shape.rank == 2 and labels.shape[1] == 1:  # as Keras' own data sets have them
    labels = labels[:, 0]
  right = labels.shape.rank == 1 if is_number else labels.shape.rank == 2 and labels.shape[1] in (None, num_classes)
  config_lib.require(right, "dataset", f"labels {labels.shape}",
                     f"must be class numbers [N], or class weights float [N, {num_classes}]")
  return tf.one_hot(tf.cast(labels, tf.int64), num_classes) if is_number else tf.cast(labels, tf.float32)


def _on_simplex(weights: tf.Tensor) -> tf.Tensor:
  """Class weights [B, K]; fails in the graph for others: a number that is no class has a row of zeros."""
  is_on_it = tf.reduce_all(weights >= 0) & tf.reduce_all(tf.abs(tf.reduce_sum(weights, axis=1) - 1.0) < 1e-3)
  said = f"labels must be class numbers in 0..{weights.shape[1] - 1}, or class weights >= 0 that sum to 1"
  with tf.control_dependencies([tf.debugging.Assert(is_on_it, [said])]):
    return tf.identity(weights)
