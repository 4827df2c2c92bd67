"""A U-Net whose energy is that of an autoencoder, and whose encoder tells classes apart.

    g_k(x) = ⟨x, F(x)⟩ − ½‖F(x)‖² + r_k(x)

F is what decoder and skip connections make of the image, r the readouts of the encoder (energy.py). The first two terms
are ½‖x‖² − ½‖x − F(x)‖², the energy of a denoising autoencoder (Salimans & Ho 2021; Du et al. 2023, "Reduce, Reuse,
Recycle"), whose gradient is F + J_Fᵀ(x − F): what all classes have in common is drawn by a decoder, and need not be
squeezed through the readouts that are to classify.
"""

from typing import NamedTuple, Sequence

import keras
import tensorflow as tf
from keras import layers

from stic_tf import config as config_lib
from stic_tf import rounding
from stic_tf.networks import energy as energy_lib
from stic_tf.networks import layers as shared
from stic_tf.networks import shared_energy


class Enlarge(layers.Layer):
  """Channels become positions: [B, h, w, 4F] -> [B, 2h, 2w, F], cut to `size` = (H, W)."""

  def __init__(self, size: Sequence[int], **kwargs):
    super().__init__(**kwargs)
    self.size = tuple(size)

  def rows_alike(self):
    return True

  def call(self, hidden):
    return tf.nn.depth_to_space(hidden, 2)[:, :self.size[0], :self.size[1]]

  def get_config(self):
    return {**super().get_config(), "size": self.size}


class AutoencoderEnergy(layers.Layer):
  """⟨x, F⟩ − ½‖F‖²: x and F [B, H, W, C] -> [B, 1]; of F more channels are left out."""

  def rows_alike(self):
    return True

  def call(self, inputs):
    image, decoded = inputs
    decoded = decoded[..., :image.shape[-1]]
    # In two steps: of one large image a sum over all of it is divided among threads, and has other bits alone.
    of_rows = tf.reduce_sum(image * decoded - 0.5 * tf.square(decoded), axis=[2, 3])
    return tf.reduce_sum(of_rows, axis=1, keepdims=True)


class Autoencoder(NamedTuple):
  """A U-Net but for what tells classes apart.

  Attributes:
    image: the input.
    conditioning: its other input, if any, and what that says to the layers.
    encoded: what the encoder makes of the image.
    energy: ⟨x, F⟩ − ½‖F‖², [B, 1].
  """

  image: object
  conditioning: shared.Conditioning
  encoded: energy_lib.Encoded
  energy: object


def autoencoder(config: config_lib.NetworkConfig, image_shape: Sequence[int], seed: int,
                conditioned: bool) -> Autoencoder:
  """The encoder of energy.energy, with as many blocks on the way up as on the way down.

  Args:
    config, image_shape, seed, conditioned: as there.

  Raises:
    ConfigError: `blocks` names another number of resolutions.
  """
  image = keras.Input(image_shape, name="scaled_image" if conditioned else "image")
  conditioning = shared.Conditioning(conditioned, seed)
  encoded = energy_lib.encoder(config, image, conditioning, seed)
  *skips, hidden = encoded.features
  for stage, skip in reversed(list(enumerate(skips))):
    # Both are of unit variance at the start, and so is a half of the variance of each.
    hidden = _enlarged(hidden, skip.shape[1:], f"up{stage}", seed + 1000 * (stage + 1))
    hidden = layers.Add()([hidden, shared.BranchScale(0.5 ** 0.5, name=f"up{stage}_skip")(skip)])
    for block in range(energy_lib.stage_blocks(config, stage)):
      hidden = energy_lib.residual_block(hidden, conditioning, f"up{stage}_block{block}",
                                         seed + 1000 * (stage + 1) + 10 * (block + 1))
  hidden = layers.Activation(rounding.unfused_swish)(conditioning.film(hidden, "decoded_film"))
  decoded = _decoded(hidden, image_shape, seed + 9)
  energy = AutoencoderEnergy(name=shared_energy.COMMON, dtype="float32")([image, decoded])
  return Autoencoder(image, conditioning, encoded, energy)


def unet(config: config_lib.NetworkConfig, image_shape: Sequence[int], num_classes: int, seed: int,
         conditioned: bool) -> keras.Model:
  """Classes are read of the encoder as energy.energy reads them.

  Args:
    config, image_shape, num_classes, seed, conditioned: as there.

  Raises:
    ConfigError: `blocks` names another number of resolutions.

  Returns:
    A model of the same inputs and outputs.
  """
  made = autoencoder(config, image_shape, seed, conditioned)
  of_classes = energy_lib.readout(made.encoded, num_classes, "class", seed + 4)
  outputs = [shared_energy.added(of_classes, made.energy)]
  outputs += ([energy_lib.readout(made.encoded, num_classes, "evidence", seed + 14)] if conditioned
              else made.encoded.features)
  return keras.Model([made.image, *made.conditioning.inputs], outputs, name="unet")


def _enlarged(hidden, shape: Sequence[int], name: str, seed: int):
  """[B, h, w, F'] -> [B, *shape] of twice the side, by a convolution of single positions."""
  hidden = shared.Convolution(4 * shape[2], 1, padding="same", kernel_initializer=shared.initializer(0.5, seed),
                              name=name)(hidden)
  return Enlarge(shape[:2], name=f"{name}_enlarged")(hidden)


def _decoded(hidden, image_shape: Sequence[int], seed: int):
  """F, [B, H, W, C or more]: near 0 at the start. Channels fill vector registers (rounding.py)."""
  height, width, channels = image_shape
  halved = hidden.shape[1] < height
  filters = -(-channels * (4 if halved else 1) // 8) * 8
  hidden = shared.convolution(filters, 1, "decoded", 0.01, seed)(hidden)
  return Enlarge((height, width), name="decoded_enlarged")(hidden) if halved else hidden
