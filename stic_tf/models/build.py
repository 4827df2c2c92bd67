"""Which network a configuration names. An explicit dictionary: a new system is a new entry."""

from typing import Sequence

import keras

from stic_tf import config as config_lib
from stic_tf.models import attention
from stic_tf.models import convolutional

# Below this many pixels a side, "auto" means the small network.
_SMALL_SIDE = 32


def _small(config: config_lib.ModelConfig, image_shape, num_classes, seed):
  return convolutional.small_network(image_shape, num_classes, config.width, seed)


def _wide_resnet(config: config_lib.ModelConfig, image_shape, num_classes, seed):
  return convolutional.wide_resnet(image_shape, num_classes, config.depth, config.widen, seed)


def _attentive(config: config_lib.ModelConfig, image_shape, num_classes, seed):
  return attention.attentive_network(image_shape, num_classes, config.width, config.tile_grid, seed)


_NETWORKS = {"small": _small, "wide_resnet": _wide_resnet, "attentive": _attentive}


def resolve_network(config: config_lib.ModelConfig, image_shape: Sequence[int]) -> str:
  """The network's name: that of an attentive model, else --network with "auto" resolved by image size."""
  if config.model == "attentive":
    return "attentive"
  if config.network != "auto":
    return config.network
  return "small" if image_shape[0] < _SMALL_SIDE else "wide_resnet"


def build_network(config: config_lib.ModelConfig, image_shape: Sequence[int], num_classes: int,
                  seed: int) -> keras.Model:
  """Builds the classifier of a configuration.

  Args:
    config: the network and its size.
    image_shape: (H, W, C).
    num_classes: K.
    seed: of the initial weights; the same seed gives the same weights.

  Returns:
    A Keras model from images float32 [B, H, W, C] in [-1, 1] to [logits [B, K], features [B, H_l, W_l, C_l], …].
  """
  return _NETWORKS[resolve_network(config, image_shape)](config, tuple(image_shape), num_classes, seed)


def logits(network: keras.Model, images):
  """Class logits of a built network: [B, H, W, C] -> [B, K]. Inference mode: nothing in it is random."""
  return network(images, training=False)[0]


def logits_and_features(network: keras.Model, images):
  """Class logits and the feature maps that the Gram term reads: [B, H, W, C] -> ([B, K], [[B, H_l, W_l, C_l], …])."""
  outputs = network(images, training=False)
  return outputs[0], outputs[1:]
