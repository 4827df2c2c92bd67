"""A network by name, and what is read of any network: its logits and its features."""

from typing import Sequence

import keras
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import first_rows
from stic_tf import registries


def build(config: config_lib.RunConfig, image_shape: Sequence[int], num_classes: int, seed: int,
          conditioned: bool = False) -> keras.Model:
  """Builds the network of a configuration.

  Args:
    config: which one, its size, and whether its convolutions compute in bfloat16.
    image_shape: (H, W, C).
    num_classes: K.
    seed: of the initial weights; the same seed gives the same weights.
    conditioned: whether it is to know a noise level, ln σ / 4 [B], given beside the image; not every network does.

  Returns:
    A Keras model from images float32 [B, H, W, C] in [-1, 1] to [logits [B, K], features [B, H_l, W_l, C_l], …].

  Raises:
    ConfigError: the network cannot be of that size.
  """
  # None of its layers has Python's own branches on tensors, and converting them writes files: a full disk has no room.
  make = tf.autograph.experimental.do_not_convert(registries.NETWORKS.load(config.network_name(image_shape)))
  network = make(config.network, tuple(image_shape), num_classes, seed, conditioned)
  if config.training.mixed_precision:
    # Weights are cast where they multiply and kept in float32; so is all that lies between two convolutions, which is
    # bound by memory where it is not by arithmetic, and of which bfloat16 is slow on processors.
    network = keras.models.clone_model(network, clone_function=_with_bfloat16_convolutions)
  return network


def _with_bfloat16_convolutions(layer: keras.layers.Layer) -> keras.layers.Layer:
  its_config = layer.get_config()
  if isinstance(layer, keras.layers.Conv2D):
    its_config["dtype"] = "mixed_bfloat16"
  return type(layer).from_config(its_config)


def logits_and_features(network, images):
  """Of any network or function: [B, H, W, C] -> (class logits [B, K], [features [B, H_l, W_l, C_l], …]).

  Inference mode: nothing in it is random.
  """
  outputs = tf.nest.flatten(first_rows.call(network, images))
  return tf.cast(outputs[0], tf.float32), outputs[1:]
