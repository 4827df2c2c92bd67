"""Class weights by their non-zero entries, so that what a soft class costs does not grow with the number of classes."""

from typing import NamedTuple

import tensorflow as tf

# A soft class mixes at most so many classes: drawing then costs the same with ten classes as with ten thousand.
MOST_CLASSES = 10


class SparseWeights(NamedTuple):
  """Class weights of B images.

  Attributes:
    classes: int32 [B, n].
    weights: float32 [B, n], 0 where an image mixes fewer than n classes.
  """

  classes: tf.Tensor
  weights: tf.Tensor


def of_dense(class_weights: tf.Tensor) -> SparseWeights:
  """Class weights float32 [B, K] as n = min(K, MOST_CLASSES) pairs an image.

  n does not depend on the images beside one in a batch, and neither, therefore, does the order of any sum.

  Raises:
    tf.errors.InvalidArgumentError: an image mixes more classes.
  """
  count = min(class_weights.shape[-1], MOST_CLASSES)
  mixed = tf.reduce_max(tf.math.count_nonzero(class_weights, axis=1))
  message = f"class weights may mix at most {MOST_CLASSES} classes"
  with tf.control_dependencies([tf.debugging.assert_less_equal(mixed, tf.constant(count, tf.int64), message)]):
    weights, classes = tf.math.top_k(class_weights, count)
  return SparseWeights(classes, weights)
