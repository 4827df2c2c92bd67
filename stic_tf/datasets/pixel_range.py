"""The only place that knows how stored pixels (uint8) and the network's pixels ([-1, 1]) correspond."""

from typing import Union

import numpy as np
import tensorflow as tf

_HALF_RANGE = 127.5
_ONE_OVER_255 = 1.0 / 255.0
BACKGROUND = -1.0  # the value of a stored 0: what lies outside a digit


def from_uint8(images: Union[tf.Tensor, np.ndarray]) -> tf.Tensor:
  """Stored pixels to network pixels: x / 127.5 - 1.

  Args:
    images: uint8, any shape, 0..255.

  Returns:
    float32 of the same shape, in [-1, 1]; `to_uint8` gives back exactly the input.

  Raises:
    TypeError: `images` is not uint8 (most often: it has been converted already).
  """
  images = tf.convert_to_tensor(images)
  if images.dtype != tf.uint8:
    raise TypeError(f"from_uint8 takes uint8 images, not {images.dtype.name}: were they converted before?")
  # A product: graphs rewrite a division by a constant into one, and eager results would differ in the last bit.
  return (2.0 * tf.cast(images, tf.float32) - 255.0) * _ONE_OVER_255


def to_uint8(images: Union[tf.Tensor, np.ndarray]) -> tf.Tensor:
  """Network pixels to stored pixels, by rounding; what lies outside [-1, 1] saturates.

  NaN has no right colour, and a cast of it is undefined and differs between machines: it becomes 0 everywhere.

  Args:
    images: floating point, any shape; [-1, 1] is the range that survives, ±inf saturates too.

  Returns:
    uint8 of the same shape.

  Raises:
    TypeError: `images` is not floating point (most often: it is uint8 already).
  """
  images = tf.convert_to_tensor(images)
  if not images.dtype.is_floating:
    raise TypeError(f"to_uint8 takes floating point images, not {images.dtype.name}: were they converted before?")
  images = tf.cast(images, tf.float32)
  scaled = tf.clip_by_value(tf.round((images + 1.0) * _HALF_RANGE), 0.0, 255.0)
  return tf.cast(tf.where(tf.math.is_nan(images), 0.0, scaled), tf.uint8)
