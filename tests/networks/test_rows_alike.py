"""Layers that give a row the same bits in any company, and networks run on the rows that were asked for."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import first_rows
from stic_tf.networks import build
from stic_tf.networks import layers
from stic_tf.networks import precond

COUNT = 33


@pytest.mark.parametrize("side,size,stride", [(8, 4, 2), (7, 4, 2), (7, 7, 7), (9, 3, 3), (5, 3, 2), (7, 1, 2)])
def test_a_stride_is_that_of_keras(side, size, stride):
  """To rounding: values, and the gradients of image, kernel and bias."""
  settings = {"filters": 6, "kernel_size": size, "strides": stride, "padding": "same", "bias_initializer": "ones"}
  ours, theirs = layers.Convolution(**settings), keras.layers.Conv2D(**settings)
  images = tf.constant(np.random.default_rng(0).normal(size=(3, side, side, 5)), tf.float32)
  found = []
  for layer in (ours, theirs):
    layer.build(images.shape)
    layer.set_weights(ours.get_weights())
    with tf.GradientTape() as tape:
      tape.watch(images)
      outputs = layer(images)
      energy = tf.reduce_sum(tf.square(outputs))
    found.append([outputs, *tape.gradient(energy, [images, *layer.trainable_variables])])
  for one, other in zip(*found):
    assert one.shape == other.shape
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)


def _network(settings, shape, conditioned):
  config = config_lib.RunConfig.of({"width": 16, "blocks": "1", "tile_grid": 4, "depth": 10, "widen": 1, **settings})
  network = build.build(config, shape, 10, 0, conditioned)
  rng = np.random.default_rng(1)
  if settings["network"] == "attentive":
    network = keras.Model(network.input, network.get_layer("class_queries").input)
  if settings["network"] == "attentive_unet":
    read = [*network.get_layer("class_queries").input, network.get_layer("energy_in_common").output]
    network = keras.Model(network.input, [*read[:-1], keras.layers.Concatenate()([read[-1]] * 4)])
  network.set_weights([weight + rng.normal(0, 0.05, weight.shape) for weight in network.get_weights()])
  return network


NETWORKS = {"attentive trunk": ({"network": "attentive"}, (28, 28, 1), False),
            "attentive trunk with a view": ({"model": "score", "network": "attentive", "view_size": 24}, (32, 32, 3),
                                            True),
            "energy": ({"model": "score", "network": "energy"}, (8, 8, 1), True),
            "energy, halved": ({"model": "score", "network": "energy"}, (28, 28, 1), True),
            "unet": ({"model": "score", "network": "unet"}, (28, 28, 1), True),
            "unet, colour": ({"model": "score", "network": "unet", "attention_side": 0}, (32, 32, 3), True),
            "attentive_unet, colour": ({"model": "attentive", "network": "attentive_unet", "attention_side": 0},
                                       (32, 32, 3), False),
            "small": ({"network": "small"}, (28, 28, 1), False),
            "wide_resnet": ({"network": "wide_resnet"}, (32, 32, 3), False)}


def _energy_and_gradient(network, shape, conditioned):
  """Of the rows that it is given: compiled as a sampler has it."""

  def of_rows(images):
    with tf.GradientTape() as tape:
      tape.watch(images)
      level = [tf.fill([tf.shape(images)[0]], 0.1)] if conditioned else []
      outputs = tf.nest.flatten(network([images, *level] if conditioned else images, training=False))
      energy = tf.add_n([tf.reshape(output, [tf.shape(images)[0], -1])[:, 3] for output in outputs])
    return energy, tape.gradient(energy, images)

  return tf.function(of_rows, autograph=False, input_signature=[tf.TensorSpec([None, *shape])])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_row_has_the_same_bits_in_any_company(name):
  settings, shape, conditioned = NETWORKS[name]
  network = _network(settings, shape, conditioned)
  assert first_rows.gives_rows_alike(network)
  images = np.random.default_rng(2).normal(size=(COUNT, *shape)).astype(np.float32)
  of_rows = _energy_and_gradient(network, shape, conditioned)
  whole = [value.numpy() for value in of_rows(images)]
  for start, count in ((0, 1), (7, 1), (3, 2), (2, 3), (1, 7), (5, 16), (11, 17)):
    for value, expected in zip(of_rows(images[start:start + count]), whole):
      np.testing.assert_array_equal(value, expected[start:start + count], err_msg=f"{count} from {start}")


@pytest.mark.parametrize("settings", [{"network": "small", "width": 20}, {"network": "energy", "width": 12},
                                      {"network": "attentive", "width": 10}])
def test_channels_that_leave_vector_registers_over_are_not_alike(settings):
  """Of these some bits did differ."""
  assert not first_rows.gives_rows_alike(_network(settings, (28, 28, 1), settings["network"] == "energy"))


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_answer_of_several_levels_is_that_of_the_rows_asked_for(mirrored):
  trunk = _network(*NETWORKS["energy"])
  energies = precond.EnergyPrecond(trunk, (8, 8, 1), 10)
  energies.answer_levels.assign(np.geomspace(0.05, 2.0, precond.ANSWERS))
  energies.answer_weights.assign(np.arange(precond.ANSWERS) / 28.0)  # the first costs nothing
  images = tf.random.normal([16, 8, 8, 1])
  whole = energies.answer(images, mirrored)
  with first_rows.asked(tf.constant(3), tf.constant(16)):
    np.testing.assert_array_equal(energies.answer(images, mirrored)[:3], whole[:3])
  one = energies.answer(tf.repeat(images[5:6], 16, axis=0), mirrored)
  np.testing.assert_array_equal(one[9], whole[5])


class _Averaging(keras.Model):
  """What no layer of it tells: it reads the whole batch."""

  def __init__(self, network):
    super().__init__()
    self.network = network

  def call(self, images):
    return self.network(images - tf.reduce_mean(images, axis=0))


class _Add(keras.layers.Add):
  """A user's own."""


def test_of_a_users_models_nobody_knows():
  network = _network(*NETWORKS["small"])
  assert first_rows.gives_rows_alike(network) and not first_rows.gives_rows_alike(_Averaging(network))
  image = keras.Input([8, 8, 1])
  assert first_rows.gives_rows_alike(keras.Model(image, keras.layers.Add()([image, image])))
  assert not first_rows.gives_rows_alike(keras.Model(image, _Add()([image, image])))


def test_of_a_users_layers_nobody_knows():
  image = keras.Input([8, 8, 1])
  network = keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(image)))
  assert not first_rows.gives_rows_alike(network)
  rows = tf.ones([16, 8, 8, 1])
  with first_rows.asked(tf.constant(1), tf.constant(16)):
    assert (first_rows.call(network, rows).numpy() == network(rows).numpy()).all()  # all of them


def test_only_the_rows_that_were_asked_for_are_computed():
  network = _network(*NETWORKS["small"])
  rows = tf.random.normal([16, 28, 28, 1])
  whole = network(rows, training=False)
  with first_rows.asked(tf.constant(3), tf.constant(16)):
    found = first_rows.call(network, rows)
  for one, other in zip(found, whole):
    np.testing.assert_array_equal(one[:3], other[:3])
    assert one.shape == other.shape and not one[3:].numpy().any()
  np.testing.assert_array_equal(first_rows.call(network, rows)[0], whole[0])  # and outside, all


def test_rows_of_another_batch_are_refused():
  network = _network(*NETWORKS["small"])
  with first_rows.asked(tf.constant(3), tf.constant(16)), pytest.raises(
      tf.errors.InvalidArgumentError, match="rows of another batch"):
    first_rows.call(network, tf.zeros([32, 28, 28, 1]))
  with first_rows.asked(tf.constant(3), tf.constant(16)), first_rows.times(tf.constant(2)):
    found = first_rows.call(network, tf.ones([32, 28, 28, 1]))[0].numpy()
  assert found[:6].all() and not found[6:].any()
