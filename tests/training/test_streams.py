"""The streams of an update, of whatever a data set gives."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.training import randomness as randomness_lib
from stic_tf.training import streams

NAMES = {f"{name}_{what}" for name in ("real", "mixup", "generative") for what in ("images", "labels")}


def _of(data, alpha=0.2, update=0):
  randomness = randomness_lib.Randomness(0, tf.constant(0, tf.int64), tf.constant(update, tf.int64))
  return {name: value.numpy() for name, value in streams.of_batch(data, 4, alpha, randomness).items()}


def _pair(count=6):
  rng = np.random.default_rng(0)
  return tf.constant(rng.integers(0, 256, [count, 3, 5, 2]), tf.uint8), tf.constant(rng.integers(0, 4, count))


def test_a_pair_of_bytes_and_numbers():
  images, labels = _pair()
  found = _of((images, labels))
  assert set(found) == NAMES and all(value.dtype == np.float32 for value in found.values())
  for name in ("real", "generative"):
    np.testing.assert_allclose(found[f"{name}_images"], images.numpy() / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(found[f"{name}_labels"], np.eye(4)[labels])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.uint32, np.uint64])
def test_class_numbers_are_of_any_width(dtype):
  images, labels = _pair()
  np.testing.assert_array_equal(_of((images, tf.constant(np.asarray(labels).astype(dtype))))["real_labels"],
                                np.eye(4)[labels])


def test_labels_in_a_column_are_numbers_too():
  """As keras.datasets has them."""
  images, labels = _pair()
  column = _of((images, labels[:, tf.newaxis]))
  for name, value in _of((images, labels)).items():
    np.testing.assert_array_equal(column[name], value)


@pytest.mark.parametrize("labels", [tf.one_hot([0, 1, 2, 3, 0, 1], 4, dtype=tf.int64), tf.zeros([6]),
                                    tf.zeros([6, 1])], ids=str)
@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_labels_of_another_shape_are_refused(labels, alpha):
  with pytest.raises(config_lib.ConfigError, match="must be class numbers .N., or class weights float .N, 4."):
    _of((_pair()[0], labels), alpha)


def test_a_pair_of_floats_and_soft_labels():
  images, soft = tf.random.stateless_uniform([6, 3, 5, 2], [0, 1], -1.0, 1.0), np.full([6, 4], 0.25)
  found = _of([images, tf.constant(soft)])
  np.testing.assert_array_equal(found["real_images"], images)
  np.testing.assert_array_equal(found["real_labels"], soft.astype(np.float32))
  assert found["real_labels"].dtype == np.float32


def test_a_pairs_mixtures_are_of_two_of_its_images_and_change_with_the_update():
  images, labels = _pair()
  found = _of((images, labels), alpha=1.0)
  real, partners = found["real_images"], np.roll(found["real_images"], 1, axis=0)
  shares = ((found["mixup_images"] - partners) * (real - partners)).sum((1, 2, 3)) / (
      (real - partners) ** 2).sum((1, 2, 3))
  assert (shares > 0).all() and (shares < 1).all() and np.ptp(shares) > 0.1
  wide = shares[:, np.newaxis, np.newaxis, np.newaxis]
  np.testing.assert_allclose(found["mixup_images"], wide * real + (1 - wide) * partners, atol=1e-5)
  one_hot = np.eye(4)[labels]
  np.testing.assert_allclose(found["mixup_labels"], shares[:, np.newaxis] * one_hot
                             + (1 - shares)[:, np.newaxis] * np.roll(one_hot, 1, axis=0), atol=1e-5)
  assert (_of((images, labels), alpha=1.0, update=1)["mixup_images"] != found["mixup_images"]).any()
  np.testing.assert_array_equal(_of((images, labels), alpha=0.0)["mixup_images"], real)


def test_a_dictionary_is_taken_as_it_is():
  rng = np.random.default_rng(0)
  data = {name: tf.constant(rng.uniform(size=[4, 2, 2, 1] if name.endswith("images") else [4, 4]), tf.float32)
          for name in NAMES}
  data["generative_images"] = tf.constant(rng.integers(0, 256, [4, 2, 2, 1]), tf.uint8)
  data["generative_labels"] = tf.constant([0, 3, 1, 2], tf.int32)
  found = _of(data)
  assert set(found) == NAMES
  for name in NAMES - {"generative_images", "generative_labels"}:
    np.testing.assert_array_equal(found[name], data[name])
  np.testing.assert_allclose(found["generative_images"], data["generative_images"].numpy() / 127.5 - 1, atol=1e-6)
  np.testing.assert_array_equal(found["generative_labels"], np.eye(4)[[0, 3, 1, 2]])


@pytest.mark.parametrize("data, says", [
    (tf.zeros([2, 3, 3, 1]), "must give pairs"), ((tf.zeros([2, 3, 3, 1]),), "must give pairs"),
    ((tf.zeros([2, 3, 3, 1]), tf.zeros([2], tf.int32), tf.ones([2])), "must give pairs"),
    ({"real_images": tf.zeros([2, 3, 3, 1]), "real_labels": tf.zeros([2, 4])},
     "lacks mixup_images, mixup_labels, generative_images, generative_labels"), ({}, "lacks real_images")],
                         ids=["images alone", "a tuple of one", "weights too", "one stream", "nothing"])
def test_data_of_another_form(data, says):
  with pytest.raises(config_lib.ConfigError, match=f"^dataset=.*{says}") as error:
    _of(data)
  assert "\n" not in str(error.value)
