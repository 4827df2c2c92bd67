"""A user's own Keras network and data set, trained by compile and fit, then drawn from and exported."""

import glob
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn import datasets

import stic_tf
from export import exporter
from stic_tf import config as config_lib
from stic_tf import drawing as drawing_lib
from stic_tf import registries
from stic_tf.datasets import pixel_range
from stic_tf.mcmc import random as random_lib
from stic_tf.preconditioners import identity
from stic_tf.systems import accepted
from stic_tf.systems import base
from stic_tf.systems import build
from stic_tf.systems import drawer
from stic_tf.training import losses
from tests.systems import tiny

SETTINGS = {"chains": 32, "batch_size": 16, "num_steps": 4}
KINDS = {"STIC": {"training_steps": 2}, "AttentiveSTIC": {"training_steps": 2}, "ScoreSTIC": {}}


def _network(kind):
  """A user's network, which knows nothing of us; Attentive-STIC puts its queries over a grid of features."""
  def start(seed):
    return {"kernel_initializer": keras.initializers.GlorotUniform(seed)}

  image = keras.Input((8, 8, 1))
  hidden = keras.layers.Conv2D(8, 4, 2, "same", activation="swish", name="convolution", **start(1))(image)
  if kind == "AttentiveSTIC":
    return keras.Model(image, hidden)
  return keras.Model(image, keras.layers.Dense(10, name="logits", **start(2))(keras.layers.Flatten()(hidden)))


def _data():
  """Pairs of uint8 digits and labels; four batches, again and again."""
  digits = datasets.load_digits()
  images = (digits.images[:64, :, :, np.newaxis] * 255 / 16).astype(np.uint8)
  return tf.data.Dataset.from_tensor_slices((images, digits.target[:64])).batch(16).repeat()


def _model(kind, steps_per_execution=2):
  model = getattr(stic_tf, kind)(_network(kind), num_classes=10, **SETTINGS, **KINDS[kind])
  model.compile(keras.optimizers.Adam(1e-2), steps_per_execution=steps_per_execution)
  return model


def _fit(model, callbacks=()):
  return model.fit(_data(), epochs=2, steps_per_epoch=4, verbose=0, callbacks=list(callbacks))


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
  return request.param


@pytest.fixture(scope="module")
def trained(kind, tmp_path_factory):
  """(a model, what fit gave, the state it came to, the folder of TensorBoard)."""
  folder = str(tmp_path_factory.mktemp(kind))
  model = _model(kind)
  history = _fit(model, [
      keras.callbacks.TensorBoard(folder, profile_batch=(3, 4)),
      keras.callbacks.BackupAndRestore(os.path.join(folder, "backup")),
      keras.callbacks.EarlyStopping("loss_classification", patience=5)])
  return model, history.history, model.state(), folder


def test_keywords_replace_settings_of_a_configuration_that_is_given():
  config = config_lib.RunConfig.of({"model": "stic", "chains": 64, "num_steps": 7})
  model = stic_tf.STIC(_network("STIC"), 10, config=config, chains=32)
  assert (model.config.training.chains, model.config.sampler.num_steps) == (32, 7)
  with pytest.raises(config_lib.ConfigError, match="chians=32: is no setting; chains is"):
    stic_tf.STIC(_network("STIC"), 10, config=config, chians=32)


def test_a_class_has_a_name_each():
  names = np.array(list("abcdefghij"))
  assert stic_tf.STIC(_network("STIC"), 10, class_names=names).class_names == tuple("abcdefghij")
  with pytest.raises(config_lib.ConfigError, match="class_names=2: must be 10, a name a class"):
    stic_tf.STIC(_network("STIC"), 10, class_names=["a", "b"])


def test_moments_of_a_large_array_are_of_images_from_all_over_it(monkeypatch):
  monkeypatch.setattr(accepted, "_STATISTICS_IMAGES", 4)
  images = np.arange(9, dtype=np.uint8)[:, np.newaxis, np.newaxis, np.newaxis] + np.zeros([9, 2, 2, 1], np.uint8)
  assert accepted.some_images(images).shape == (3, 2, 2, 1)
  np.testing.assert_allclose(accepted.some_images(images)[:, 0, 0, 0], np.array([0, 3, 6]) / 127.5 - 1, atol=1e-6)
  assert len(accepted.some_images(images[:4])) == 4
  with pytest.raises(config_lib.ConfigError, match=r"images=\|x\| up to 6: must be uint8, or float in \[-1, 1\]"):
    accepted.some_images(images.astype(np.float32))


@pytest.mark.parametrize("labels, said", [(np.arange(1, 11), r"labels must be class numbers in 0\.\.9"),
                                          (np.full([10, 10], 0.2, np.float32), "that sum to 1")])
def test_labels_that_are_no_classes_are_refused(labels, said):
  """A number that is no class has a one-hot row of zeros, from which training would learn nothing."""
  model = stic_tf.STIC(_network("STIC"), 10, chains=20)
  model.compile(keras.optimizers.Adam(1e-3))
  with pytest.raises(tf.errors.InvalidArgumentError, match=said):
    model.fit(np.zeros([10, 8, 8, 1], np.uint8), labels, batch_size=10, verbose=0)


def test_fit_trains_and_keras_callbacks_work(trained):
  model, history, state, folder = trained
  assert set(history) == set(model.log_names) and all(len(values) == 2 for values in history.values())
  assert np.isfinite([*history.values()]).all()
  assert (int(state["scalars/updates_done"]), int(state["scalars/passes_done"])) == (8, 2)
  assert history["loss_classification"][1] < history["loss_classification"][0]
  learns_from_fakes = "loss_generative" in model.log_names  # Score-STIC's network has no head here
  assert (len(model.pool) > 0) == state["chains/begun"].any() == learns_from_fakes
  assert glob.glob(os.path.join(folder, "train", "*.tfevents.*"))
  assert glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)


def test_it_draws_and_classifies(trained):
  model, _, _, _ = trained
  drawings = model.draw([3, 7], seeds=1)
  assert drawings.images.shape == (2, 8, 8, 1) and drawings.images.dtype == np.uint8
  assert np.isfinite(drawings.log_density).all()
  np.testing.assert_array_equal(drawings.class_weights.argmax(1), [3, 7])
  np.testing.assert_array_equal(model.draw([7], seeds=[[1, 1]]).images[0], drawings.images[1])
  np.testing.assert_array_equal(model.classify(drawings.images), drawings.probabilities)


def test_it_is_exported(trained, tmp_path):
  """The exporter's gate compares what the export draws with what the model draws, bit by bit."""
  version = exporter.export_classifier(trained[0].classifier, str(tmp_path / "model"), png=False)
  assert os.path.basename(version) == "1" and os.path.isfile(os.path.join(version, "saved_model.pb"))


def _assert_nearly_same_state(kind, state, other, tolerance):
  """Equal to rounding; Score-STIC's fakes are whole bytes, of which a last bit may turn one in a thousand."""
  assert set(state) == set(other)
  for name, value in other.items():
    byte = 2 / 255 if kind == "ScoreSTIC" and name in ("chains/images", "pool/images") else 0.0
    np.testing.assert_allclose(state[name], value, rtol=tolerance, atol=tolerance + byte, err_msg=name)
    if byte:
      assert np.sum(np.abs(state[name] - value) > tolerance) <= 1e-3 * value.size


def test_how_many_updates_a_call_makes_changes_no_bit(kind, trained):
  """One a call, where `trained` made two."""
  model = _model(kind, steps_per_execution=1)
  assert _fit(model).history == trained[1]
  tiny.assert_same_state(model.state(), trained[2])


class _Stop(keras.callbacks.Callback):

  def on_train_batch_end(self, batch, logs=None):
    if int(self.model.updates_done) == 6:
      raise InterruptedError


def test_a_fit_that_is_broken_off_ends_as_an_unbroken_one(kind, trained, tmp_path):
  """It begins again with the pass it was in, in another model, as after a crash; every pass reads the same data."""
  backup = [keras.callbacks.BackupAndRestore(str(tmp_path))]
  with pytest.raises(InterruptedError):
    _fit(_model(kind), [*backup, _Stop()])
  resumed = _model(kind)
  history = _fit(resumed, backup)
  assert history.epoch == [1]
  tiny.assert_same_state(resumed.state(), trained[2])


# Logical CPUs must exist before TensorFlow touches a device, hence a process of its own.
_SCRIPT = """
import sys
import numpy as np
from stic_tf import replicas
from tests.systems import test_fit as case
strategy = replicas.make_strategy(2)
assert strategy.num_replicas_in_sync == 2
for kind in case.KINDS:
  with strategy.scope():
    model = case._model(kind)
  assert model.num_replicas == 2
  case._fit(model)
  np.savez(sys.argv[1] + kind, **model.state())
"""


@pytest.fixture(scope="module")
def on_two_replicas(tmp_path_factory):
  """The folder of the states that two replicas came to."""
  folder = str(tmp_path_factory.mktemp("two"))
  finished = subprocess.run([sys.executable, "-c", _SCRIPT, os.path.join(folder, "")], capture_output=True, text=True,
                            check=False, env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
  assert finished.returncode == 0, finished.stderr
  return folder


def test_one_and_two_replicas_train_the_same(kind, trained, on_two_replicas):
  """A batch's gradient is the mean of its halves', so both agree to rounding as long as no chain decides anew."""
  with np.load(os.path.join(on_two_replicas, f"{kind}.npz")) as two:
    _assert_nearly_same_state(kind, dict(two), trained[2], 1e-4)


# --- a system from outside ---


class _MeanDrawer(drawer.Drawer):
  """Draws the mean image and some noise."""

  can_record = False

  def __init__(self, system):
    self.system = system

  def network_evaluations(self, num_steps):
    return 0

  def draw(self, request):
    preconditioner = self.system.preconditioner
    noise = random_lib.normals(request.seeds, random_lib.CANVAS_STREAM, preconditioner.size)
    walk = tf.reshape(preconditioner.to_rows(0.1 * noise), [-1, *self.system.image_shape])
    return drawing_lib.Drawing(pixel_range.to_uint8(walk), walk, tf.zeros_like(request.step_size),
                               tf.ones_like(request.step_size), request.step_size)


class ToySystem(base.System):
  """Somebody else's system: a plain classifier."""

  kind = "toy"

  def make_preconditioner(self):
    return identity.Identity(self.image_shape)

  def on_statistics(self):
    self.preconditioner.fit(self.statistics, 0.1)

  def logits(self, images):
    return self.average(images)[0]

  def log_density(self, images, class_weights, temperature):
    return tf.reduce_logsumexp(self.logits(images) / temperature[:, tf.newaxis], axis=1)

  def drawer(self, config):
    return _MeanDrawer(self)

  def logged(self):
    return ["loss_classification"]

  def make_fakes(self, streams, randomness):
    return {}, None, {}

  def learn(self, streams, randomness):
    with tf.GradientTape() as tape:
      logits = self.network(streams["real_images"], training=True)[0]
      loss = losses.soft_cross_entropy(streams["real_labels"], logits)
      share = loss * self.replica_share
    self.apply_gradients(tape.gradient(share, self.network.trainable_variables), self.network.trainable_variables)
    return {"loss_classification": loss, base.LARGEST: tf.reduce_max(tf.abs(logits))}


@pytest.fixture
def toy():
  registries.SYSTEMS["toy"] = registries.Entry(ToySystem)
  yield "toy"
  del registries.SYSTEMS["toy"]


def test_a_system_from_outside_is_built_trained_and_drawn_from(toy):
  config = config_lib.RunConfig.of({"model": toy, "width": 8, **SETTINGS})
  assert not config.is_read("noise_start", (8, 8, 1)) and config.is_read("width", (8, 8, 1))
  model = build.build(config, (8, 8, 1), [str(label) for label in range(10)], 0, tf.distribute.get_strategy())
  assert isinstance(model, ToySystem)
  model.compile(model.make_optimizer(), steps_per_execution=2)
  history = _fit(model)
  assert history.history["loss_classification"][1] < history.history["loss_classification"][0]
  drawings = model.draw([3, 7], seeds=1)
  assert drawings.images.shape == (2, 8, 8, 1) and (drawings.images[0] != drawings.images[1]).any()
  other = build.build(config, (8, 8, 1), [str(label) for label in range(10)], 1, tf.distribute.get_strategy(),
                      for_training=False)
  other.load_drawing_state(model.state())
  np.testing.assert_array_equal(other.draw([3, 7], seeds=1).probabilities, drawings.probabilities)
  with pytest.raises(config_lib.ConfigError, match="^guidance=2.0: must be 0 with model=toy"):
    model.classifier.with_settings(guidance=2.0)  # its drawer knows nothing of it


def test_the_name_is_gone_afterwards():
  with pytest.raises(config_lib.ConfigError, match="model=toy: must be one of stic, attentive, score"):
    config_lib.RunConfig(model="toy")
