"""Layers that several networks share. No batch statistics anywhere, swish where a sampler needs a smooth gradient.

`rows_alike` tells whether a layer gives a row the same bits in any company (first_rows.py). On processors it does where
its channels fill vector registers.
"""

import keras
import tensorflow as tf
from keras import layers

from stic_tf import rounding

_EMBEDDING = 128
_HARMONICS = 4

# So that a clone of a network has it too.
keras.saving.register_keras_serializable("stic_tf")(rounding.unfused_swish)


def initializer(scale: float, seed: int) -> keras.initializers.Initializer:
  """Normal weights of variance scale / fan-in; 2 is He's."""
  return keras.initializers.VarianceScaling(scale, mode="fan_in", seed=seed)


class Dense(layers.Dense):
  """keras.layers.Dense of rows [B, F] that have the same bits in any company."""

  def rows_alike(self):
    return self.activation is keras.activations.linear or rounding.fills_vectors(self.units)

  def call(self, inputs):
    return rounding.in_row_blocks(self._of_rows, inputs)

  def _of_rows(self, rows):
    outputs = rounding.product_of_blocks(rows, self.kernel)
    return self.activation(tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs)


class Convolution(layers.Conv2D):
  """keras.layers.Conv2D with padding "same" whose images have the same bits in any company, gradients included.

  With a stride the input gradient is computed in an order that depends on images and threads. So a stride is written
  as what it is: blocks of stride × stride pixels become channels, and what is left is a convolution without one. Its
  weights are those of Conv2D.
  """

  def rows_alike(self):
    return rounding.fills_vectors(self.filters)

  def call(self, inputs):
    stride, size = self.strides[0], self.kernel_size[0]
    if stride == 1:
      return super().call(inputs)
    images, kernel = inputs[:, ::stride, ::stride], self.kernel
    if size > 1:
      blocks = -(-size // stride)
      padding = [[0, 0], *(self._padding(length, stride, size, blocks) for length in inputs.shape[1:3]), [0, 0]]
      images = tf.nn.space_to_depth(tf.pad(inputs, padding), stride)
      rest = [0, blocks * stride - size]
      kernel = tf.pad(tf.convert_to_tensor(kernel), [rest, rest, [0, 0], [0, 0]])
      kernel = tf.reshape(kernel, [blocks, stride, blocks, stride, inputs.shape[3], self.filters])
      kernel = tf.reshape(tf.transpose(kernel, [0, 2, 1, 3, 4, 5]), [blocks, blocks, -1, self.filters])
    outputs = tf.nn.conv2d(images, kernel, 1, "VALID")
    return self.activation(tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs)

  @staticmethod
  def _padding(length, stride, size, blocks):
    """Before and behind: as "same" has it before, then up to whole blocks."""
    outputs = -(-length // stride)
    before = max((outputs - 1) * stride + size - length, 0) // 2
    return [before, (outputs - 1 + blocks) * stride - before - length]


def convolution(filters: int, stride: int, name: str, scale: float = 2.0, seed: int = 0) -> Convolution:
  """A convolution, 3×3, 4×4 with a stride of 2, and of patches side by side with a larger one."""
  # A stride of 2 takes 4×4 kernels: every pixel is then seen equally often, and the input gradient that draws has no
  # checkerboard in it.
  size = {1: 3, 2: 4}.get(stride, stride)
  return Convolution(filters, size, stride, padding="same", kernel_initializer=initializer(scale, seed), name=name)


class BranchScale(layers.Layer):
  """One learnt number that multiplies a residual branch (SkipInit, De & Smith 2020), in place of normalisation.

  From 0, as there, Adam opens a branch by no more than the learning rate an update: in a short training never.
  """

  def rows_alike(self):
    return True

  def __init__(self, start: float = 0.2, **kwargs):
    super().__init__(**kwargs)
    self.start = start

  def build(self, input_shape):
    self.scale = self.add_weight(name="scale", shape=(), initializer=keras.initializers.Constant(self.start))

  def call(self, inputs):
    return inputs * self.scale

  def get_config(self):
    return {**super().get_config(), "start": self.start}


class Film(layers.Layer):
  """h · (1 + scale(σ)) + shift(σ), a number a channel (Perez et al. 2018); starts as the identity."""

  def rows_alike(self):
    return True

  def build(self, input_shape):
    self.project = Dense(2 * input_shape[0][-1], kernel_initializer="zeros", name="project")
    self.project.build(input_shape[1])

  def call(self, inputs):
    hidden, embedding = inputs
    scale, shift = tf.split(self.project(embedding)[:, tf.newaxis, tf.newaxis], 2, axis=-1)
    return hidden * (1.0 + scale) + shift


class Harmonics(layers.Layer):
  """ln σ / 4 as itself and its first harmonics: [B] -> [B, 9]."""

  def rows_alike(self):
    return True

  def call(self, conditioning):
    return rounding.in_row_blocks(self._of_rows, conditioning[:, tf.newaxis])

  def _of_rows(self, conditioning):
    angles = conditioning * tf.cast(tf.range(1.0, _HARMONICS + 1.0) * 3.14159265, conditioning.dtype)
    return tf.concat([conditioning, tf.sin(angles), tf.cos(angles)], axis=1)


class SumPool(layers.Layer):
  """Sum over positions, [B, H, W, F] -> [B, F]: each position then adds to the energy, whatever the image size."""

  def rows_alike(self):
    return True

  def call(self, hidden):
    return tf.reduce_sum(hidden, axis=[1, 2])


class Conditioning:
  """How the layers of a trunk come to know the noise level; without one, not at all.

  Args:
    conditioned: whether the trunk takes ln σ / 4, [B], beside its image.
    seed: of the embedding's weights.
  """

  def __init__(self, conditioned: bool, seed: int):
    self.inputs, self.embedding = [], None
    if conditioned:
      level = keras.Input([], name="log_noise")
      self.inputs = [level]
      hidden = Harmonics(name="harmonics")(level)
      for number in range(2):
        hidden = Dense(_EMBEDDING, rounding.unfused_swish, kernel_initializer=initializer(2.0, seed + number),
                       name=f"embed{number + 1}")(hidden)
      self.embedding = hidden

  def film(self, hidden, name: str):
    """`hidden` modulated by the noise level."""
    return hidden if self.embedding is None else Film(name=name)([hidden, self.embedding])

  def beside(self, hidden):
    """`hidden` [B, F] with the embedding beside it."""
    return hidden if self.embedding is None else layers.Concatenate()([hidden, self.embedding])
