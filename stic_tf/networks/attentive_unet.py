"""A U-Net whose classes are queries that attend over a grid of its encoder's positions, a position a tile."""

from typing import Sequence

import keras

from stic_tf import config as config_lib
from stic_tf.networks import class_queries
from stic_tf.networks import shared_energy
from stic_tf.networks import unet


def attentive_unet(config: config_lib.NetworkConfig, image_shape: Sequence[int], num_classes: int, seed: int,
                   conditioned: bool) -> keras.Model:
  """An autoencoder's energy, which all classes share, and class queries beside it.

  A class reads its tiles and the encoder's summary of the whole canvas, as a view (class_queries.py).

  Args:
    config: as unet.unet; tile_grid, tiles a side, the side of one of its resolutions that divides the canvas.
    image_shape: (H, W, C); H = W.
    num_classes: K.
    seed: of the initial weights.
    conditioned: whether it takes a noise level, ln σ / 4 [B], beside the image.

  Raises:
    ConfigError: no resolution has a position a tile, or `blocks` names another number of resolutions.

  Returns:
    A model from images [B, H, W, C] to [logits [B, K], features of each resolution [B, H_l, W_l, C_l], …].
  """
  made = unet.autoencoder(config, image_shape, seed, conditioned)
  stride = image_shape[0] // made.encoded.features[0].shape[1]
  # Those whose positions are in the middle of their tiles, and are as many across.
  grids = {features.shape[1]: features for stage, features in enumerate(made.encoded.features)
           if [side * stride * 2 ** stage for side in features.shape[1:3]] == [image_shape[0]] * 2}
  config_lib.require(config.tile_grid in grids, "tile_grid", config.tile_grid,
                     f"must be one of {sorted(grids)}, the resolutions that divide a canvas of "
                     f"{image_shape[0]}x{image_shape[1]} pixels")
  of_classes = class_queries.over(grids[config.tile_grid], num_classes, seed, made.encoded.summary)
  return keras.Model([made.image, *made.conditioning.inputs],
                     [shared_energy.added(of_classes, made.energy), *made.encoded.features], name="attentive_unet")
