"""The residual trunk of Score-STIC: energies read off every resolution, conditioned on a noise level if any."""

from typing import List, NamedTuple, Sequence

import keras
from keras import layers

from stic_tf import config as config_lib
from stic_tf import rounding
from stic_tf.networks import layers as shared

_ATTENTION_FROM = 32
_HEADS = 4


class Encoded(NamedTuple):
  """What the trunk makes of images.

  Attributes:
    features: of each resolution, finest first, [B, H_l, W_l, C_l].
    local: sums over the positions of each resolution, [B, ΣC_l].
    summary: what the coarsest one says as a whole, [B, 4·width].
  """

  features: List
  local: object
  summary: object


def residual_block(hidden, conditioning: shared.Conditioning, name: str, seed: int):
  """[B, H, W, F] -> the same shape: two convolutions that the noise level modulates, in a branch that starts small."""
  filters = hidden.shape[-1]
  branch = layers.Activation(rounding.unfused_swish)(conditioning.film(hidden, f"{name}_film1"))
  branch = shared.convolution(filters, 1, f"{name}_conv1", 1.0, seed)(branch)
  branch = layers.Activation(rounding.unfused_swish)(conditioning.film(branch, f"{name}_film2"))
  branch = shared.convolution(filters, 1, f"{name}_conv2", 2.0, seed + 1)(branch)
  return layers.Add()([hidden, shared.BranchScale(name=f"{name}_scale")(branch)])


class SelfAttention(layers.MultiHeadAttention):
  """Keras' own, whose query, key and value would all begin as one matrix where the initializer has a seed."""

  def _get_common_kwargs_for_sublayer(self):
    of_sublayer = super()._get_common_kwargs_for_sublayer()
    settings = self._kernel_initializer.get_config()
    self._made = getattr(self, "_made", 0) + 1
    # Of the first three, [C, heads, C / heads], Keras takes heads · C for the fan-in.
    scale = settings["scale"] * (self._num_heads if self._made <= 3 else 1)
    of_sublayer["kernel_initializer"] = shared.initializer(scale, settings["seed"] + self._made)
    return of_sublayer


def _attention(hidden, name: str, seed: int):
  """Positions attend to each other; a residual branch that starts small."""
  height, width, channels = hidden.shape[1:]
  rows = layers.Reshape([height * width, channels])(hidden)
  rows = layers.LayerNormalization(name=f"{name}_norm")(rows)  # over the channels of a position
  attended = SelfAttention(_HEADS, max(1, channels // _HEADS), kernel_initializer=shared.initializer(1.0, seed),
                           name=name)(rows, rows)
  attended = layers.Reshape([height, width, channels])(attended)
  return layers.Add()([hidden, shared.BranchScale(name=f"{name}_scale")(attended)])


def stage_blocks(config: config_lib.NetworkConfig, stage: int) -> int:
  """The residual blocks of a resolution."""
  blocks = str(config.blocks).split(",")
  return int(blocks[min(stage, len(blocks) - 1)])


def encoder(config: config_lib.NetworkConfig, image, conditioning: shared.Conditioning, seed: int) -> Encoded:
  """Halves the grid of images [B, H, W, C] until it is at most 4 positions wide.

  `config.width` are the channels of the first resolution, doubled with each halving up to four times; `config.blocks`
  the residual blocks of each, and of images from 32 pixels up the grids of at most `config.attention_side` positions a
  side attend.

  Raises:
    ConfigError: `blocks` names another number of resolutions.
  """
  side, given = image.shape[1], len(str(config.blocks).split(","))
  hidden = shared.convolution(config.width, 1 if side <= 16 else 2, "stem", 1.0, seed + 2)(image)
  readouts, features, stage = [], [], 0
  while True:
    for block in range(stage_blocks(config, stage)):
      hidden = residual_block(hidden, conditioning, f"stage{stage}_block{block}",
                              seed + 100 * (stage + 1) + 10 * block)
    if side >= _ATTENTION_FROM and hidden.shape[1] <= config.attention_side:
      hidden = _attention(hidden, f"stage{stage}_attention", seed + 100 * (stage + 1) + 90)
    features.append(hidden)
    read = layers.Activation(rounding.unfused_swish)(conditioning.film(hidden, f"stage{stage}_read"))
    readouts.append(shared.SumPool(name=f"stage{stage}_sum")(read))
    if hidden.shape[1] <= 4:
      break
    stage += 1
    config_lib.require(given == 1 or stage < given, "blocks", config.blocks,
                       f"has fewer numbers than images of {side} pixels have resolutions")
    hidden = shared.convolution(config.width * min(2 ** stage, 4), 2, f"down{stage}", 1.0, seed + 100 * stage + 50)(
        hidden)
  config_lib.require(given in (1, stage + 1), "blocks", config.blocks,
                     f"must be one number or {stage + 1}, one for each resolution")
  pooled = layers.GlobalAveragePooling2D()(read)
  summary = shared.Dense(4 * config.width, rounding.unfused_swish, kernel_initializer=shared.initializer(2.0, seed + 3),
                         name="hidden")(conditioning.beside(pooled))
  return Encoded(features, layers.Concatenate()(readouts), summary)


def energy(config: config_lib.NetworkConfig, image_shape: Sequence[int], num_classes: int, seed: int,
           conditioned: bool) -> keras.Model:
  """Energies are read off every resolution as a sum over its positions, and off the coarsest by a hidden layer.

  What makes a stroke a stroke is local, which digit it is part of is not.

  Args:
    config: the size.
    image_shape: (H, W, C); 8 pixels and up.
    num_classes: K.
    seed: of the initial weights.
    conditioned: whether it takes a noise level.

  Raises:
    ConfigError: `blocks` names another number of resolutions.

  Returns:
    A model (image [B, H, W, C], ln σ / 4 [B]) -> (energies g [B, K], real/fake logits "evidence" [B, K]), or without a
    noise level image -> (energies [B, K], features of each resolution [B, H_l, W_l, C_l], …).
  """
  image = keras.Input(image_shape, name="scaled_image" if conditioned else "image")
  conditioning = shared.Conditioning(conditioned, seed)
  encoded = encoder(config, image, conditioning, seed)
  outputs = [readout(encoded, num_classes, "energy", seed + 4)]
  outputs += [readout(encoded, num_classes, "evidence", seed + 14)] if conditioned else encoded.features
  return keras.Model([image, *conditioning.inputs], outputs, name="energy")


def readout(encoded: Encoded, num_classes: int, name: str, seed: int):
  """A number a class, [B, K], of what the trunk says locally and as a whole; starts near 0."""
  small = shared.initializer(0.01, seed)
  terms = [shared.Dense(num_classes, kernel_initializer=small, name=f"{name}_{place}", dtype="float32")(features)
           for place, features in (("local", encoded.local), ("global", encoded.summary))]
  return layers.Add(name=name, dtype="float32")(terms)
