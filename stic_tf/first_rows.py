"""A network on the first rows of a batch alone: the rest of it fills the batch up, for the sake of equal bits.

What moves rows works on whole blocks of them (drawing_classifier.py), as elementwise functions have other last bits in
what is left over of a vector register. Layers that give a row the same bits in any company need no such company, and
the network is where the time goes: `call` runs it on the rows that were asked for.
"""

import contextlib
import contextvars
import functools

import keras
import tensorflow as tf

_PLAIN = (keras.layers.InputLayer, keras.layers.Activation, keras.layers.Add, keras.layers.Concatenate,
          keras.layers.Flatten, keras.layers.GlobalAveragePooling2D, keras.layers.Reshape)
_asked = contextvars.ContextVar("asked", default=None)


@contextlib.contextmanager
def asked(count: tf.Tensor, of: tf.Tensor):
  """Within it, networks are run on the first `count` rows of batches of `of` rows, both int32 scalars."""
  before = _asked.set((count, of))
  try:
    yield
  finally:
    _asked.reset(before)


def times(number: tf.Tensor):
  """Within it, each row of those that are asked for stands for `number` rows, one after the other."""
  rows = _asked.get()
  return asked(rows[0] * number, rows[1] * number) if rows else contextlib.nullcontext()


@functools.lru_cache(maxsize=1)
def _graph_class() -> type:
  """The class of models that are layers and nothing else; Keras has no public name for it."""
  image = keras.Input([1])
  return type(keras.Model(image, image))


def _is_alike(layer: keras.layers.Layer) -> bool:
  if type(layer) in _PLAIN:
    return True
  # Not inherited: what a user's subclass does nobody knows.
  return vars(type(layer)).get("rows_alike", lambda layer: False)(layer)


def gives_rows_alike(network: keras.Model) -> bool:
  """Whether all layers give a row the same bits whatever else is in the batch: a graph of layers that say so.

  A layer says so by a method `rows_alike`; of others, but for the plainest of Keras, and of what a subclass of
  keras.Model does between its layers, nobody knows.
  """
  return type(network) is _graph_class() and all(_is_alike(layer) for layer in network.layers)


def call(network, inputs):
  """`network(inputs, training=False)`; of rows that nobody has asked for it gives zeros.

  Args:
    network: a Keras model, or any function of `inputs`, which is given the whole batch.
    inputs: a tensor [B, …] or a list of them.
  """
  if not isinstance(network, keras.Model):
    return network(inputs)
  rows = _asked.get()
  if rows is None or not gives_rows_alike(network):
    return network(inputs, training=False)
  count, of = rows
  batch = tf.shape(tf.nest.flatten(inputs)[0])[0]
  with tf.control_dependencies([tf.debugging.assert_equal(batch, of, "rows of another batch than was asked for")]):
    outputs = network(tf.nest.map_structure(lambda rows: rows[:count], inputs), training=False)
  return tf.nest.map_structure(
      lambda rows: tf.pad(rows, [[0, batch - count]] + [[0, 0]] * (len(rows.shape) - 1)), outputs)
