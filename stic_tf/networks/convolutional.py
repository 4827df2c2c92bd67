"""Convolutional classifiers without batch statistics: an image's logits never depend on its neighbours in the batch.

Swish throughout, since the sampler needs a smooth input gradient.
"""

from typing import Sequence

import keras
from keras import layers

from stic_tf import config as config_lib
from stic_tf import rounding
from stic_tf.networks import layers as shared


def small_network(image_shape: Sequence[int], num_classes: int, width: int, seed: int) -> keras.Model:
  """A plain swish network for 8×8 and 28×28 images.

  A stem of width/2 channels (at half resolution for images wider than 16 pixels, where full resolution would be most
  of the cost), then stages of `width` channels that halve the grid until it is at most 4 pixels wide.

  Args:
    image_shape: (H, W, C).
    num_classes: K.
    width: channels after the first halving.
    seed: of the initial weights.

  Returns:
    A model from images [B, H, W, C] in [-1, 1] to [logits [B, K], features of each stage [B, H_l, W_l, C_l], …].
  """
  image = keras.Input(image_shape, name="image")
  features = []
  stem_stride = 1 if image_shape[0] <= 16 else 2
  hidden = layers.Activation(rounding.unfused_swish)(
      shared.convolution(max(1, width // 2), stem_stride, "stem", seed=seed)(image))
  stage = 0
  while hidden.shape[1] > 4:
    stage += 1
    hidden = layers.Activation(rounding.unfused_swish)(
        shared.convolution(width, 2, f"down_{stage}", seed=seed + 2 * stage)(hidden))
    hidden = layers.Activation(rounding.unfused_swish)(
        shared.convolution(width, 1, f"conv_{stage}", seed=seed + 2 * stage + 1)(hidden))
    features.append(hidden)
  hidden = layers.Flatten()(hidden)
  initializer = keras.initializers.VarianceScaling(2.0, seed=seed + 100)
  hidden = shared.Dense(2 * width, rounding.unfused_swish, kernel_initializer=initializer, name="hidden")(hidden)
  logits = shared.Dense(num_classes, kernel_initializer=keras.initializers.VarianceScaling(0.1, seed=seed + 101),
                        name="logits", dtype="float32")(hidden)
  return keras.Model(image, [logits, *features], name="small")


def wide_resnet(image_shape: Sequence[int], num_classes: int, depth: int, widen: int, seed: int) -> keras.Model:
  """WRN-depth-widen (Zagoruyko & Komodakis 2016) with swish and SkipInit in place of batch normalisation.

  Args:
    image_shape: (H, W, C), 32 pixels and up.
    num_classes: K.
    depth: 6n + 4.
    widen: k, the width factor: 16k, 32k and 64k channels.
    seed: of the initial weights.

  Returns:
    A model from images [B, H, W, C] in [-1, 1] to [logits [B, K], features of each of the three groups, …].
  """
  blocks = (depth - 4) // 6
  image = keras.Input(image_shape, name="image")
  hidden = shared.convolution(16, 1, "stem", 1.0, seed)(image)
  features = []
  for group, filters in enumerate((16 * widen, 32 * widen, 64 * widen)):
    for block in range(blocks):
      name, block_seed = f"group{group}_block{block}", seed + 1000 * (group + 1) + 10 * block
      stride = 2 if group and not block else 1
      active = layers.Activation(rounding.unfused_swish)(hidden)
      branch = shared.convolution(filters, stride, f"{name}_conv1", seed=block_seed)(active)
      branch = layers.Activation(rounding.unfused_swish)(branch)
      branch = shared.convolution(filters, 1, f"{name}_conv2", seed=block_seed + 1)(branch)
      branch = shared.BranchScale(name=f"{name}_scale")(branch)
      if stride != 1 or hidden.shape[-1] != filters:
        initializer = keras.initializers.VarianceScaling(1.0, seed=block_seed + 2)
        hidden = shared.Convolution(filters, 1, stride, padding="same", kernel_initializer=initializer,
                                    name=f"{name}_skip")(active)
      hidden = layers.Add()([hidden, branch])
    features.append(hidden)
  hidden = layers.GlobalAveragePooling2D()(layers.Activation(rounding.unfused_swish)(hidden))
  logits = shared.Dense(num_classes, kernel_initializer=keras.initializers.VarianceScaling(0.1, seed=seed + 1),
                        name="logits", dtype="float32")(hidden)
  return keras.Model(image, [logits, *features], name=f"wide_resnet_{depth}_{widen}")


def small(config: config_lib.NetworkConfig, image_shape, num_classes: int, seed: int, conditioned: bool) -> keras.Model:
  """`small_network` as the registry has it; EnergyPrecond tells it the noise level where there is one."""
  del conditioned
  return small_network(image_shape, num_classes, config.width, seed)


def wide(config: config_lib.NetworkConfig, image_shape, num_classes: int, seed: int, conditioned: bool) -> keras.Model:
  """`wide_resnet` as the registry has it, likewise."""
  del conditioned
  return wide_resnet(image_shape, num_classes, config.depth, config.widen, seed)
