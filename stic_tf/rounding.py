"""Sums and products whose rounding neither the graph's optimiser nor the batch can change.

TensorFlow makes one operation of a sum of three tensors, and sorts its terms by their names, which differ between a
live and an exported graph: the last bit of a chain, and with it an accept test, would depend on it. It leaves products
and differences alone, but for x·sigmoid(x), of which oneDNN makes one operation here and there.

What a matrix product rounds depends on how many rows it has, of whole blocks too: oneDNN and Eigen choose kernel and
threads by it. What a convolution by oneDNN rounds does not depend on the number of images.
"""

import functools
import warnings

import numpy as np
import tensorflow as tf

# Rows that are moved, or multiplied by a matrix, at a time.
BLOCK = 16
# What is left over of a vector register has other last bits: of elementwise functions, and of convolutions.
_VECTOR = 8


def add_product(first: tf.Tensor, factor: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
  """first + factor·second, bit for bit, as a difference: never merged with another sum."""
  return first - (-factor) * second


def sum_of(terms) -> tf.Tensor:
  """The sum of tensors of one shape in one reduction."""
  return tf.reduce_sum(tf.stack(terms), axis=0)


def unfused_swish(features: tf.Tensor) -> tf.Tensor:
  """x·sigmoid(x) of [B, …], in two operations: a reshape between them hides them from the graph's optimiser.

  One operation rounds otherwise without AVX-512, and which swishes become one differs in a live and an exported graph.
  """
  return _swish(features)  # a function of its own, as Keras cannot write down one with a gradient of its own


@tf.custom_gradient
def _swish(features):
  def gradient(of_outputs):
    with tf.control_dependencies([of_outputs]):  # not kept from the forward pass: memory
      sigmoid = tf.sigmoid(features)
    return of_outputs * (sigmoid * (1.0 + features * (1.0 - sigmoid)))

  return features * tf.reshape(tf.sigmoid(tf.reshape(features, [-1])), [-1, *features.shape[1:]]), gradient


def fills_vectors(channels: int) -> bool:
  """Whether rows of so many channels leave nothing over of a vector register."""
  return channels % _VECTOR == 0


def in_row_blocks(function, rows: tf.Tensor) -> tf.Tensor:
  """`function` of rows [B, F] that zeros fill up to whole blocks: [B, F'].

  Of other numbers of rows elementwise functions have other last bits.
  """
  count = tf.shape(rows)[0]
  return function(tf.pad(rows, [[0, -count % BLOCK], [0, 0]]))[:count]


def product(rows: tf.Tensor, matrix, transposed: bool = False) -> tf.Tensor:
  """Rows [B, F] times `matrix` [F, F'], or its transpose where that is [F', F], with the same bits in any batch.

  Returns:
    [B, F'].
  """
  return in_row_blocks(lambda rows: product_of_blocks(rows, matrix, transposed), rows)


def product_of_blocks(rows: tf.Tensor, matrix, transposed: bool = False) -> tf.Tensor:
  """The same of rows that are whole blocks: a convolution of single positions, a block an image."""
  images = tf.reshape(rows, [-1, BLOCK, 1, rows.shape[-1]])
  return tf.reshape(along_last_axis(images, matrix, transposed), [-1, matrix.shape[0 if transposed else 1]])


def along_last_axis(images: tf.Tensor, matrix, transposed: bool = False) -> tf.Tensor:
  """The same of each vector along the last axis: [B, H, W, F] -> [B, H, W, F']."""
  matrix = tf.convert_to_tensor(matrix)
  size = matrix.shape[0 if transposed else 1]
  spare = [0, -size % _VECTOR]
  if spare[1]:
    matrix = tf.pad(matrix, [spare, [0, 0]] if transposed else [[0, 0], spare])
  kernel = matrix[tf.newaxis, tf.newaxis]
  if transposed:
    shape = tf.concat([tf.shape(images)[:3], [size + spare[1]]], axis=0)
    outputs = tf.nn.conv2d_transpose(images, kernel, shape, 1, "VALID")
  else:
    outputs = tf.nn.conv2d(images, kernel, 1, "VALID")
  return outputs[..., :size] if spare[1] else outputs


@functools.lru_cache(maxsize=1)
def convolutions_are_alike() -> bool:
  """Whether an image's convolution has the same bits in any batch here; where it has not, warns, once.

  oneDNN's has, Eigen's has not: how that divides a sum among threads and cache blocks depends on the number of images.
  """
  rng = np.random.default_rng(0)
  images = rng.normal(size=(33, 28, 28, 16)).astype(np.float32)
  kernel = rng.normal(size=(3, 3, 16, 16)).astype(np.float32)
  with tf.init_scope():
    whole = tf.nn.conv2d(images, kernel, 1, "SAME").numpy()
    alike = all((tf.nn.conv2d(images[:count], kernel, 1, "SAME").numpy() == whole[:count]).all()
                for count in (1, 2, 7, 16, 32))
  if not alike:
    warnings.warn("convolutions depend on the batch here, so drawings do, in their last bits and now and then visibly: "
                  "import stic_tf before TensorFlow, or set TF_ENABLE_ONEDNN_OPTS=1", RuntimeWarning, stacklevel=2)
  return alike
