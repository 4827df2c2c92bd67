"""What an update of --optimizer moves, and by how much."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.training import optimizers


def _moved(name, gradients, values, steps=1, **settings):
  """How far `steps` updates by the same gradients move variables of these values."""
  variables = [tf.Variable(value) for value in values]
  training = config_lib.TrainingConfig(optimizer=name, learning_rate=0.01, **settings)
  optimizer = optimizers.build(training, variables)
  for _ in range(steps):
    optimizer.apply_gradients(zip(gradients, variables))
  return [variable.numpy() - value for variable, value in zip(variables, values)]


def _cosine(one, other):
  return np.sum(one * other) / np.linalg.norm(one) / np.linalg.norm(other)


def _normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(72, 16), (16, 72), (24, 24)])
def test_a_matrix_keeps_its_directions_and_its_singular_values_come_to_about_one(shape):
  matrix = _normal(0, *shape)
  left, values, right = np.linalg.svd(matrix, full_matrices=False)
  assert values[0] / values[-1] > 2  # else there is nothing to even out
  found = left.T @ optimizers.orthogonalised(tf.constant(matrix)).numpy() @ right.T
  np.testing.assert_allclose(found - np.diag(np.diag(found)), 0.0, atol=1e-4)
  large = values > 0.01 * np.linalg.norm(values)
  assert np.diag(found)[large].min() > 0.65 and 0 < np.diag(found).min() and np.diag(found).max() < 1.25


def test_nothing_comes_of_no_gradient():
  assert not optimizers.orthogonalised(tf.zeros([8, 4])).numpy().any()


def test_muon_moves_a_kernel_by_as_much_in_all_directions_however_large_its_gradient_is():
  kernel, gradient = _normal(1, 3, 3, 8, 16), _normal(2, 3, 3, 8, 16)
  gradient[..., 0] *= 30.0  # most of its norm in one channel
  moved, = _moved("muon", [gradient], [kernel])
  again, = _moved("muon", [1e3 * gradient], [kernel])
  np.testing.assert_allclose(again, moved, rtol=1e-3, atol=1e-6)
  values = np.linalg.svd(moved.reshape(-1, 16), compute_uv=False)
  assert values.max() / values.min() < 2
  assert np.sum(moved * gradient) < 0
  # A fifth of the learning rate as the root of the mean square, about what Adam's are.
  assert np.sqrt(np.mean(moved ** 2)) == pytest.approx(0.2 * 0.01, rel=0.25)
  by_adam, = _moved("adam", [gradient], [kernel])
  values = np.linalg.svd(by_adam.reshape(-1, 16), compute_uv=False)
  assert values.max() / values.min() > 2


def test_muon_follows_a_gradient_that_stays_and_forgets_one_that_turns():
  kernel, first, second = np.zeros([3, 3, 4, 8], np.float32), _normal(3, 3, 3, 4, 8), _normal(4, 3, 3, 4, 8)
  variable = tf.Variable(kernel)
  optimizer = optimizers.build(config_lib.TrainingConfig(optimizer="muon", learning_rate=0.01), [variable])
  steps = []
  for gradient in [first] * 3 + [second] * 100:
    before = variable.numpy()
    optimizer.apply_gradients([(gradient, variable)])
    steps.append(variable.numpy() - before)
  polar = [np.reshape(optimizers.orthogonalised(tf.reshape(gradient, [-1, 8])), kernel.shape)
           for gradient in (first, second)]
  assert _cosine(steps[2], -polar[0]) > 0.99
  assert _cosine(steps[-1], -polar[1]) > 0.99 > 0.5 > _cosine(steps[-1], -polar[0])


def test_what_is_no_kernel_of_a_convolution_moves_as_by_adam():
  values, gradients = [_normal(5, 6, 4), _normal(6, 4)], [_normal(7, 6, 4), _normal(8, 4)]
  for one, other in zip(*(_moved(name, gradients, values, steps=3) for name in config_lib.OPTIMIZERS)):
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", config_lib.OPTIMIZERS)
def test_weights_decay_but_for_shifts(name):
  values = [_normal(9, 3, 3, 2, 4), _normal(10, 5, 3), _normal(11, 3)]
  still = [np.zeros_like(value) for value in values]
  kernel, table, shift = _moved(name, still, values, weight_decay=0.5)
  np.testing.assert_allclose(kernel, -0.005 * values[0], rtol=1e-5, atol=1e-7)
  np.testing.assert_allclose(table, -0.005 * values[1], rtol=1e-5, atol=1e-7)
  np.testing.assert_array_equal(shift, 0.0)


def test_all_names_are_there():
  assert set(optimizers.BY_NAME) == set(config_lib.OPTIMIZERS)
  with pytest.raises(config_lib.ConfigError, match="optimizer=sgd: must be one of adam, muon"):
    config_lib.TrainingConfig(optimizer="sgd")


def test_a_network_of_convolutions_learns_by_muon():
  images, labels = _normal(12, 64, 8, 8, 1), np.arange(64) % 2
  images[labels == 1, :4] += 1.0
  model = keras.Sequential([keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.GlobalAveragePooling2D(),
                            keras.layers.Dense(2)])
  model.build([None, 8, 8, 1])
  model.compile(optimizers.build(config_lib.TrainingConfig(optimizer="muon", learning_rate=0.02),
                                 model.trainable_variables),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True))
  history = model.fit(images, labels, batch_size=64, epochs=40, verbose=0).history["loss"]
  assert history[-1] < 0.5 * history[0]


def test_muon_keeps_one_number_a_weight_of_a_kernel():
  kernel, table = tf.Variable(tf.zeros([3, 3, 2, 4]), name="kernel"), tf.Variable(tf.zeros([5, 2]), name="table")
  optimizer = optimizers.build(config_lib.TrainingConfig(optimizer="muon"), [kernel, table])
  optimizer.build([kernel, table])
  sizes = {variable.name.split(":")[0]: int(tf.size(variable)) for variable in optimizer.variables}
  assert {name: sizes[name] for name in sizes if "/" in name} == {"m/kernel": 72, "v/kernel": 1, "m/table": 10,
                                                                 "v/table": 10}
