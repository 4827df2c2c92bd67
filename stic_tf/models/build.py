"""Which network a configuration names. An explicit dictionary: a new system is a new entry."""

from typing import Optional, Sequence, Tuple

import keras
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.models import attention
from stic_tf.models import convolutional
from stic_tf.models import score

# Below this many pixels a side, "auto" means the small network.
_SMALL_SIDE = 32


def _small(config: config_lib.ModelConfig, image_shape, num_classes, seed):
  return convolutional.small_network(image_shape, num_classes, config.width, seed)


def _wide_resnet(config: config_lib.ModelConfig, image_shape, num_classes, seed):
  return convolutional.wide_resnet(image_shape, num_classes, config.depth, config.widen, seed)


def _score(config: config_lib.ModelConfig, image_shape, num_classes, seed):
  return score.ScoreNetwork(image_shape, num_classes, config.width, config.blocks, seed)


def _attentive(config: config_lib.ModelConfig, image_shape, num_classes, seed):
  return attention.attentive_network(image_shape, num_classes, config.width, config.tile_grid, seed)


_NETWORKS = {"small": _small, "wide_resnet": _wide_resnet, "attentive": _attentive, "score": _score}


def resolve_network(config: config_lib.ModelConfig, image_shape: Sequence[int]) -> str:
  """The network's name: that of an attentive or score model, else --network with "auto" resolved by image size."""
  if config.model in _NETWORKS:
    return config.model
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
    A Keras model from images float32 [B, H, W, C] in [-1, 1] to [logits [B, K], features [B, H_l, W_l, C_l], …]; the
    one of "score" takes [images, noise levels [B]] and gives [class energies [B, K], real/fake logits [B, K]].
  """
  return _NETWORKS[resolve_network(config, image_shape)](config, tuple(image_shape), num_classes, seed)


def logits(network: keras.Model, images, noise_level: Optional[tf.Tensor] = None):
  """Class logits of a built network: [B, H, W, C] -> [B, K]. Inference mode: nothing in it is random.

  Args:
    network: from `build_network`.
    images: float32 [B, H, W, C] in [-1, 1].
    noise_level: σ, a scalar, for a noise-conditional network; None for the levels that it answers at.
  """
  if not isinstance(network, score.ScoreNetwork):
    return network(images, training=False)[0]
  if noise_level is None:
    return _mixed_answer(network, images)
  return level_energies(network, images, tf.fill([tf.shape(images)[0]], noise_level))[0]


def _mixed_answer(network: score.ScoreNetwork, images):
  """log Σ_j w_j softmax_k f(x, σ_j) + Σ_j w_j log Σ_k exp f_k(x, σ_j), [B, K].

  Their softmax is the mixture of the levels' answers, their logsumexp the mean of the levels' log densities. Of one
  level they are its energies. Levels of weight 0 cost nothing.
  """
  mixed = network.answer_weights > 0
  levels, weights = tf.boolean_mask(network.answer_levels, mixed), tf.boolean_mask(network.answer_weights, mixed)
  count, batch = tf.shape(levels)[0], tf.shape(images)[0]
  energies, _ = level_energies(network, tf.tile(images, [count, 1, 1, 1]), tf.repeat(levels, batch))
  energies = tf.reshape(energies, [count, batch, energies.shape[-1]])
  weights = weights[:, tf.newaxis, tf.newaxis]
  answer = tf.reduce_logsumexp(tf.nn.log_softmax(energies) + tf.math.log(weights), axis=0)
  return answer + tf.reduce_sum(weights * tf.reduce_logsumexp(energies, axis=2, keepdims=True), axis=0)


def level_energies(network: keras.Model, images, noise_level) -> Tuple[tf.Tensor, tf.Tensor]:
  """Of a noise-conditional network: images [B, H, W, C], σ [B] -> (class energies [B, K], real/fake logits [B, K])."""
  return tuple(network([images, noise_level], training=False))


def logits_and_features(network: keras.Model, images):
  """Class logits and the feature maps that the Gram term reads: [B, H, W, C] -> ([B, K], [[B, H_l, W_l, C_l], …])."""
  outputs = network(images, training=False)
  return outputs[0], outputs[1:]
