"""Every network of the registry, and one that is added from outside."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import registries
from stic_tf.networks import build
from stic_tf.networks import energy
from stic_tf.networks import layers
from stic_tf.networks import precond

SHAPE, NUM_CLASSES = (32, 32, 1), 3
SETTINGS = {"width": 8, "blocks": 1, "widen": 1}


def _build(name, conditioned, model="stic", shape=SHAPE, **settings):
  config = config_lib.RunConfig.of({**SETTINGS, "model": model, "network": name, **settings})
  return build.build(config, shape, NUM_CLASSES, 0, conditioned)


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("name", registries.NETWORKS)
def test_every_network_for_every_system(name, conditioned):
  """Plain it gives logits and features; whether it knows a level or not, it can be made to, and to the same shapes."""
  network = _build(name, conditioned)
  images = tf.constant(np.random.default_rng(0).uniform(-1, 1, [2, *SHAPE]), tf.float32)
  if conditioned:
    network = precond.EnergyPrecond(network, SHAPE, NUM_CLASSES)
    logits = network.level_energies(images, tf.constant([0.1, 1.0]))[0]
  else:
    logits, features = build.logits_and_features(network, images)
    assert features and all(layer.shape.rank == 4 and layer.shape[0] == 2 for layer in features)
  assert logits.shape == (2, NUM_CLASSES) and logits.dtype == tf.float32 and np.isfinite(logits).all()
  names = [variable.name for variable in network.variables]
  assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", registries.NETWORKS)
def test_convolutions_in_bfloat16_keep_weights_and_logits_in_float32(name):
  before = keras.mixed_precision.global_policy().name
  network = _build(name, conditioned=False, mixed_precision=True)
  assert keras.mixed_precision.global_policy().name == before
  assert {variable.dtype for variable in network.variables} == {tf.float32}
  assert network(tf.zeros([1, *SHAPE]))[0].dtype == tf.float32
  assert any(layer.compute_dtype == "bfloat16" for layer in network.layers)


def _toy(config, image_shape, num_classes, seed, conditioned):
  """Somebody else's network: one linear layer."""
  del conditioned
  image = keras.Input(image_shape)
  kernel = keras.initializers.GlorotUniform(seed=seed)
  logits = keras.layers.Dense(num_classes, kernel_initializer=kernel, name=f"linear_{config.width}")(
      keras.layers.Flatten()(image))
  return keras.Model(image, logits, name="toy")


@pytest.fixture
def toy():
  registries.NETWORKS["toy"] = registries.Entry(_toy, ("width",))
  yield "toy"
  del registries.NETWORKS["toy"]


@pytest.mark.parametrize("model", ["stic", "score"])
def test_a_network_from_outside_is_built_by_its_name(toy, model):
  network = _build(toy, conditioned=model == "score", model=model)
  assert network.name == "toy" and network.layers[-1].name == "linear_8"
  logits, features = build.logits_and_features(network, tf.zeros([2, *SHAPE]))
  assert logits.shape == (2, NUM_CLASSES) and features == []
  # Its settings are checked as those of any other.
  config = config_lib.RunConfig.of({"model": model, "network": toy})
  config.check_read(["width"], SHAPE)
  with pytest.raises(config_lib.ConfigError, match="depth=16: is not read by network=toy; network=wide_resnet"):
    config.replace(depth=16).check_read(["depth"], SHAPE)


def test_a_name_that_nothing_has_is_refused():
  assert "toy" not in registries.NETWORKS
  with pytest.raises(config_lib.ConfigError, match="network=toy: must be one of auto, small, wide_resnet"):
    _build("toy", conditioned=False)


def test_blocks_of_each_resolution():
  names = {layer.name for layer in _build("energy", True, "score", blocks="1,2,3").layers}
  assert {f"stage{stage}_block{block}_scale" for stage, blocks in enumerate((1, 2, 3)) for block in range(blocks)} == {
      name for name in names if name.endswith("_scale") and "block" in name}
  for blocks in ("1,2", "1,2,1,2"):
    with pytest.raises(config_lib.ConfigError, match=f"^blocks={blocks}: "):
      _build("energy", True, "score", blocks=blocks)


@pytest.mark.parametrize("side, attending", [(0, set()), (4, {"stage2_attention"}),
                                             (8, {"stage1_attention", "stage2_attention"})])
def test_grids_that_attend(side, attending):
  network = _build("energy", True, "score", attention_side=side)
  assert {layer.name for layer in network.layers if layer.name.endswith("_attention")} == attending


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize("name", [name for name, entry in registries.NETWORKS.items() if "width" in entry.reads])
def test_a_width_of_one_is_a_network(name, side, conditioned):
  """However often it is halved, and shared among the heads of attention, which is at every resolution of the larger."""
  network = _build(name, conditioned, shape=(side, side, 1), width=1, attention_side=32)
  attending = [layer for layer in network.layers if isinstance(layer, energy.SelfAttention)]
  assert bool(attending) == (side == 32 and "attention_side" in registries.NETWORKS[name].reads)
  images = tf.constant(np.random.default_rng(0).uniform(-1, 1, [2, side, side, 1]), tf.float32)
  logits = network([images, tf.zeros([2])] if len(network.inputs) > 1 else images)[0]
  assert logits.shape == (2, NUM_CLASSES) and np.isfinite(logits).all()


def _attention_kernels(seed, channels=64):
  """Kernels of an attention that is built on rows of `channels`: query, key, value and output."""
  attention = energy.SelfAttention(4, channels // 4, kernel_initializer=layers.initializer(1.0, seed))
  rows = tf.zeros([1, 2, channels])
  attention(rows, rows)
  kernels = {variable.name.split("/")[-2]: variable.numpy() for variable in attention.variables
             if variable.name.endswith("kernel:0")}
  assert set(kernels) == {"query", "key", "value", "attention_output"}
  return kernels


def test_query_key_and_value_begin_apart_and_in_the_scale_of_their_channels():
  """4096 numbers a kernel: a variance has a standard error of 2 % at most, a correlation of 0.016."""
  kernels = _attention_kernels(5)
  for name, kernel in kernels.items():
    assert kernel.var() == pytest.approx(1 / 64, rel=0.1), name
  correlations = np.corrcoef([kernel.ravel() for kernel in kernels.values()])
  assert np.abs(correlations - np.eye(4)).max() < 0.08


def test_the_seed_fixes_the_weights_of_attention():
  first, same, other = (_attention_kernels(seed) for seed in (5, 5, 9))
  for name, kernel in first.items():
    np.testing.assert_array_equal(kernel, same[name])
    assert (kernel != other[name]).any()
