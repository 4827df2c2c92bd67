"""What all systems share: an update of the weights and of their average, and variables by name."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import stic_tf
from stic_tf import config as config_lib
from stic_tf.networks import build
from stic_tf.networks import convolutional
from stic_tf.systems import build as systems
from stic_tf.training import randomness as randomness_lib
from tests.systems import tiny

SHAPE, NUM_CLASSES = tiny.SHAPE, tiny.NUM_CLASSES


def _system(seed=0, learning_rate=3e-3, **settings):
  settings = {"ema_decay": 0.9, "chains": 12, **settings}
  system = stic_tf.STIC(convolutional.small_network(SHAPE, NUM_CLASSES, 8, seed), NUM_CLASSES, **settings)
  system.compile(keras.optimizers.Adam(learning_rate, jit_compile=False))
  system.optimizer.build(system.network.trainable_variables)
  return system


def _streams(with_fakes=True):
  """Real images with a bright row a class; fakes are noise."""
  rng = np.random.default_rng(0)
  labels = np.arange(12) % NUM_CLASSES
  images = rng.normal(0, 0.2, [12, *SHAPE])
  images[np.arange(12), 2 * labels] += 1.0
  one_hot = np.eye(NUM_CLASSES)[labels]
  mixed, mixed_labels = 0.7 * images + 0.3 * images[::-1], 0.7 * one_hot + 0.3 * one_hot[::-1]
  data = {"real_images": images, "real_labels": one_hot, "mixup_images": mixed, "mixup_labels": mixed_labels}
  if with_fakes:
    data.update(generative_images=images + rng.normal(0, 0.3, images.shape), generative_labels=one_hot,
                fake_images=rng.normal(0, 1, [10, *SHAPE]), fake_weights=rng.dirichlet(np.ones(3), 10))
  return {name: tf.constant(value, tf.float32) for name, value in data.items()}


def _train(system, streams, updates):
  """Updates of the weights on fakes that are given."""
  randomness = randomness_lib.Randomness(0, tf.constant(0, tf.int64), tf.constant(0, tf.int64))
  learn = tf.function(lambda: system.learn(streams, randomness), autograph=False)
  return [{name: float(value) for name, value in learn().items()} for _ in range(updates)]


@pytest.mark.parametrize("loss", ["contrastive", "logistic"])
def test_updates_learn_the_classes_and_push_fakes_down(loss):
  system = _system(loss=loss)
  logs = _train(system, _streams(), 60)
  assert set(logs[0]) == {"loss_classification", "loss_mixup", "loss_generative", "energy_real", "energy_fake",
                          "energy_bound"}
  # What an update logs beside is the chains' acceptance.
  assert set(system.log_names) == {*logs[0], "acceptance_rate"} and system.log_names[-1] == "energy_bound"
  assert logs[0]["loss_classification"] == pytest.approx(np.log(3), abs=0.2)
  assert logs[-1]["loss_classification"] < 0.5 * logs[0]["loss_classification"]
  gap = [row["energy_real"] - row["energy_fake"] for row in logs]
  assert gap[-1] > gap[0] + 1.0
  assert logs[-1]["energy_fake"] < logs[0]["energy_fake"]


def test_the_logs_are_of_the_weights_before_the_update():
  system, streams = _system(), _streams()
  logits = {name: system.network(streams[f"{name}_images"])[0].numpy() for name in ("generative", "fake")}
  (logs,) = _train(system, streams, 1)
  real = (logits["generative"] * streams["generative_labels"].numpy()).sum(1).mean()
  fake = (logits["fake"] * streams["fake_weights"].numpy()).sum(1).mean()
  assert logs["energy_real"] == pytest.approx(real, abs=1e-5)
  assert logs["energy_fake"] == pytest.approx(fake, abs=1e-5)
  assert logs["energy_bound"] >= max(np.abs(value).max() for value in logits.values()) - 1e-5


def test_without_fakes_it_is_a_plain_classifier():
  logs = _train(_system(fakes_from="none"), _streams(with_fakes=False), 30)
  assert set(logs[0]) == {"loss_classification", "loss_mixup", "energy_bound"}
  assert logs[-1]["loss_classification"] < logs[0]["loss_classification"]


def test_fakes_of_no_weight_change_nothing():
  systems = [_system(fake_weight=0.0), _system(fakes_from="none")]
  for system, streams in zip(systems, (_streams(), _streams(with_fakes=False))):
    _train(system, streams, 3)
  for ours, theirs in zip(*(system.network.get_weights() for system in systems)):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def _move_average(system, updates):
  system.updates_done.assign(updates)
  system._move_average(system.distribute_strategy)


def test_the_average_starts_at_the_weights_and_follows_them():
  system = _system(ema_decay=0.9)
  before = system.average.get_weights()
  for ours, theirs in zip(before, system.network.get_weights()):
    np.testing.assert_array_equal(ours, theirs)
  _train(system, _streams(), 1)
  for ours, theirs in zip(before, system.average.get_weights()):
    np.testing.assert_array_equal(ours, theirs)
  weights = system.network.get_weights()
  _move_average(system, 0)
  # Early on the average is a short one: decay 1/10 at first, 0.9 from update 80 on.
  first = [0.1 * old + 0.9 * new for old, new in zip(before, weights)]
  for ours, expected in zip(system.average.get_weights(), first):
    np.testing.assert_allclose(ours, expected, atol=1e-6)
  _move_average(system, 1000)
  for ours, old, new in zip(system.average.get_weights(), first, weights):
    np.testing.assert_allclose(ours, 0.9 * old + 0.1 * new, atol=1e-6)


def test_every_update_moves_the_average():
  system = _system()
  before = system.average.get_weights()
  system.fit(tiny.stream(), steps_per_epoch=1, verbose=0)
  for ours, old, new in zip(system.average.get_weights(), before, system.network.get_weights()):
    np.testing.assert_allclose(ours, 0.1 * old + 0.9 * new, atol=1e-6)
  assert any((old != new).any() for old, new in zip(before, system.network.get_weights()))


def test_the_average_is_not_trained():
  system = _system()
  assert not system.average.trainable_variables
  assert len(system.trainable_variables) == len(system.network.trainable_variables)


def test_calling_it_gives_the_logits_of_the_average():
  system, images = _system(), _streams()["real_images"]
  _train(system, _streams(), 2)
  np.testing.assert_allclose(system(images), system.average(images)[0])
  assert np.abs(system(images) - system.network(images)[0]).max() > 1e-4
  from_bytes = np.clip(127.5 * (images.numpy() + 1), 0, 255).astype(np.uint8)
  inputs = tf.constant(from_bytes / 127.5 - 1, tf.float32)
  expected = tf.nn.softmax(build.logits_and_features(system.average, inputs)[0])
  np.testing.assert_allclose(system.classify(from_bytes), expected, atol=1e-6)


def test_a_system_that_only_draws_has_one_network():
  network = convolutional.small_network(SHAPE, NUM_CLASSES, 8, 0)
  system = stic_tf.STIC(network, NUM_CLASSES, average=network)
  assert system.network is system.average is network


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_the_variables_have_names_of_their_own(kind):
  """And what drawing needs is what training holds under the same names."""
  system = tiny.build_system(kind)
  variables = system.training_variables()
  assert len({id(variable) for variable in variables.values()}) == len(variables)
  for network in (system.network, system.average):
    names = [variable.name for variable in network.variables]
    assert len(set(names)) == len(names)
  drawing = system.drawing_variables()
  assert drawing and all(variables[name] is variable for name, variable in drawing.items())
  held = {id(variable) for variable in variables.values()}
  # Keras' own counters aside, nothing of the model is left out of a checkpoint.
  left_out = [variable.name for variable in [*system.variables, *system.chains.variables, *system.pool.variables]
              if id(variable) not in held]
  assert not left_out, left_out


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_a_state_does_not_depend_on_what_else_was_built_before(kind):
  assert list(tiny.build_system(kind).state()) == list(tiny.build_system(kind).state())


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_a_state_whose_pool_is_not_full_is_taken_back(kind):
  system = tiny.build_system(kind, pool_capacity=20)
  system.chains.put(tf.range(5), tf.ones([5, *SHAPE]))
  system.pool.add(system.chains, system.chains.images, 0, np.random.default_rng(0))
  state, other = system.state(), tiny.build_system(kind, seed=1)
  assert state["pool/images"].shape == (5, *SHAPE) and len(system.pool) == 5
  other.load_state(state)
  tiny.assert_same_state(other.state(), state)
  with pytest.raises(ValueError, match="pool/"):
    tiny.build_system(kind, pool_capacity=4).load_state(state)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_without_fakes_there_is_no_room_for_them(kind):
  """A pool takes pool_capacity images of memory on every device; what nothing reads takes none."""
  system = tiny.build_system(kind, fakes_from="none", pool_capacity=1000)
  assert system.pool.capacity == 0 and system.pool.images.shape == (0, *SHAPE)
  assert max(tf.size(variable).numpy() for variable in system.pool.variables) <= NUM_CLASSES
  state, other = system.state(), tiny.build_system(kind, seed=1, fakes_from="none")
  other.load_state(state)
  tiny.assert_same_state(other.state(), state)
  assert tiny.build_system(kind, pool_capacity=1000).pool.images.shape == (1000, *SHAPE)


def test_a_network_with_batch_statistics_is_refused():
  image = keras.Input(SHAPE)
  hidden = keras.layers.BatchNormalization(name="norm")(keras.layers.Flatten()(image))
  network = keras.Model(image, keras.layers.Dense(NUM_CLASSES)(hidden))
  inner = keras.Input(SHAPE)
  for each in (network, keras.Model(inner, network(inner))):
    with pytest.raises(config_lib.ConfigError, match="^network=norm: must not have batch statistics; .*$"):
      stic_tf.STIC(each, NUM_CLASSES)


def _dense_network(**settings):
  image = keras.Input(SHAPE)
  return keras.Model(image, keras.layers.Dense(NUM_CLASSES, **settings)(keras.layers.Flatten()(image)), name="own")


@pytest.mark.parametrize("settings, says", [
    ({"kernel_regularizer": "l2"}, "network=own: has losses of its own"),
    ({"dtype": "mixed_bfloat16"}, "network=own: gives bfloat16: an accept test needs energies in float32")])
def test_a_network_of_which_something_would_be_lost_is_refused(settings, says):
  with pytest.raises(config_lib.ConfigError, match=says):
    stic_tf.STIC(_dense_network(**settings), NUM_CLASSES)
  stic_tf.STIC(_dense_network(), NUM_CLASSES)


def test_a_gram_term_without_features_is_refused():
  with pytest.raises(config_lib.ConfigError, match="gram_weight=1.0: needs a network that gives feature maps"):
    stic_tf.STIC(_dense_network(), NUM_CLASSES, gram_weight=1.0)


def test_batch_statistics_of_any_name_are_refused():
  image = keras.Input(SHAPE)
  hidden = keras.layers.experimental.SyncBatchNormalization(name="sync")(keras.layers.Flatten()(image))
  with pytest.raises(config_lib.ConfigError, match="^network=sync: must not have batch statistics"):
    stic_tf.STIC(keras.Model(image, keras.layers.Dense(NUM_CLASSES)(hidden)), NUM_CLASSES)


@keras.saving.register_keras_serializable("tests")
class _Composite(keras.layers.Layer):
  """A child and, beside it, a weight that is not learnt, as a spectral normalisation has."""

  def build(self, shape):
    self.child = keras.layers.Dense(8)
    self.child.build(shape)
    self.scale = self.add_weight("scale", shape=[1, 8], initializer="ones", trainable=False)

  def call(self, inputs):
    return self.scale * tf.nn.relu(self.child(inputs))


def test_the_average_of_a_composite_layer_is_of_its_own_weights():
  """Keras lists a frozen layer's weights in another order: its own before those of its children."""
  image = keras.Input(SHAPE)
  network = keras.Model(image, keras.layers.Dense(NUM_CLASSES)(_Composite(name="both")(keras.layers.Flatten()(image))))
  system = stic_tf.STIC(network, NUM_CLASSES, fakes_from="none", ema_decay=0.0)  # the average is the newest weights
  system.compile(keras.optimizers.SGD(0.1))
  images, labels = tiny.images_and_labels(12)
  system.fit(images, labels, batch_size=6, epochs=1, verbose=0)
  learnt, average = system.network.get_layer("both"), system.average.get_layer("both")
  assert np.any(learnt.child.bias.numpy())
  for name in ("kernel", "bias"):
    np.testing.assert_array_equal(getattr(average.child, name), getattr(learnt.child, name), err_msg=name)
  np.testing.assert_array_equal(average.scale, np.ones([1, 8]))


@pytest.mark.parametrize("make, settings, says", [
    ("ScoreSTIC", {"noise_start": 0.3},
     "noise_start=0.3: is not read by model=score; model=stic and attentive read it"),
    ("STIC", {"sigma_max": 3.0}, "sigma_max=3.0: is not read by model=stic; model=score reads it"),
    ("STIC", {"drawing": "strokes"}, "drawing=strokes: is not read by model=stic; model=attentive and score read it"),
    ("STIC", {"chain": 3}, "chain=3: is no setting; chains is"),
    ("STIC", {"pool_capacity": 2}, "pool_capacity=2: must be at least 3, a fake a class"),
    ("ScoreSTIC", {"correction": 1.0}, "correction=1.0: must be 0 with a network without real/fake logits"),
    ("AttentiveSTIC", {}, "network=small: must end in a square grid of features [B, T, T, C], a position a tile, or "
                          "in class queries")])
def test_a_setting_that_does_not_go_is_refused_in_one_line(make, settings, says):
  with pytest.raises(config_lib.ConfigError) as error:
    getattr(stic_tf, make)(convolutional.small_network(SHAPE, NUM_CLASSES, 8, 0), NUM_CLASSES, **settings)
  assert str(error.value) == says


def test_with_mixed_precision_what_draws_is_in_float32():
  config = config_lib.RunConfig().replace(model="score", width=16, mixed_precision=True, fakes_from="none")
  system = systems.build(config, (8, 8, 1), ["a", "b"], 0, tf.distribute.get_strategy())
  stems = [network.trunk.get_layer("stem").compute_dtype for network in (system.network, system.average)]
  assert stems == ["bfloat16", "float32"]
  weights = [network.trunk.get_weights() for network in (system.network, system.average)]
  assert all(np.array_equal(mine, its) for mine, its in zip(*weights))


@pytest.mark.parametrize("attends", [False, True])
def test_weight_decay_takes_a_share_of_kernels_and_tables_alone(attends):
  """Of a gradient of 0, so that nothing else moves; without --weight_decay nothing does."""
  for decay in (0.0, 0.5):
    shape = (32, 32, 3) if attends else SHAPE
    config = config_lib.RunConfig.of({"model": "score", "width": 8, "blocks": "1", "attention_side": 8 * attends})
    system = stic_tf.ScoreSTIC(build.build(config, shape, NUM_CLASSES, 0, True), NUM_CLASSES, chains=10,
                               learning_rate=0.1, weight_decay=decay)
    system.compile(system.make_optimizer())
    system.optimizer.build(system.network.trainable_variables)
    variables = system.network.trainable_variables
    assert attends == any(len(variable.shape) == 2 and "bias" in variable.name for variable in variables)
    for variable in variables:
      variable.assign_add(tf.ones_like(variable))
    before = [variable.numpy() for variable in variables]
    system.optimizer.apply_gradients([(tf.zeros_like(variable), variable) for variable in variables])
    for variable, value in zip(variables, before):
      falls = variable.name.split("/")[-1].split(":")[0] in ("kernel", "embeddings", "queries", "readouts", "place")
      share = 1.0 - 0.1 * decay * falls
      np.testing.assert_allclose(variable, share * value, rtol=1e-6, err_msg=variable.name)
