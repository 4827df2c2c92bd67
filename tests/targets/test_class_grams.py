"""Gram matrices of features and their running class means, against dense float64 linear algebra."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import sparse_weights
from stic_tf.targets import class_grams


def _features(batch, seed=0):
  rng = np.random.default_rng(seed)
  return [rng.normal(size=(batch, 4, 5, 3)).astype(np.float32), rng.normal(size=(batch, 2, 2, 6)).astype(np.float32)]


def _numpy_grams(layer):
  return np.stack([rows.reshape(-1, layer.shape[-1]).T @ rows.reshape(-1, layer.shape[-1])
                   / (layer.shape[1] * layer.shape[2]) for rows in layer.astype(np.float64)])


def test_gram_matrix_and_distance():
  features = _features(7)
  for layer in features:
    np.testing.assert_allclose(class_grams.gram_matrix(tf.constant(layer)).numpy(), _numpy_grams(layer), atol=1e-5)
  means = [_numpy_grams(layer)[:1].repeat(7, axis=0) for layer in features]
  expected = sum(np.square(_numpy_grams(layer) - mean).sum(axis=(1, 2)) / np.square(mean).sum(axis=(1, 2))
                 for layer, mean in zip(features, means))
  distance = class_grams.gram_distance([tf.constant(layer) for layer in features],
                                [tf.constant(mean, tf.float32) for mean in means]).numpy()
  np.testing.assert_allclose(distance, expected, rtol=1e-4, atol=1e-6)
  assert distance[0] < 1e-9 < 0.1 < distance[1:].min()


def test_classes_that_were_never_seen_have_no_gram_term():
  grams, features = class_grams.ClassGrams(2, [3, 6]), [tf.constant(layer) for layer in _features(2)]
  grams.update([layer[:1] for layer in features], tf.constant([0], tf.int32))
  distance = class_grams.gram_distance(features, grams.of_weights(tf.eye(2))).numpy()
  assert distance[0] < 1e-6 and distance[1] == 0
  assert class_grams.gram_distance(features, grams.of_weights(tf.constant([[0.0, 1.0], [1.0, 0.0]]))).numpy()[1] > 0.1


def test_class_grams_keep_running_means():
  """The first batches of a class are averaged; from 1 / (1 - decay) on it moves by 1 - decay."""
  decay, num_classes = 0.9, 4
  grams = class_grams.ClassGrams(num_classes, [3, 6], decay)
  expected = [np.zeros((num_classes, 3, 3)), np.zeros((num_classes, 6, 6))]
  seen = np.zeros(num_classes)
  rng = np.random.default_rng(3)
  for update in range(25):
    features, labels = _features(5, seed=update), rng.integers(0, 3, 5)  # class 3 is never seen
    grams.update([tf.constant(layer) for layer in features], tf.constant(labels, tf.int32))
    for label in np.unique(labels):
      rate = max(1 - decay, 1 / (seen[label] + 1))
      for mean, layer in zip(expected, features):
        mean[label] += rate * (_numpy_grams(layer)[labels == label].mean(axis=0) - mean[label])
      seen[label] += 1
  for variable, mean in zip(grams.means, expected):
    np.testing.assert_allclose(variable.numpy(), mean, atol=1e-5)
    assert not variable.numpy()[3].any()
  np.testing.assert_array_equal(grams.seen.numpy(), seen)
  assert seen[:3].min() > 1 / (1 - decay)

  weights = np.array([[1, 0, 0, 0], [0.2, 0.5, 0.3, 0]], np.float32)
  for of_weights, mean in zip(grams.of_weights(tf.constant(weights)), expected):
    np.testing.assert_allclose(of_weights.numpy()[0], mean[0], atol=1e-5)
    np.testing.assert_allclose(of_weights.numpy()[1], 0.2 * mean[0] + 0.5 * mean[1] + 0.3 * mean[2], atol=1e-5)
  assert [variable.shape for variable in grams.named_variables().values()] == [(4, 3, 3), (4, 6, 6), (4,)]


def test_projected_statistics_are_those_of_projected_features():
  rng = np.random.default_rng(0)
  features = [tf.constant(rng.normal(size=(4, 3, 3, 12)), tf.float32)]
  labels = tf.constant([0, 2, 2, 0])
  whole, low = class_grams.ClassGrams(3, [12]), class_grams.ClassGrams(3, [12], rank=5)
  for grams in (whole, low):
    grams.update(features, labels)
  basis = low._bases[0]
  np.testing.assert_allclose(basis.T @ basis, np.eye(5), atol=1e-6)
  np.testing.assert_allclose(low.means[0], np.einsum("ir,kij,js->krs", basis, whole.means[0], basis), atol=1e-5)
  # A rank that is the number of channels, or more, is the whole matrix.
  full = class_grams.ClassGrams(3, [12], rank=40)
  full.update(features, labels)
  np.testing.assert_array_equal(full.means[0], whole.means[0])


def test_sparse_weights_read_the_same_statistics():
  rng = np.random.default_rng(0)
  grams = class_grams.ClassGrams(30, [6, 4], rank=4)
  for mean in grams.means:
    mean.assign(rng.normal(size=mean.shape))
  weights = np.zeros([3, 30], np.float32)
  weights[0, 7], weights[1, [2, 29]], weights[2, [1, 3, 5]] = 1, (0.25, 0.75), (0.5, 0.3, 0.2)
  dense = grams.of_weights(tf.constant(weights))
  sparse = grams.of_sparse(sparse_weights.of_dense(tf.constant(weights)))
  for expected, found in zip(dense, sparse):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_classes", [1000, 10000])
def test_the_statistics_of_many_classes_fit_in_memory(num_classes):
  grams = class_grams.ClassGrams(num_classes, [64, 64, 64, 256], rank=32)
  assert grams.num_bytes() == 4 * num_classes * (4 * 32 ** 2 + 1) < 2 ** 31
  labels = tf.constant([3, num_classes - 1])
  grams.update([tf.ones([2, 1, 1, size]) for size in (64, 64, 64, 256)], labels)
  seen = grams.seen.numpy()
  assert seen.sum() == 2 and seen[3] == seen[num_classes - 1] == 1
