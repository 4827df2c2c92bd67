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


def of_dense(class_weights: tf.Tensor, most: int = MOST_CLASSES) -> SparseWeights:
  """Class weights float32 [B, K] on the simplex as n = min(K, `most`) pairs an image.

  n does not depend on the images beside one in a batch, and neither, therefore, does the order of any sum. Of an image
  that mixes more classes the largest are kept, in proportion: a graph that served it with others must not fail. Weights
  of fewer classes stay as they are, bit for bit.
  """
  weights, classes = tf.math.top_k(class_weights, min(class_weights.shape[-1], most))
  cut = tf.math.count_nonzero(class_weights, axis=1) > most
  shares = weights / tf.reduce_sum(weights, axis=1, keepdims=True)
  return SparseWeights(classes, tf.where(cut[:, tf.newaxis], shares, weights))
