"""The judge: good enough on real digits, the same for every run, cached soundly; and Inception from a file."""

import dataclasses
import logging
import os
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from stic_tf.config import ConfigError
from stic_tf.metrics import features
from stic_tf.metrics import judge_cache
from stic_tf.metrics import judge_model


@pytest.fixture(scope="module")
def few(digits):
  """A set that a judge learns in a second or two: (images uint8 [128,8,8,1], labels [128])."""
  return digits[0][:128], digits[1][:128]


@pytest.fixture(scope="module")
def cached(few, tmp_path_factory):
  """(cache folder with one judge in it, that judge)."""
  folder = str(tmp_path_factory.mktemp("judges"))
  return folder, features.train_judge(*few, 10, cache_dir=folder, dataset_name="few")


def assert_same_judge(judge, other):
  assert judge.name == other.name
  for ours, theirs in zip(judge.model.get_weights(), other.model.get_weights()):
    np.testing.assert_array_equal(ours, theirs)


def test_judge_knows_real_digits(digits, digits_judge):
  assert np.mean(digits_judge(digits[2]).probabilities.argmax(1) == digits[3]) >= 0.985
  assert digits_judge.name.startswith("judge-digits-")


def test_judge_output(digits, digits_judge):
  batch = digits_judge(digits[2][:300])
  assert batch.features.shape == (300, 64) and batch.features.dtype == np.float64
  assert batch.probabilities.shape == (300, 10) and batch.probabilities.dtype == np.float32
  np.testing.assert_allclose(batch.probabilities.sum(axis=1), 1, atol=1e-5)
  assert digits_judge(digits[2][:0]).features.shape == (0, 64)


def test_an_image_has_the_same_features_in_any_company(digits, digits_judge):
  together = digits_judge(digits[2][:300]).features
  alone = digits_judge(digits[2][290:291]).features
  np.testing.assert_allclose(alone[0], together[290], rtol=1e-4, atol=1e-4)


def test_the_residual_judge_learns_colours_and_learns_them_again():
  generator = np.random.default_rng(0)
  labels = np.arange(192) % 3
  images = np.clip(generator.normal(110, 40, (192, 32, 32, 3)) + 60 * np.eye(3)[labels][:, None, None], 0, 255)
  images = images.astype(np.uint8)
  settings = dataclasses.replace(judge_model.settings_of((32, 32, 3)), first_width=8, largest_width=16, max_epochs=12,
                                 batch_size=16, bfloat16=False)
  assert settings.residual and settings.flip
  models = [judge_model.train_judge_model(images[:128], labels[:128], 3, 0, settings) for _ in range(2)]
  _, logits = judge_model.predict(models[0], images[128:])
  assert np.mean(logits.argmax(1) == labels[128:]) > 0.9
  mirrored = judge_model.predict(models[0], images[128:, :, ::-1])
  np.testing.assert_allclose(mirrored[1], logits, atol=1e-4)  # it answers with both
  one_way = models[0](judge_model.judge_input(images[128:]), training=False)[1]
  assert np.abs(tf.nn.log_softmax(one_way) - logits).max() > 1e-3
  for ours, theirs in zip(*(model.get_weights() for model in models)):
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("shape", [(32, 32, 3), (80, 96, 3)])
def test_a_residual_judge_learns_of_images_with_a_square_hidden(shape):
  """A quarter of each side, or less at the border; of white images, whose shifts leave black at the border alone."""
  images, settings = np.full((6, *shape), 255, np.uint8), judge_model.settings_of(shape)
  seen, _ = next(iter(judge_model._training_batches(images, np.arange(6), 1, 6, 0, settings)))
  height, width = seen.shape[1:3]
  hidden = (seen.numpy() == 0).all(axis=3)
  assert (hidden.any(axis=(1, 2))).all() and (hidden.sum(axis=(1, 2)) <= (height / 4 + 1) * (width / 4 + 1)).all()
  assert np.median(hidden.sum(axis=(1, 2))) > height * width / 32 and len(np.unique(hidden, axis=0)) > 1
  small, _ = next(iter(judge_model._training_batches(images, np.arange(6), 1, 6, 0, judge_model.SETTINGS)))
  assert not (small.numpy() == 0).all(axis=3).any()


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3), (96, 128, 3), (9, 17, 1)])
def test_judge_for_every_size(shape):
  images = np.random.default_rng(0).integers(0, 256, (3,) + shape).astype(np.uint8)
  inputs = judge_model.judge_input(images)
  assert max(inputs.shape[1:3]) <= 64
  model = judge_model.build_judge_model(inputs.shape[1:], 5, seed=0)
  feature_values, logits = judge_model.predict(model, images)
  assert feature_values.shape == (3, 64) and logits.shape == (3, 5)


def test_training_neither_reads_nor_moves_global_randomness(few, cached):
  """Another global seed, the same judge; and the caller's next random numbers are those it would have had."""
  def next_numbers():
    return float(tf.random.normal([])), np.random.random(), random.random()

  def seed_all():
    tf.random.set_seed(7)
    np.random.seed(7)
    random.seed(7)

  seed_all()
  expected = next_numbers()
  seed_all()
  keras.layers.Dense(1)  # the first of all is named without a number
  number = int(keras.layers.Dense(1).name.rpartition("_")[2])
  judge = features.train_judge(*few, 10, dataset_name="few")
  assert next_numbers() == expected
  assert keras.layers.Dense(1).name == f"dense_{number + 1}"
  assert_same_judge(judge, cached[1])


def test_cache_round_trip(few, cached, monkeypatch):
  folder, judge = cached
  assert len(os.listdir(folder)) == 1  # nothing left aside

  def no_training(*_):
    raise AssertionError("the cached judge was not used")

  monkeypatch.setattr(judge_model, "train_judge_model", no_training)
  loaded = features.train_judge(*few, 10, cache_dir=folder, dataset_name="few")
  assert_same_judge(loaded, judge)
  np.testing.assert_array_equal(loaded(few[0]).features, judge(few[0]).features)


def test_other_data_seed_or_classes_have_another_cache_key(few):
  images, labels = few
  other_images = images.copy()
  other_images[0, 0, 0, 0] ^= 1
  settings = judge_model.SETTINGS
  keys = {judge_cache.cache_key(*arguments, settings) for arguments in (
    (images, labels, 10, 0), (other_images, labels, 10, 0), (images, labels[::-1], 10, 0), (images, labels, 11, 0),
    (images, labels, 10, 1))}
  assert len(keys) == 5


def truncated(data):
  return data[:len(data) // 2]


def flipped(data):
  middle = len(data) // 2
  return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1:]


@pytest.mark.parametrize("damage", [truncated, flipped, lambda _: b"", lambda _: b"not an archive"])
def test_a_damaged_cache_file_is_unreadable(cached, tmp_path, damage):
  folder, judge = cached
  with open(os.path.join(folder, os.listdir(folder)[0]), "rb") as file:
    data = file.read()
  path = str(tmp_path / "judge.npz")
  with open(path, "wb") as file:
    file.write(damage(data))
  with pytest.raises(judge_cache.UnreadableCache):
    judge_cache.read_weights(path, judge.model.get_weights())


@pytest.mark.parametrize("spoil", [
  lambda weights: weights[:-1],
  lambda weights: weights + weights[:1],
  lambda weights: [np.full_like(weights[0], np.nan)] + weights[1:],
  lambda weights: [weights[0].astype(np.float64)] + weights[1:],
  lambda weights: [weights[0][..., :-1]] + weights[1:],
])
def test_a_cache_file_of_other_weights_is_unreadable(cached, tmp_path, spoil):
  weights = cached[1].model.get_weights()
  path = str(tmp_path / "judge.npz")
  judge_cache.write_weights(path, spoil(weights))
  with pytest.raises(judge_cache.UnreadableCache):
    judge_cache.read_weights(path, weights)


def test_a_corrupt_cache_is_reported_and_replaced(few, cached, tmp_path, monkeypatch, caplog):
  folder, judge = cached
  path = tmp_path / os.listdir(folder)[0]
  path.write_bytes(b"PK\x03\x04 damaged")
  monkeypatch.setattr(judge_model, "train_judge_model", lambda *_: judge.model)  # what training would give
  with caplog.at_level(logging.WARNING):
    again = features.train_judge(*few, 10, cache_dir=str(tmp_path), dataset_name="few")
  assert "cannot be used" in caplog.text and str(path) in caplog.text
  assert_same_judge(again, judge)
  judge_cache.read_weights(str(path), judge.model.get_weights())
  assert os.listdir(tmp_path) == [path.name]


def test_a_cache_that_cannot_be_written_is_reported(few, cached, tmp_path, monkeypatch, caplog):
  blocked = tmp_path / "a_file"
  blocked.write_text("")
  monkeypatch.setattr(judge_model, "train_judge_model", lambda *_: cached[1].model)
  with caplog.at_level(logging.WARNING):
    assert_same_judge(features.train_judge(*few, 10, cache_dir=str(blocked), dataset_name="few"), cached[1])
  assert "cannot be written" in caplog.text


@pytest.mark.parametrize("images, labels, message", [
  (np.zeros((2, 8, 8, 1), np.float32), [0, 1], "uint8"),
  (np.zeros((2, 8, 8), np.uint8), [0, 1], "N,H,W,C"),
  (np.zeros((0, 8, 8, 1), np.uint8), [], "N > 0"),
  (np.zeros((2, 8, 8, 1), np.uint8), [0], "labels"),
  (np.zeros((2, 8, 8, 1), np.uint8), [0, 10], r"0\.\.9"),
  (np.zeros((2, 8, 8, 1), np.uint8), [0.0, 1.0], "integers"),
  (np.zeros((1, 8, 8, 1), np.uint8), [0], "at least 2"),
])
def test_bad_training_data_is_refused(images, labels, message):
  with pytest.raises(ValueError, match=message):
    features.train_judge(images, labels, 10)


def test_one_class_has_no_judge():
  with pytest.raises(ConfigError, match="dataset=lsun/church: .*inception_weights"):
    features.train_judge(np.zeros((4, 8, 8, 1), np.uint8), [0] * 4, 1, dataset_name="lsun/church")


@pytest.fixture(scope="module")
def inception():
  """The real InceptionV3, built once (it takes seconds) with random weights."""
  return keras.applications.InceptionV3(weights=None, include_top=True)


def test_inception_from_a_weight_file(inception, tmp_path, digits, monkeypatch):
  monkeypatch.setattr(keras.applications, "InceptionV3", lambda **_: inception)
  path = str(tmp_path / "inception.h5")
  inception.save_weights(path)
  kernel = inception.get_layer("predictions").kernel
  saved = kernel.numpy()
  kernel.assign(tf.zeros_like(kernel))
  network = features.InceptionNetwork(path)
  np.testing.assert_array_equal(kernel.numpy(), saved)
  batch = network(digits[2][:2])
  assert batch.features.shape == (2, 2048) and batch.probabilities.shape == (2, 1000)
  np.testing.assert_allclose(batch.probabilities.sum(axis=1), 1, atol=1e-4)
  pixels = tf.repeat(tf.image.resize(digits[2][:2] / 127.5 - 1.0, [299, 299]), 3, axis=-1)  # as Keras' own has them
  np.testing.assert_allclose(batch.probabilities, inception(pixels, training=False), rtol=1e-3)
  assert network.name.startswith("inception-v3-")
  assert not network.predicts_dataset_classes


def test_files_that_are_no_inception_weights(inception, tmp_path, monkeypatch):
  monkeypatch.setattr(keras.applications, "InceptionV3", lambda **_: inception)
  text, other = str(tmp_path / "text.h5"), str(tmp_path / "other.h5")
  with open(text, "w", encoding="utf-8") as file:
    file.write("weights")
  keras.Sequential([keras.layers.Dense(2, input_shape=(3,))]).save_weights(other)
  for path in (str(tmp_path / "missing.h5"), text, other):
    with pytest.raises(ConfigError, match="^inception_weights=.*include_top=True") as error:
      features.InceptionNetwork(path)
    assert "\n" not in str(error.value)


def test_a_judges_name_names_its_weights(cached):
  """Trained on another processor, or damaged and trained anew, it has others, and its figures do not compare."""
  judge = cached[1]
  other = keras.models.clone_model(judge.model)
  other.set_weights([2 * weight for weight in judge.model.get_weights()])
  names = [features._judge(model, "judge-few-abc").name for model in (judge.model, judge.model, other)]
  assert names[0] == names[1] != names[2] and names[0].startswith("judge-few-abc-")
