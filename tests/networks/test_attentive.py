"""The attentive network: its attention, one class read without the others, and that this costs the same for any K."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import sparse_weights
from stic_tf.networks import attentive
from stic_tf.networks import build
from stic_tf.networks import class_queries
from stic_tf.networks import shared_energy

SHAPES = {"8x8, 4": ((8, 8, 1), 4, 10), "28x28, 4": ((28, 28, 1), 4, 10), "28x28, 7": ((28, 28, 1), 7, 10),
          "16x16, 2": ((16, 16, 3), 2, 1), "12x12, 12": ((12, 12, 1), 12, 3)}


def _build(shape, tile_grid=4, num_classes=10, seed=0, **settings):
  return build.build(config_lib.RunConfig.of({"model": "attentive", "width": 8, "tile_grid": tile_grid, **settings}),
                     shape, num_classes, seed)


def _logits(network, images):
  return build.logits_and_features(network, images)[0]


def _network(shape=(8, 8, 1), tile_grid=4, num_classes=10, seed=0, **settings):
  network = _build(shape, tile_grid, num_classes, seed, **settings)
  rng = np.random.default_rng(1)
  network.set_weights([weight + rng.normal(0, 0.1, weight.shape) for weight in network.get_weights()])
  return network


def _images(shape, count=3):
  return tf.constant(np.random.default_rng(0).uniform(-1, 1, [count, *shape]), tf.float32)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name):
  shape, tile_grid, num_classes = SHAPES[name]
  network = _network(*SHAPES[name])
  logits, features = build.logits_and_features(network, _images(shape))
  assert logits.shape == (3, num_classes) and logits.dtype == tf.float32
  assert features and all(layer.shape.rank == 4 for layer in features)
  assert features[-1].shape[1:3] == (tile_grid, tile_grid)
  maps = class_queries.ClassReader(network).attention(_images(shape)).numpy()
  assert maps.shape == (3, num_classes, tile_grid ** 2)
  np.testing.assert_allclose(maps.sum(2), 1.0, atol=1e-5)
  assert maps.std(axis=2).min() > 0


def test_no_tile_is_left_out_whatever_the_weights():
  network = _network()
  network.set_weights([30 * weight for weight in network.get_weights()])
  maps = class_queries.ClassReader(network).attention(_images((8, 8, 1))).numpy()
  ratios = maps.max(axis=2) / maps.min(axis=2)
  assert np.exp(2.9) < ratios.max() < np.exp(3.01)


def test_what_the_tiles_have_in_common_does_not_even_out_attention():
  network = _network()
  queries = network.get_layer("class_queries")
  rng = np.random.default_rng(0)
  keys = rng.normal(size=[2, 16, 8]).astype(np.float32)
  maps = queries.attention(tf.constant(keys)).numpy()
  np.testing.assert_allclose(queries.attention(tf.constant(keys + 30 * rng.normal(size=8).astype(np.float32))), maps,
                             atol=1e-4)
  assert maps.max() > 1.5 / 16


def test_every_tile_knows_the_whole_canvas():
  """The first of 12×12 tiles changes with a pixel of the opposite corner, out of the convolutions' reach."""
  network = _build((24, 24, 1), tile_grid=12)
  values = keras.Model(network.input, network.get_layer("tokens").output[1])
  image = _images((24, 24, 1), 1)
  with tf.GradientTape() as tape:
    tape.watch(image)
    first = tf.reduce_sum(values(image)[:, 0])
  assert np.abs(tape.gradient(first, image).numpy()[0, -1, -1, 0]) > 1e-6


def test_a_grid_that_does_not_divide_the_canvas_is_refused():
  with pytest.raises(config_lib.ConfigError, match="tile_grid=3: must divide the canvas of 8x8 pixels"):
    _network(tile_grid=3)


def test_a_class_has_a_linear_view_of_the_whole_canvas():
  """Of a trunk that says nothing a plane is left: v_k · V x."""
  network = _network(view_size=24)
  queries = network.get_layer("class_queries")
  assert queries.views.shape == (10, 24)
  for variable in network.get_layer("tokens").trainable_variables:
    variable.assign(tf.zeros_like(variable))
  images = _images((8, 8, 1))
  planes = tf.reshape(images, [3, -1]) @ network.get_layer("view").kernel @ tf.transpose(queries.views) + queries.biases
  np.testing.assert_allclose(_logits(network, images), planes, rtol=1e-4, atol=1e-5)
  assert _network().get_layer("class_queries").views is None


@pytest.mark.parametrize("settings", [{}, {"view_size": 24}, {"network": "attentive_unet", "blocks": "1"}], ids=str)
def test_one_class_read_alone_is_as_among_all(settings):
  network, images = _network(**settings), _images((8, 8, 1), 10)
  reader = class_queries.ClassReader(network)
  weights = tf.eye(10)
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(images)
    energy, where, features, anyone = reader.energy_and_attention(images, sparse_weights.of_dense(weights), True)
    logits = _logits(network, images)
    among_all, log_sum = tf.linalg.diag_part(logits), tf.reduce_logsumexp(logits, axis=1)
  np.testing.assert_allclose(energy, among_all, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(anyone, log_sum, rtol=1e-4, atol=1e-5)
  for found, expected in ((energy, among_all), (anyone, log_sum)):
    np.testing.assert_allclose(tape.gradient(found, images), tape.gradient(expected, images), rtol=1e-3, atol=1e-5)
  maps = reader.attention(images).numpy()
  np.testing.assert_allclose(where, maps[np.arange(10), np.arange(10)], atol=1e-5)
  np.testing.assert_allclose(features[-1], build.logits_and_features(network, images)[1][-1], rtol=1e-5, atol=1e-6)


def test_a_u_net_whose_classes_attend_shares_the_energy_of_its_decoder():
  """It moves all logits alike, and every resolution that is a grid of tiles can be attended over."""
  network, images = _network((32, 32, 3), 8, network="attentive_unet", attention_side=0), _images((32, 32, 3))
  reader = class_queries.ClassReader(network)
  assert class_queries.tile_grid(network) == 8 and reader.attention(images).shape == (3, 10, 64)
  common = keras.Model(network.input, network.get_layer(shared_energy.COMMON).output)(images)
  queries = keras.Model(network.input, network.get_layer(class_queries.QUERIES).output)(images)
  np.testing.assert_allclose(_logits(network, images), queries + common, rtol=1e-5, atol=1e-5)
  assert np.abs(common).min() > 1e-3
  with pytest.raises(config_lib.ConfigError, match=r"^tile_grid=2: must be one of \[4, 8, 16\], the resolutions"):
    _network((32, 32, 3), 2, network="attentive_unet", attention_side=0)
  with pytest.raises(config_lib.ConfigError, match=r"^tile_grid=4: must be one of \[7, 14\], the resolutions"):
    _network((28, 28, 1), 4, network="attentive_unet", attention_side=0)  # whose four are not those of 28 / 4 pixels


def test_a_soft_class_is_the_mixture_of_logits_and_of_maps():
  network, images = _network(num_classes=20), _images((8, 8, 1), 5)
  weights = np.zeros([5, 20], np.float32)
  rng = np.random.default_rng(2)
  for row, count in enumerate((1, 2, 3, 7, 10)):
    weights[row, rng.choice(20, count, replace=False)] = rng.dirichlet(np.ones(count))
  reader = class_queries.ClassReader(network)
  energy, where, _, anyone = reader.energy_and_attention(images, sparse_weights.of_dense(tf.constant(weights)))
  assert anyone is None
  np.testing.assert_allclose(energy, (_logits(network, images).numpy() * weights).sum(1), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(where, np.einsum("bk,bkm->bm", weights, reader.attention(images)), atol=1e-5)


def test_of_more_classes_than_can_be_mixed_the_largest_are_kept():
  weights = np.random.default_rng(0).dirichlet(np.ones(30), 2).astype(np.float32)
  weights[1] = np.eye(30)[7] * np.float32(0.999)  # a row of few classes is not touched, be its sum 1 or nearly
  sparse = sparse_weights.of_dense(tf.constant(weights))
  order = np.argsort(-weights[0])[:10]
  np.testing.assert_array_equal(sparse.classes[0], order)
  np.testing.assert_allclose(sparse.weights[0], weights[0, order] / weights[0, order].sum(), rtol=1e-5)
  assert sparse.classes[1, 0] == 7
  np.testing.assert_array_equal(sparse.weights[1], np.float32([0.999] + [0] * 9))


def _graph(num_classes):
  """The graph of one class's logit and its input gradient, with the class weights already sparse."""
  reader = class_queries.ClassReader(_network(num_classes=num_classes))

  @tf.function(autograph=False)
  def one_class(images, classes, weights):
    with tf.GradientTape() as tape:
      tape.watch(images)
      energy, _, _, _ = reader.energy_and_attention(images, sparse_weights.SparseWeights(classes, weights))
    return energy, tape.gradient(energy, images)

  return one_class.get_concrete_function(tf.TensorSpec([4, 8, 8, 1]), tf.TensorSpec([4, 10], tf.int32),
                                         tf.TensorSpec([4, 10])).graph


def test_one_class_costs_the_same_for_any_number_of_classes():
  """The same operations on the same shapes; K shows only in the tables that rows are gathered from."""
  few, many = _graph(10), _graph(1000)
  shapes = [[(operation.type, tuple(tuple(output.shape) for output in operation.outputs))
             for operation in graph.get_operations()] for graph in (few, many)]
  assert shapes[0] == shapes[1] and len(shapes[0]) > 50
  # The negative control: all logits do show K.
  network = _network(num_classes=1000)
  logits = tf.function(lambda images: _logits(network, images), autograph=False)
  graph = logits.get_concrete_function(tf.TensorSpec([4, 8, 8, 1])).graph
  assert any(1000 in output.shape.as_list() for operation in graph.get_operations() for output in operation.outputs
             if output.shape.rank)


def test_ten_thousand_classes():
  network = _network(num_classes=10000)
  logits = _logits(network, _images((8, 8, 1), 2))
  assert logits.shape == (2, 10000) and np.isfinite(logits).all()
  tables = sum(np.prod(variable.shape) for variable in network.get_layer("class_queries").weights)
  assert tables == 10000 * (2 * 8 + 1)


def test_the_seed_fixes_the_weights():
  first, same, other = (_build((8, 8, 1), seed=seed).get_weights() for seed in (0, 0, 1))
  assert all((ours == theirs).all() for ours, theirs in zip(first, same))
  assert any((ours != theirs).any() for ours, theirs in zip(first, other))


def test_the_weights_survive_a_file(tmp_path):
  network = _network()
  network.save_weights(tmp_path / "weights.h5")
  other = _network(seed=1)
  other.load_weights(tmp_path / "weights.h5")
  np.testing.assert_array_equal(_logits(network, _images((8, 8, 1))), _logits(other, _images((8, 8, 1))))
  assert isinstance(network, keras.Model)


def test_a_new_residual_branch_is_open():
  """From the first update on each block learns: from a scale of 0 it would take hundreds of updates to open."""
  network = attentive.attentive(config_lib.NetworkConfig(width=16, tile_grid=4), (8, 8, 1), 3, 0, False)
  images = tf.constant(np.random.default_rng(0).uniform(-1, 1, (8, 8, 8, 1)), tf.float32)
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.square(network(images)[0]))
  gradients = dict(zip((weight.name for weight in network.trainable_weights),
                       tape.gradient(loss, network.trainable_weights)))
  kernels = [name for name in gradients if name.startswith("tiles_") and "kernel" in name]
  assert len(kernels) == 4 and all(float(tf.norm(gradients[name])) > 0 for name in kernels)
