"""The noise-conditional energy classifier of Score-STIC (method §4): class energies whose input gradient is the score.

    f_k(x, σ) = -‖x - μ‖² / (2 (σ² + σ_d²)) + (σ_d / σ) · g_k((x - μ) / √(σ² + σ_d²), ln σ / 4)

μ is the mean training image and σ_d the standard deviation of a pixel about it. The denoiser D_k = x + σ² ∇_x f_k is
then exactly that of EDM (Karras et al. 2022, table 1) with ∇g_k in place of its network, and because every f_k is an
energy, softmax_k f_k is the classifier of the same density. No batch statistics anywhere.
"""

from typing import Sequence

import keras
import tensorflow as tf
from keras import layers

_EMBEDDING = 128
_HARMONICS = 4
# Widest grid, in positions a side, that attends: where attention costs no more than the convolutions around it.
_ATTENTION_SIDE = 8
_ATTENTION_FROM = 32
# Noise levels that an answer can mix.
ANSWERS = 8


def _initializer(scale: float, seed: int) -> keras.initializers.Initializer:
  return keras.initializers.VarianceScaling(scale, mode="fan_in", seed=seed)


def _convolution(filters: int, stride: int, name: str, seed: int, scale: float = 1.0) -> layers.Conv2D:
  # 4×4 kernels at stride 2, as in convolutional.py: no checkerboard in the input gradient.
  return layers.Conv2D(filters, 3 if stride == 1 else 4, stride, padding="same",
                       kernel_initializer=_initializer(scale, seed), name=name)


class _Film(layers.Layer):
  """h · (1 + scale(σ)) + shift(σ), a number a channel (Perez et al. 2018); starts as the identity."""

  def build(self, input_shape):
    self.channels = input_shape[0][-1]
    self.project = layers.Dense(2 * self.channels, kernel_initializer="zeros", name="project")
    self.project.build(input_shape[1])

  def call(self, inputs):
    hidden, embedding = inputs
    scale, shift = tf.split(self.project(embedding)[:, tf.newaxis, tf.newaxis], 2, axis=-1)
    return hidden * (1.0 + scale) + shift


class _BranchScale(layers.Layer):
  """One learnt number that multiplies a residual branch (SkipInit, De & Smith 2020), in place of normalisation."""

  def build(self, input_shape):
    self.scale = self.add_weight(name="scale", shape=(), initializer=keras.initializers.Constant(0.2))

  def call(self, inputs):
    return inputs * self.scale


class _Embedding(layers.Layer):
  """ln σ / 4 as itself and its first harmonics: [B] -> [B, 1 + 2·_HARMONICS]."""

  def call(self, conditioning):
    angles = conditioning[:, tf.newaxis] * tf.range(1.0, _HARMONICS + 1.0) * 3.14159265
    return tf.concat([conditioning[:, tf.newaxis], tf.sin(angles), tf.cos(angles)], axis=1)


class _SumPool(layers.Layer):
  """Sum over positions, [B, H, W, F] -> [B, F]: each position then adds to the energy, whatever the image size."""

  def call(self, hidden):
    return tf.reduce_sum(hidden, axis=[1, 2])


def _residual_block(hidden, embedding, filters: int, name: str, seed: int):
  branch = layers.Activation("swish")(_Film(name=f"{name}_film1")([hidden, embedding]))
  branch = _convolution(filters, 1, f"{name}_conv1", seed)(branch)
  branch = layers.Activation("swish")(_Film(name=f"{name}_film2")([branch, embedding]))
  branch = _BranchScale(name=f"{name}_scale")(_convolution(filters, 1, f"{name}_conv2", seed + 1, 2.0)(branch))
  return layers.Add()([hidden, branch])


def _attention(hidden, name: str, seed: int):
  """Positions attend to each other; a residual branch that starts small."""
  height, width, channels = hidden.shape[1:]
  rows = layers.Reshape([height * width, channels])(hidden)
  rows = layers.LayerNormalization(name=f"{name}_norm")(rows)  # over the channels of a position
  attended = layers.MultiHeadAttention(4, channels // 4, kernel_initializer=_initializer(1.0, seed), name=name)(
      rows, rows)
  attended = layers.Reshape([height, width, channels])(attended)
  return layers.Add()([hidden, _BranchScale(name=f"{name}_scale")(attended)])


def _trunk(image_shape: Sequence[int], num_classes: int, width: int, blocks: int, seed: int) -> keras.Model:
  """g and the real/fake logits: (scaled images [B, H, W, C], ln σ / 4 [B]) -> ([B, K], [B, K]).

  Energies are read off every resolution as a sum over its positions, and off the coarsest by a hidden layer: what
  makes a stroke a stroke is local, which digit it is part of is not.
  """
  image, conditioning = keras.Input(image_shape, name="scaled_image"), keras.Input([], name="log_noise")
  embedding = layers.Dense(_EMBEDDING, "swish", kernel_initializer=_initializer(2.0, seed), name="embed1")(
      _Embedding(name="harmonics")(conditioning))
  embedding = layers.Dense(_EMBEDDING, "swish", kernel_initializer=_initializer(2.0, seed + 1), name="embed2")(
      embedding)
  hidden = _convolution(width, 1 if image_shape[0] <= 16 else 2, "stem", seed + 2)(image)
  readouts, stage = [], 0
  while True:
    for block in range(blocks):
      hidden = _residual_block(hidden, embedding, hidden.shape[-1], f"stage{stage}_block{block}",
                               seed + 100 * (stage + 1) + 10 * block)
    if image_shape[0] >= _ATTENTION_FROM and hidden.shape[1] <= _ATTENTION_SIDE:
      hidden = _attention(hidden, f"stage{stage}_attention", seed + 100 * (stage + 1) + 90)
    read = layers.Activation("swish")(_Film(name=f"stage{stage}_read")([hidden, embedding]))
    readouts.append(_SumPool(name=f"stage{stage}_sum")(read))
    if hidden.shape[1] <= 4:
      break
    stage += 1
    hidden = _convolution(width * min(2 ** stage, 4), 2, f"down{stage}", seed + 100 * stage + 50)(hidden)
  pooled = layers.GlobalAveragePooling2D()(read)
  summary = layers.Dense(4 * width, "swish", kernel_initializer=_initializer(2.0, seed + 3), name="hidden")(
      layers.Concatenate()([pooled, embedding]))
  local = layers.Concatenate()(readouts)
  outputs = []
  for place, name in enumerate(("energy", "evidence")):
    small = _initializer(0.01, seed + 10 * place + 4)
    terms = [layers.Dense(num_classes, kernel_initializer=small, name=f"{name}_local")(local),
             layers.Dense(num_classes, kernel_initializer=small, name=f"{name}_global")(summary)]
    outputs.append(layers.Add(name=name)(terms))
  return keras.Model([image, conditioning], outputs, name="trunk")


class ScoreNetwork(keras.Model):
  """(images [B, H, W, C], noise levels [B]) -> [class energies f [B, K], real/fake logits r [B, K]].

  Args:
    image_shape: (H, W, C); 8 pixels and up.
    num_classes: K.
    width: channels of the first resolution; they double with each halving, up to four times.
    blocks: residual blocks a resolution.
    seed: of the initial weights.
  """

  def __init__(self, image_shape: Sequence[int], num_classes: int, width: int, blocks: int, seed: int):
    super().__init__(name="score")
    self.trunk = _trunk(tuple(image_shape), num_classes, width, blocks, seed)
    self.mean = self.add_weight("mean", shape=tuple(image_shape), initializer="zeros", trainable=False)
    self.data_scale = self.add_weight("data_scale", shape=(), initializer="ones", trainable=False)
    # How it classifies images that are not noisy: a mixture of its answers at these σ. Chosen on validation images and
    # kept with the weights.
    self.answer_levels = self.add_weight("answer_levels", shape=(ANSWERS,), initializer="ones", trainable=False)
    self.answer_weights = self.add_weight("answer_weights", shape=(ANSWERS,), trainable=False,
                                          initializer=keras.initializers.Constant(1.0 / ANSWERS))

  def set_moments(self, mean, data_scale: float) -> None:
    """μ [H, W, C] and σ_d of the training images, before the first update."""
    self.mean.assign(mean)
    self.data_scale.assign(data_scale)

  def gaussian(self, images, noise_level):
    """-‖x - μ‖² / (2 (σ² + σ_d²)), what all class energies have in common: [B, H, W, C], σ [B] -> [B]."""
    variance = tf.square(noise_level) + tf.square(self.data_scale)
    return -0.5 * tf.reduce_sum(tf.square(images - self.mean), axis=[1, 2, 3]) / variance

  def call(self, inputs):
    images, noise_level = inputs
    scale = tf.sqrt(tf.square(noise_level) + tf.square(self.data_scale))
    scaled = (images - self.mean) / scale[:, tf.newaxis, tf.newaxis, tf.newaxis]
    energy, evidence = self.trunk([scaled, 0.25 * tf.math.log(noise_level)])
    gaussian = self.gaussian(images, noise_level)[:, tf.newaxis]
    return [gaussian + (self.data_scale / noise_level)[:, tf.newaxis] * energy, evidence]
