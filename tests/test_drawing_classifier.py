"""What a user does from Python: wrap a Keras classifier of their own, draw, classify; and what wrong input says."""

import os
import pathlib
import re
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import stic_tf
from stic_tf import config as config_lib

NAMES = ("zero", "one", "two")
IMAGE_SHAPE = (6, 6, 1)
_ROOT = pathlib.Path(__file__).resolve().parents[1]


def _images(count=60):
  """Uint8 images of three classes: bright above, bright below, dark. With their labels."""
  rng = np.random.default_rng(0)
  labels = np.arange(count) % 3
  images = 40 * np.abs(rng.normal(size=(count, *IMAGE_SHAPE)))
  images[labels == 0, :3] += 150
  images[labels == 1, 3:] += 150
  return np.clip(images, 0, 255).astype(np.uint8), labels


def _own_model(scale=1.0):
  """A user's network, trained on inputs in [0, 1], that knows nothing of us."""
  keras.utils.set_random_seed(0)
  model = keras.Sequential([
      keras.Input(IMAGE_SHAPE), keras.layers.Conv2D(6, 3, activation="swish"), keras.layers.Flatten(),
      keras.layers.Dense(len(NAMES))])
  images, labels = _images()
  model.compile(keras.optimizers.Adam(0.03), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
  model.fit(images / 255.0, labels, batch_size=60, epochs=60, verbose=0)
  return model


@pytest.fixture(scope="module")
def model():
  return _own_model()


def _wrap(model, **settings):
  settings = {"num_steps": 60, "step_size": 0.2, "temperature": 10.0, **settings}
  return stic_tf.wrap(model, _images()[0], NAMES, preprocess=lambda images: (images + 1) / 2, **settings)


@pytest.fixture(scope="module")
def classifier(model):
  return _wrap(model)


def test_a_users_own_classifier_answers_and_draws(classifier):
  images, labels = _images()
  assert (classifier.classify(images).argmax(axis=1) == labels).mean() > 0.95
  seen = []
  drawings = classifier.draw([0, 1, 2] * 20, seeds=4, on_batch=seen.append, batch_size=48)
  assert drawings.images.shape == (60, *IMAGE_SHAPE) and drawings.images.dtype == np.uint8
  assert seen == [48, 60]
  np.testing.assert_array_equal(drawings.class_weights, np.eye(3, dtype=np.float32)[np.arange(60) % 3])
  np.testing.assert_array_equal(drawings.seeds, np.stack([np.full(60, 4), np.arange(60)], axis=1))
  # What was asked for is what is seen: the class gains probability, and its bright half is bright.
  asked = drawings.probabilities[np.arange(60), np.arange(60) % 3]
  assert asked.mean() > 0.7
  above = drawings.images[0::3].astype(float)
  below = drawings.images[1::3].astype(float)
  assert above[:, :3].mean() > above[:, 3:].mean() + 20 and below[:, 3:].mean() > below[:, :3].mean() + 20
  assert 0.3 < drawings.acceptance_rate.mean() < 0.9 and (drawings.step_size > 0).all()
  assert np.isfinite(drawings.log_density).all()
  np.testing.assert_allclose(classifier.classify(drawings.images), drawings.probabilities, atol=1e-5)


def test_classify_is_the_models_softmax(model, classifier):
  images, _ = _images()
  expected = tf.nn.softmax(model(images.astype(np.float32) / 255.0)).numpy()
  np.testing.assert_allclose(classifier.classify(images), expected, atol=1e-5)
  np.testing.assert_allclose(classifier.classify(images, batch_size=7), expected, atol=1e-5)
  assert classifier.classify(images[:0]).shape == (0, 3)


def test_soft_classes_and_equal_requests(classifier):
  weights = [[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]
  drawings = classifier.draw(weights, seeds=[[1, 2], [-3, 2 ** 40]])
  np.testing.assert_allclose(drawings.class_weights, weights, rtol=1e-6)
  again = classifier.draw(np.array(weights), seeds=np.array([[1, 2], [-3, 2 ** 40]]))
  np.testing.assert_array_equal(again.images, drawings.images)
  assert (classifier.draw(weights, seeds=5).images != drawings.images).any()
  # A hard class is the soft one with all weight on it.
  np.testing.assert_array_equal(classifier.draw([1], seeds=3).images,
                                classifier.draw([[0.0, 1.0, 0.0]], seeds=[[3, 0]]).images)


def test_settings_of_a_drawing(model, classifier):
  """A drawing's own settings are those of a classifier made with them; they start no new graph."""
  traces = []

  def counted(images):
    traces.append(1)
    return model(images)

  counting = _wrap(counted)
  plain = counting.draw([0, 1], seeds=1)
  first = len(traces)
  drawn = [counting.draw([0, 1], seeds=1, **settings)
           for settings in ({"num_steps": 9}, {"temperature": 5.0}, {"step_size": 0.01}, {"num_steps": 60})]
  assert len(traces) == first
  assert all((drawings.images != plain.images).any() for drawings in drawn[:3])
  own = _wrap(model, temperature=5.0)
  np.testing.assert_array_equal(own.draw([0, 1], seeds=1).images, drawn[1].images)
  np.testing.assert_array_equal(drawn[-1].images, plain.images)
  np.testing.assert_array_equal(classifier.draw([0, 1], seeds=1).images, plain.images)


@pytest.mark.parametrize("settings", [
    {"sampler": "unadjusted"}, {"preconditioner": "spectral"}, {"preconditioner": "identity"}, {"reference": "flat"},
    {"sampler": "jem_sgld", "preconditioner": "pixels", "reference": "flat"}], ids=str)
def test_every_setting_draws_one_image(model, settings):
  drawings = _wrap(model, num_steps=4, **settings).draw([2], seeds=0)
  assert drawings.images.shape == (1, *IMAGE_SHAPE) and np.isfinite(drawings.log_density).all()


def test_colour_images_and_a_plain_function():
  images = np.random.default_rng(1).integers(0, 256, (30, 4, 6, 3)).astype(np.uint8)
  classifier = stic_tf.wrap(lambda pixels: tf.reduce_mean(pixels, axis=[1, 2]), images, ["red", "green", "blue"],
                            num_steps=30, step_size=0.3, temperature=0.02)
  drawings = classifier.draw([0, 1, 2] * 10, seeds=0)
  assert drawings.images.shape == (30, 4, 6, 3)
  means = drawings.images.astype(float).mean(axis=(1, 2)).reshape(10, 3, 3).mean(axis=0)
  assert (means.argmax(axis=1) == [0, 1, 2]).all()


# ---- what wrong input says ----

def _says(flag, *words):
  """A pattern of one line: name=…: with these words."""
  return re.compile(rf"^{flag}=.*: .*" + ".*".join(words) + r".*$")


@pytest.mark.parametrize("weights, message", [
    ([[0.5, 0.6, 0.0]], _says("class_weights", "sum to 1")),
    ([[1.5, -0.5, 0.0]], _says("class_weights", "non-negative")),
    ([[np.nan, 0.5, 0.5]], _says("class_weights", "sum to 1")),
    ([[np.inf, 0.0, 0.0]], _says("class_weights", "sum to 1")),
    ([[0.5, 0.5]], _says("class_weights", r"\[N, 3\]")),
    ([0.5, 0.5, 0.0], _says("class_weights", r"\[N, 3\]")),
    ([0, 3], _says("class_weights", r"0\.\.2")),
    ([-1], _says("class_weights", r"0\.\.2")),
    (["three"], _says("class_weights", r"0\.\.2 or class names")),
    ([["zero", "one", "two"]], _says("class_weights", r"\[N, 3\]")),
    ("zero", _says("class_weights", r"\[N, 3\]")),
    (np.zeros(0, np.int64), _says("class_weights", "at least one")),
])
def test_wrong_class_weights(classifier, weights, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    classifier.draw(weights)


@pytest.mark.parametrize("seeds", [[1, 2], [[1, 2]], [[1, 2, 3], [4, 5, 6]], [[[1, 2], [3, 4]]]])
def test_wrong_seeds(classifier, seeds):
  with pytest.raises(config_lib.ConfigError, match=_says("seeds", r"\[2, 2\]")):
    classifier.draw([0, 1], seeds=seeds)


@pytest.mark.parametrize("seeds", [2 ** 63, -2 ** 63 - 1, 0.5, np.uint64([[0, 2 ** 63]]), [[0, 1.5]], "one"], ids=str)
def test_seeds_that_would_wrap_around_are_refused(classifier, seeds):
  with pytest.raises(config_lib.ConfigError, match=_says("seeds", "integers of 64 bits")):
    classifier.draw([0], seeds=seeds)


def test_classes_by_name(classifier):
  drawings = classifier.draw(["two", "1"], seeds=3, num_steps=2)
  np.testing.assert_array_equal(drawings.images, classifier.draw([2, 1], seeds=3, num_steps=2).images)
  np.testing.assert_array_equal(classifier.log_density(drawings.images, ["two", "one"]),
                                classifier.log_density(drawings.images, [2, 1]))


@pytest.mark.parametrize("settings, message", [
    ({"temperature": 0.0}, _says("temperature", "above 0")), ({"temperature": -1.0}, _says("temperature", "above 0")),
    ({"temperature": np.nan}, _says("temperature", "above 0")),
    ({"temperature": np.inf}, _says("temperature", "finite")),
    ({"step_size": 0.0}, _says("step_size", "above 0")), ({"step_size": -0.1}, _says("step_size", "above 0")),
    ({"step_size": np.nan}, _says("step_size", "above 0")), ({"num_steps": 0}, _says("num_steps", "at least 1")),
    ({"num_steps": -5}, _says("num_steps", "at least 1"))])
def test_wrong_settings(model, classifier, settings, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    classifier.draw([0], **settings)
  with pytest.raises(config_lib.ConfigError, match=message):
    _wrap(model, **settings)


@pytest.mark.parametrize("settings, message", [
    ({"noise_level": 0.0}, _says("noise_level", "above 0")), ({"noise_level": -1.0}, _says("noise_level", "above 0")),
    ({"noise_level": np.nan}, _says("noise_level", "above 0")),
    ({"sampler": "hmc"}, _says("sampler", "grmala")), ({"preconditioner": "none"}, _says("preconditioner", "gram")),
    ({"reference": "uniform"}, _says("reference", "gaussian")),
    ({"burn_in_fraction": 1.0}, _says("burn_in_fraction", r"\[0, 1\)")),
    ({"sampler": "jem_sgld"}, _says("preconditioner", "pixels")),
    ({"target_acceptance": 0.0}, _says("target_acceptance", r"\(0, 1\)"))], ids=str)
def test_wrong_settings_of_a_wrapped_classifier(model, settings, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    _wrap(model, **settings)


def _in_numpy(images):
  return np.mean(images, axis=(1, 2))


@pytest.mark.parametrize("changes, message", [
    ({"class_names": ("zero", "one")}, _says("class_names", "must be 3, one for each logit")),
    ({"images": _images()[0] / 255.0}, _says("images", "must be uint8", r"np.uint8\(255 \* images\)")),
    ({"images": _images()[0][..., 0]}, _says("images", r"\[N, H, W, C\] .*newaxis")),
    ({"images": _images()[0][:0]}, _says("images", r"\[N, H, W, C\]")),
    ({"images": _images()[0][:1]}, _says("images", r"\[N, H, W, C\] .* N above 1")),
    ({"noise_start": 0.6}, _says("noise_start", "is of a training or of what is trained")),
    ({"classifier": _in_numpy}, _says("classifier", "fails on TensorFlow tensors", "not NumPy's")),
    ({"classifier": lambda images: tf.stop_gradient(tf.ones([1, 3]) * tf.reduce_mean(images, [1, 2]))},
     _says("classifier", "must be differentiable")),
    ({"classifier": lambda images: tf.reduce_mean(images, [1, 2, 3])},
     _says("classifier", r"must give logits \[16, K\]")),
    ({"classifier": lambda images: tf.math.log(images[:, 0, 0] - 1e6 * tf.ones([1, 3]))},
     re.compile("^classifier=logits that are not finite: must be")),
    ({"classifier": lambda images: tf.sqrt(images[:, 0, 0] * tf.zeros([1, 3]))},
     re.compile("^classifier=a gradient that is not finite: must be")),
    ({"preprocess": lambda images: images[:, :4]}, _says("classifier", "fails on TensorFlow tensors", "preprocess")),
    ({"num_stps": 3}, _says("num_stps", "is no setting; num_steps is")),
], ids=["names", "floats", "no channel", "no image", "one image", "training", "numpy", "no gradient", "no classes",
        "nan", "steep", "preprocess", "setting"])
def test_a_classifier_that_cannot_be_drawn_from_is_refused(model, changes, message):
  given = {"classifier": model, "images": _images()[0], "class_names": NAMES, "num_steps": 2, **changes}
  with pytest.raises(stic_tf.ConfigError, match=message):
    stic_tf.wrap(**given)


def test_probabilities_in_the_place_of_logits_are_warned_of(model):
  with pytest.warns(UserWarning, match="gives probabilities, it seems, and not logits") as caught:
    stic_tf.wrap(lambda images: tf.nn.softmax(model(images)), _images()[0], NAMES, num_steps=2)
  assert caught[0].filename == __file__
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    stic_tf.wrap(model, _images()[0], NAMES, num_steps=2)


@pytest.mark.parametrize("name", ["load", "wrap", "STIC"])
def test_the_import_is_quiet(name):
  environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
  ended = subprocess.run([sys.executable, "-c", f"import stic_tf; stic_tf.{name}"], env=environment, cwd=_ROOT,
                         capture_output=True, text=True, timeout=120)
  assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("images", [
    np.zeros((2, *IMAGE_SHAPE), np.float32), np.zeros((2, 6, 6), np.uint8), np.zeros(IMAGE_SHAPE, np.uint8),
    np.zeros((2, 8, 8, 1), np.uint8)], ids=lambda images: f"{images.dtype}{images.shape}")
def test_wrong_images(classifier, images):
  with pytest.raises(config_lib.ConfigError, match=_says("images", "uint8", r"\[N, 6, 6, 1\]")):
    classifier.classify(images)


def test_a_run_folder_that_is_none(tmp_path):
  with pytest.raises(config_lib.ConfigError, match="run_dir="):
    stic_tf.load(str(tmp_path / "nowhere"))



def test_drawing_on_from_images(classifier):
  """A canvas is kept in the drawing; a row is on its own; a chain that walks has the noise it was trained in."""
  images, labels = _images(6)
  drawn = classifier.draw(labels, seeds=1, canvas_images=images, num_steps=5)
  blank = classifier.draw(labels, seeds=1, num_steps=5)

  def distance(drawings):
    return np.abs(drawings.images.astype(float) - images).mean()

  assert distance(drawn) < distance(blank)
  alone = classifier.draw(labels[4:5], seeds=[[1, 4]], canvas_images=images[4:5], num_steps=5)
  np.testing.assert_array_equal(alone.images[0], drawn.images[4])
  with pytest.raises(stic_tf.ConfigError, match="canvas_noise=0.1: cannot be chosen here"):
    classifier.draw(labels, canvas_images=images, canvas_noise=0.1)
  with pytest.raises(stic_tf.ConfigError, match=r"canvas_images=\[6, 6, 6, 1\]: must have 5 rows"):
    classifier.draw(labels[:5], canvas_images=images)
  with pytest.raises(stic_tf.ConfigError, match="canvas_noise=0.1: goes with canvas_images"):
    classifier.draw(labels, canvas_noise=0.1)
