"""Class queries that attend over a grid of tiles: what makes a trunk an attentive classifier, and reads it.

A trunk gives each of M tiles a key and a value, shared by all classes. Class k owns two rows of an embedding table, a
query q_k and a readout e_k, and a third, v_k, where there is a view of the whole canvas (docs/equations.md, "a_k(x)"):

    a_k(x) = softmax_m( c·tanh(q_k · (key_m(x) - mean key(x)) / (c√d)) ) ,
    z_k(x) = Σ_m a_k,m(x) · (e_k · value_m(x)) + v_k · view(x) + b_k .

The scores are capped at ±c, so that no tile has more than e^2c times another's attention: left alone a class comes to
look at a single tile, and there would be nothing to draw by. They are centred before, as what the tiles have in common
would drive all of them into the cap, and attention would be even.
All logits cost O(K·(M·d + v)) beyond the trunk; those of a few classes gather their rows, whatever K is.
"""

from typing import Sequence

import keras
import tensorflow as tf
from keras import layers

from stic_tf import config as config_lib
from stic_tf import first_rows
from stic_tf import rounding
from stic_tf import sparse_weights
from stic_tf.networks import shared_energy

QUERIES = "class_queries"  # the layer by whose name an attentive network is known
_CAP = 1.5  # c


def _attend(scores: tf.Tensor, size: int) -> tf.Tensor:
  """q · k [B, n, M] -> attention [B, n, M], rows that sum to 1."""
  centred = scores - tf.reduce_mean(scores, axis=-1, keepdims=True)
  return tf.nn.softmax(_CAP * tf.tanh(centred * (size ** -0.5 / _CAP)))


def _products(few: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
  """[B, n, d] and [B, M, d] -> [B, n, M], as sums: what a matrix product rounds depends on the batch."""
  return tf.reduce_sum(few[:, :, tf.newaxis] * tokens[:, tf.newaxis], axis=3)


class TileTokens(layers.Layer):
  """Features [B, T, T, C] -> keys and values [B, M, d] each, with a learnt embedding of the place added."""

  def rows_alike(self):
    return rounding.fills_vectors(self._size)

  def __init__(self, size: int, seed: int, **kwargs):
    super().__init__(**kwargs)
    self._size, self._seed = size, seed

  def build(self, input_shape):
    tiles, channels = input_shape[1] * input_shape[2], input_shape[3]
    self.place = self.add_weight(name="place", shape=(tiles, channels),
                                 initializer=keras.initializers.RandomNormal(stddev=0.1, seed=self._seed))
    self.kernel = self.add_weight(name="kernel", shape=(channels, 2 * self._size),
                                  initializer=keras.initializers.VarianceScaling(1.0, seed=self._seed + 1))

  def get_config(self):
    return {**super().get_config(), "size": self._size, "seed": self._seed}

  def call(self, features):
    places = tf.reshape(self.place, features.shape[1:])
    tokens = rounding.along_last_axis(features + places, self.kernel)
    return tf.split(tf.reshape(tokens, [-1, self.place.shape[0], 2 * self._size]), 2, axis=-1)


class ClassQueries(layers.Layer):
  """The class embedding table: what is read of images -> logits [B, K]; `of_classes` reads a few classes only.

  What is read is keys and values [B, M, d] each and, if there is one, a view [B, v].
  """

  def __init__(self, num_classes: int, seed: int, **kwargs):
    super().__init__(**kwargs)
    self._num_classes, self._seed = num_classes, seed

  def build(self, input_shape):
    size = input_shape[0][-1]
    self.queries = self.add_weight(name="queries", shape=(self._num_classes, size),
                                   initializer=keras.initializers.RandomNormal(stddev=1.0, seed=self._seed))
    self.readouts = self.add_weight(name="readouts", shape=(self._num_classes, size),
                                    initializer=keras.initializers.RandomNormal(stddev=0.1, seed=self._seed + 1))
    self.views = None
    if len(input_shape) > 2:
      self.views = self.add_weight(name="views", shape=(self._num_classes, input_shape[2][-1]),
                                   initializer=keras.initializers.RandomNormal(stddev=0.1, seed=self._seed + 2))
    self.biases = self.add_weight(name="biases", shape=(self._num_classes,), initializer="zeros")

  def get_config(self):
    return {**super().get_config(), "num_classes": self._num_classes, "seed": self._seed}

  def call(self, inputs):
    keys, values, *view = inputs
    evidence = tf.einsum("kd,bmd->bkm", self.readouts, values)
    logits = tf.reduce_sum(self.attention(keys) * evidence, axis=2) + self.biases
    return logits + rounding.product(*view, self.views, transposed=True) if view else logits

  def attention(self, keys: tf.Tensor) -> tf.Tensor:
    """Attention maps of all classes: keys [B, M, d] -> float32 [B, K, M], rows that sum to 1."""
    return _attend(tf.einsum("kd,bmd->bkm", self.queries, keys), keys.shape[-1])

  def attention_of(self, keys: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Attention maps [B, n, M] of the classes int32 [B, n] of each image."""
    return _attend(_products(tf.gather(self.queries, classes), keys), keys.shape[-1])

  def of_classes(self, inputs: Sequence[tf.Tensor], classes: tf.Tensor):
    """Logits [B, n] and attention maps [B, n, M] of the classes int32 [B, n] of each image."""
    keys, values, *view = inputs
    attention = self.attention_of(keys, classes)
    evidence = _products(tf.gather(self.readouts, classes), values)
    logits = tf.reduce_sum(attention * evidence, axis=2) + tf.gather(self.biases, classes)
    if view:
      logits = rounding.sum_of([logits, tf.reduce_sum(tf.gather(self.views, classes) * view[0][:, tf.newaxis], axis=2)])
    return logits, attention


def over(hidden, num_classes: int, seed: int, view=None) -> tf.Tensor:
  """Logits [B, K] of queries over a trunk's last features, a Keras tensor [B, T, T, C], and a view [B, v] if any."""
  read = TileTokens(hidden.shape[-1], seed + 300, name="tokens", dtype="float32")(hidden)
  if view is not None:
    read = [*read, view]
  return ClassQueries(num_classes, seed + 310, name=QUERIES, dtype="float32")(read)


def attends(network: keras.Model) -> bool:
  """Whether a network has class queries over a grid of tiles."""
  return any(layer.name == QUERIES for layer in getattr(network, "layers", ()))


def tile_grid(network: keras.Model) -> int:
  """Tiles a side that a network's class queries attend over; 0 of one without."""
  return network.get_layer("tokens").input_shape[1] if attends(network) else 0


def with_queries(network: keras.Model, num_classes: int, seed: int = 0) -> keras.Model:
  """`network` itself if it has class queries; else its features [B, T, T, C], its only output, with queries over them.

  Raises:
    ConfigError: the network has neither.
  """
  if attends(network):
    return network
  shape = getattr(network.output, "shape", None)
  config_lib.require(shape is not None and len(shape) == 4 and shape[1] == shape[2], "network", network.name,
                     "must end in a square grid of features [B, T, T, C], a position a tile, or in class queries")
  side = network.inputs[0].shape[1]
  config_lib.require(side % shape[1] == 0, "network", network.name,
                     f"must end in a grid that divides the canvas: {shape[1]} tiles a side do not divide {side} pixels")
  return keras.Model(network.inputs, [over(network.output, num_classes, seed), network.output], name=network.name)


def _mixed(attention: tf.Tensor, class_weights: sparse_weights.SparseWeights) -> tf.Tensor:
  """a_w = Σ_k w_k a_k: [B, n, M] -> [B, M]."""
  return tf.reduce_sum(attention * class_weights.weights[:, :, tf.newaxis], axis=1)


class ClassReader:
  """Reads a network with class queries: a few classes at a cost that does not grow with K, or all with where w looks.

  Args:
    network: shares its weights with this reader. Its logits are those of the queries, and the output of its layer
      shared_energy.COMMON, where it has one, added to all of them.
  """

  def __init__(self, network: keras.Model):
    self._queries = network.get_layer(QUERIES)
    inputs = self._queries.input
    common = [layer.output for layer in network.layers if layer.name == shared_energy.COMMON]
    self._trunk = keras.Model(network.input, [*inputs, *common, *network.outputs[1:]])
    self._inputs, self._has_common = len(inputs), bool(common)
    # With the queries in it: they give a row the same bits in whole blocks of rows alone.
    self._answer = keras.Model(network.input, [network.outputs[0], inputs[0]])

  def energy_and_attention(self, images: tf.Tensor, class_weights: sparse_weights.SparseWeights,
                           all_classes: bool = False):
    """f_w(x), where w looks, and the trunk's features.

    Args:
      images: float32 [B, H, W, C] in [-1, 1].
      class_weights: as `sparse_weights.of_dense` gives them.
      all_classes: whether all are read as well, at a cost that grows with K.

    Returns:
      f_w = Σ_k w_k z_k, and what all classes share, [B], a_w = Σ_k w_k a_k [B, M] (rows that sum to 1), features
      [[B, H_l, W_l, C_l], …], and log Σ_k exp f_k [B] of all classes, or None.
    """
    outputs = first_rows.call(self._trunk, images)
    read, features = outputs[:self._inputs], outputs[self._inputs:]
    common = features.pop(0)[:, 0] if self._has_common else 0.0
    logits, attention = self._queries.of_classes(read, class_weights.classes)
    energy = tf.reduce_sum(logits * class_weights.weights, axis=1) + common
    of_any = tf.reduce_logsumexp(self._queries(read), axis=1) + common if all_classes else None
    return energy, _mixed(attention, class_weights), features, of_any

  def logits_and_attention(self, images, class_weights: sparse_weights.SparseWeights):
    """All logits [B, K] of what the network takes, and where w looks [B, M]."""
    logits, keys = first_rows.call(self._answer, images)
    return logits, _mixed(self._queries.attention_of(keys, class_weights.classes), class_weights)

  def attention(self, images: tf.Tensor) -> tf.Tensor:
    """Attention maps of all classes: images [B, H, W, C] -> float32 [B, K, M]."""
    return self._queries.attention(first_rows.call(self._trunk, images)[0])
