"""Attentive-STIC's classifier: a trunk over a grid of tiles, and class queries that attend over them.

Swish throughout and no batch statistics, as in convolutional.py.
"""

from typing import Sequence

import keras
from keras import layers

from stic_tf import config as config_lib
from stic_tf import rounding
from stic_tf.networks import class_queries
from stic_tf.networks import layers as shared


def attentive(config: config_lib.NetworkConfig, image_shape: Sequence[int], num_classes: int, seed: int,
              conditioned: bool) -> keras.Model:
  """The network of Attentive-STIC.

  A stem of width/2 channels at full resolution (half, for images wider than 16 pixels), stages of `width` channels that
  halve the canvas until a position is a tile (a last factor that is odd in one stride), a summary of the whole canvas
  added to every tile, and two residual blocks, so that a tile's key and value know their surroundings.

  Args:
    config: width; tile_grid, tiles a side; view_size, how many numbers of a linear view of the whole image each class
      reads beside its tiles, 0 for none: what a class looks like at large then need not pass the trunk.
    image_shape: (H, W, C); H = W.
    num_classes: K.
    seed: of the initial weights.
    conditioned: whether it takes a noise level, ln σ / 4 [B], beside the image.

  Returns:
    A model from images [B, H, W, C] in [-1, 1] to [logits [B, K], features of each stage [B, H_l, W_l, C_l], …].

  Raises:
    ConfigError: the grid does not divide the canvas.
  """
  side, width, tile_grid = image_shape[0], config.width, config.tile_grid
  config_lib.require(side % tile_grid == 0 and image_shape[1] == side, "tile_grid", tile_grid,
                     f"must divide the canvas of {side}x{image_shape[1]} pixels")
  image = keras.Input(image_shape, name="image")
  conditioning = shared.Conditioning(conditioned, seed + 400)

  def active(hidden, name):
    return layers.Activation(rounding.unfused_swish)(conditioning.film(hidden, f"{name}_film"))

  stem_stride = 2 if side > 16 and side // tile_grid % 2 == 0 else 1
  stem_width = max(1, width // 2) if side // stem_stride > tile_grid else width
  hidden = active(shared.convolution(stem_width, stem_stride, "stem", seed=seed)(image), "stem")
  features, stage = [], 0
  while hidden.shape[1] > tile_grid:
    stage += 1
    left = hidden.shape[1] // tile_grid
    stride = 2 if left % 2 == 0 else left
    hidden = active(shared.convolution(width, stride, f"down_{stage}", seed=seed + 10 * stage)(hidden), f"down_{stage}")
    hidden = active(shared.convolution(width, 1, f"conv_{stage}", seed=seed + 10 * stage + 1)(hidden), f"conv_{stage}")
    features.append(hidden)
  # What the whole canvas holds, told to every tile; through the blocks alone it would not reach them all.
  context = shared.Dense(width, rounding.unfused_swish, name="context",
                         kernel_initializer=keras.initializers.VarianceScaling(2.0, seed=seed + 190))(
                             layers.Flatten()(hidden))
  hidden = layers.Add()([hidden, layers.Reshape([1, 1, width])(context)])
  for block in (1, 2):
    branch = shared.convolution(width, 1, f"tiles_{block}_conv1", seed=seed + 200 + 10 * block)(hidden)
    branch = active(branch, f"tiles_{block}")
    branch = shared.convolution(width, 1, f"tiles_{block}_conv2", seed=seed + 201 + 10 * block)(branch)
    branch = shared.BranchScale(name=f"tiles_{block}_scale")(branch)
    hidden = layers.Activation(rounding.unfused_swish)(layers.Add()([hidden, branch]))
  features.append(hidden)
  view = _view(image, config.view_size, conditioning, seed) if config.view_size else None
  logits = class_queries.over(hidden, num_classes, seed, view)
  return keras.Model([image, *conditioning.inputs], [logits, *features], name="attentive")


def _view(image, size: int, conditioning: shared.Conditioning, seed: int):
  """A linear view of images [B, H, W, C], scaled and shifted by the noise level: [B, size]."""
  view = shared.Dense(size, use_bias=False, kernel_initializer=shared.initializer(1.0, seed + 191), name="view",
                      dtype="float32")(layers.Flatten()(image))
  return layers.Flatten()(conditioning.film(layers.Reshape([1, 1, size])(view), "view_film"))
