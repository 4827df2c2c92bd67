"""The networks: shapes, seeds, no batch statistics, weights that survive a file."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.networks import build
from stic_tf.networks import convolutional

NETWORKS = {
    "small 8x8": ({"network": "small", "width": 16}, (8, 8, 1), 10),
    "small 28x28": ({"network": "small", "width": 16}, (28, 28, 1), 10),
    "wide_resnet 32x32": ({"network": "wide_resnet", "depth": 10, "widen": 1}, (32, 32, 3), 10),
    "wide_resnet deeper, one class": ({"network": "wide_resnet", "depth": 16, "widen": 2}, (32, 32, 3), 1),
}


def _build(name, seed=0):
  settings, image_shape, num_classes = NETWORKS[name]
  config = config_lib.RunConfig(network=config_lib.NetworkConfig(**settings))
  return build.build(config, image_shape, num_classes, seed)


def _logits(network, images):
  return build.logits_and_features(network, images)[0]


def _images(name, count):
  return np.random.default_rng(0).uniform(-1, 1, [count, *NETWORKS[name][1]]).astype(np.float32)


def _scramble(network):
  """Moves every weight, the zeros of SkipInit and of the biases among them, as training would."""
  rng = np.random.default_rng(1)
  network.set_weights([weight + rng.normal(0, 0.1, weight.shape) for weight in network.get_weights()])


@pytest.fixture(scope="module", params=NETWORKS)
def name(request):
  return request.param


@pytest.fixture(scope="module")
def network(name):
  network = _build(name)
  _scramble(network)
  return network


def test_logits_and_features(name, network):
  logits, features = build.logits_and_features(network, _images(name, 3))
  assert logits.shape == (3, NETWORKS[name][2]) and logits.dtype == tf.float32
  assert features and all(layer.shape.rank == 4 and layer.shape[0] == 3 for layer in features)
  np.testing.assert_array_equal(_logits(network, _images(name, 3)), logits)


def test_an_image_does_not_see_its_neighbours(name, network):
  images = _images(name, 8)
  together = _logits(network, images).numpy()
  others = images.copy()
  others[1:] = 0.9
  # Neither another batch around it nor none at all, but for the order in which a convolution may sum.
  np.testing.assert_allclose(_logits(network, others)[0], together[0], rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(_logits(network, images[:1])[0], together[0], rtol=1e-5, atol=1e-5)


def test_training_mode_is_no_other_function(name, network):
  images = _images(name, 4)
  np.testing.assert_array_equal(network(images, training=True)[0], network(images, training=False)[0])


def test_there_are_no_batch_statistics(network):
  assert not [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
  assert len(network.trainable_variables) == len(network.variables)


def test_the_input_gradient_is_smooth_and_reaches_every_pixel(name, network):
  """What the sampler follows: swish has second derivatives, and no stride skips a pixel."""
  images = tf.constant(_images(name, 2))
  with tf.GradientTape() as outer:
    outer.watch(images)
    with tf.GradientTape() as tape:
      tape.watch(images)
      energy = tf.reduce_sum(tf.square(_logits(network, images)))
    gradient = tape.gradient(energy, images)
    squared = tf.reduce_sum(tf.square(gradient))
  assert (gradient.numpy() != 0).all()
  second = outer.gradient(squared, images).numpy()
  assert np.isfinite(second).all() and (second != 0).all()


def test_the_same_seed_is_the_same_network(name):
  tf.random.set_seed(1)
  first = _build(name, seed=3).get_weights()
  tf.random.set_seed(2)
  second = _build(name, seed=3).get_weights()
  other = _build(name, seed=4).get_weights()
  for ours, theirs in zip(first, second):
    np.testing.assert_array_equal(ours, theirs)
  kernels = [(ours, theirs) for ours, theirs in zip(first, other) if ours.ndim > 1]
  assert all((ours != theirs).any() for ours, theirs in kernels)
  # No two layers of a network start alike.
  kernels = [kernel.ravel()[:8].tobytes() for kernel in first if kernel.ndim > 1 and kernel.size >= 8]
  assert len(set(kernels)) == len(kernels)


def test_it_starts_without_an_opinion(name):
  logits = _logits(_build(name), _images(name, 16)).numpy()
  assert np.isfinite(logits).all() and np.abs(logits).max() < 3


def test_weights_survive_a_file(name, network, tmp_path):
  network.save_weights(tmp_path / "network.weights.h5")
  loaded = _build(name, seed=9)
  loaded.load_weights(tmp_path / "network.weights.h5")
  np.testing.assert_array_equal(_logits(loaded, _images(name, 2)), _logits(network, _images(name, 2)))


def test_auto_goes_by_the_size_of_the_image():
  auto = config_lib.RunConfig()
  sides = {side: auto.network_name((side, side, 3)) for side in (8, 28, 32, 64)}
  assert sides == {8: "small", 28: "small", 32: "wide_resnet", 64: "wide_resnet"}
  assert auto.replace(network="small").network_name((64, 64, 3)) == "small"
  # A system that has a network of its own means that, whatever the size.
  assert [auto.replace(model=model).network_name((64, 64, 3)) for model in ("attentive", "score")] == [
      "attentive", "energy"]


def test_the_small_network_ends_on_a_small_grid():
  for side in (8, 28):
    network = convolutional.small_network((side, side, 1), 10, 16, seed=0)
    assert network.outputs[-1].shape[1:] == (4, 4, 16)


def test_depth_and_width_of_the_wide_residual_network():
  def convolutions(network):
    return len([layer for layer in network.layers
                if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size != (1, 1)])

  shallow = convolutional.wide_resnet((32, 32, 3), 10, depth=10, widen=1, seed=0)
  deep = convolutional.wide_resnet((32, 32, 3), 10, depth=22, widen=1, seed=0)
  wide = convolutional.wide_resnet((32, 32, 3), 10, depth=10, widen=3, seed=0)
  # 6n + 4 counts the stem, two convolutions a block, the shortcuts of the three groups as one, and the logits.
  assert (convolutions(shallow), convolutions(deep)) == (1 + 3 * 2 * 1, 1 + 3 * 2 * 3)
  assert [layer.shape[1:] for layer in shallow.outputs[1:]] == [(32, 32, 16), (16, 16, 32), (8, 8, 64)]
  assert [layer.shape[-1] for layer in wide.outputs[1:]] == [48, 96, 192]


def test_a_new_residual_branch_is_open():
  """From the first update on each block learns: shut branches open too slowly for a training of hundreds of updates."""
  network = convolutional.wide_resnet((32, 32, 3), 10, depth=16, widen=1, seed=0)
  images = tf.constant(np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3)), tf.float32)
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.square(network(images)[0]))
  gradients = dict(zip((weight.name for weight in network.trainable_weights),
                       tape.gradient(loss, network.trainable_weights)))
  kernels = [name for name in gradients if "block" in name and "conv" in name and "kernel" in name]
  assert len(kernels) == 3 * 2 * 2 and all(float(tf.norm(gradients[name])) > 0 for name in kernels)
