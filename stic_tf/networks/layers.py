"""Layers that several networks share. No batch statistics anywhere, swish where a sampler needs a smooth gradient."""

import keras
import tensorflow as tf
from keras import layers

_EMBEDDING = 128
_HARMONICS = 4


def initializer(scale: float, seed: int) -> keras.initializers.Initializer:
  """Normal weights of variance scale / fan-in; 2 is He's."""
  return keras.initializers.VarianceScaling(scale, mode="fan_in", seed=seed)


def convolution(filters: int, stride: int, name: str, scale: float = 2.0, seed: int = 0) -> layers.Conv2D:
  """A convolution, 3×3, 4×4 with a stride of 2, and of patches side by side with a larger one."""
  # A stride of 2 takes 4×4 kernels: every pixel is then seen equally often, and the input gradient that draws has no
  # checkerboard in it.
  size = {1: 3, 2: 4}.get(stride, stride)
  return layers.Conv2D(filters, size, stride, padding="same", kernel_initializer=initializer(scale, seed), name=name)


class BranchScale(layers.Layer):
  """One learnt number that multiplies a residual branch (SkipInit, De & Smith 2020), in place of normalisation.

  From 0, as there, Adam opens a branch by no more than the learning rate an update: in a short training never.
  """

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

  def build(self, input_shape):
    self.project = layers.Dense(2 * input_shape[0][-1], kernel_initializer="zeros", name="project")
    self.project.build(input_shape[1])

  def call(self, inputs):
    hidden, embedding = inputs
    scale, shift = tf.split(self.project(embedding)[:, tf.newaxis, tf.newaxis], 2, axis=-1)
    return hidden * (1.0 + scale) + shift


class Harmonics(layers.Layer):
  """ln σ / 4 as itself and its first harmonics: [B] -> [B, 9]."""

  def call(self, conditioning):
    angles = conditioning[:, tf.newaxis] * tf.cast(tf.range(1.0, _HARMONICS + 1.0) * 3.14159265, conditioning.dtype)
    return tf.concat([conditioning[:, tf.newaxis], tf.sin(angles), tf.cos(angles)], axis=1)


class SumPool(layers.Layer):
  """Sum over positions, [B, H, W, F] -> [B, F]: each position then adds to the energy, whatever the image size."""

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
        hidden = layers.Dense(_EMBEDDING, "swish", kernel_initializer=initializer(2.0, seed + number),
                              name=f"embed{number + 1}")(hidden)
      self.embedding = hidden

  def film(self, hidden, name: str):
    """`hidden` modulated by the noise level."""
    return hidden if self.embedding is None else Film(name=name)([hidden, self.embedding])

  def beside(self, hidden):
    """`hidden` [B, F] with the embedding beside it."""
    return hidden if self.embedding is None else layers.Concatenate()([hidden, self.embedding])
