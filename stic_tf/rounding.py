"""Sums whose rounding the graph's optimiser cannot change.

TensorFlow makes one operation of a sum of three tensors, and sorts its terms by their names, which differ between a
live and an exported graph: the last bit of a chain, and with it an accept test, would depend on it. It leaves products
and differences alone.
"""

import tensorflow as tf


def add_product(first: tf.Tensor, factor: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
  """first + factor·second, bit for bit, as a difference: never merged with another sum."""
  return first - (-factor) * second


def sum_of(terms) -> tf.Tensor:
  """The sum of tensors of one shape in one reduction."""
  return tf.reduce_sum(tf.stack(terms), axis=0)
