"""A network by name, and what is read of any network: its logits and its features."""

import contextlib
from typing import Sequence

import keras
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import registries


def build(config: config_lib.RunConfig, image_shape: Sequence[int], num_classes: int, seed: int,
          conditioned: bool = False) -> keras.Model:
  """Builds the network of a configuration.

  Args:
    config: which one, its size, and whether its layers compute in bfloat16.
    image_shape: (H, W, C).
    num_classes: K.
    seed: of the initial weights; the same seed gives the same weights.
    conditioned: whether it is to know a noise level, ln σ / 4 [B], given beside the image; not every network does.

  Returns:
    A Keras model from images float32 [B, H, W, C] in [-1, 1] to [logits [B, K], features [B, H_l, W_l, C_l], …].

  Raises:
    ConfigError: the network cannot be of that size.
  """
  make = registries.NETWORKS.load(config.network_name(image_shape))
  with _bfloat16() if config.training.mixed_precision else contextlib.nullcontext():
    return make(config.network, tuple(image_shape), num_classes, seed, conditioned)


@contextlib.contextmanager
def _bfloat16():
  """Layers made here compute in bfloat16 and keep float32 weights; the last ones state float32 themselves."""
  before = keras.mixed_precision.global_policy()
  keras.mixed_precision.set_global_policy("mixed_bfloat16")
  try:
    yield
  finally:
    keras.mixed_precision.set_global_policy(before)


def logits_and_features(network, images):
  """Of any network or function: [B, H, W, C] -> (class logits [B, K], [features [B, H_l, W_l, C_l], …]).

  Inference mode: nothing in it is random.
  """
  outputs = network(images, training=False) if isinstance(network, keras.Model) else network(images)
  outputs = tf.nest.flatten(outputs)
  return tf.cast(outputs[0], tf.float32), outputs[1:]
