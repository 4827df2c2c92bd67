"""Products, and a swish, that round alike in any batch and graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from stic_tf import rounding
from stic_tf.networks import layers

SIZES = [(64, 64), (9, 128), (128, 10), (784, 784), (12, 130), (1024, 48), (1, 1)]
COUNT = 144


def _given(size, of):
  rng = np.random.default_rng(0)
  return [tf.constant(rng.normal(size=shape), tf.float32) for shape in ([COUNT, size], [size, of], [COUNT, of])]


def _value_and_gradients(rows, matrix, outputs_gradient, transposed):
  with tf.GradientTape() as tape:
    tape.watch([rows, matrix])
    value = rounding.product(rows, matrix, transposed)
  return value, tape.gradient(value, [rows, matrix], outputs_gradient)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("size,of", SIZES)
def test_a_product_is_that_of_matrices(size, of, transposed):
  rows, matrix, outputs_gradient = _given(size, of)
  value, (of_rows, of_matrix) = _value_and_gradients(rows, tf.transpose(matrix) if transposed else matrix,
                                                     outputs_gradient, transposed)
  scale = np.sqrt(COUNT + size + of)
  np.testing.assert_allclose(value, rows @ matrix, atol=1e-5 * scale)
  np.testing.assert_allclose(of_rows, tf.matmul(outputs_gradient, matrix, transpose_b=True), atol=1e-5 * scale)
  np.testing.assert_allclose(tf.transpose(of_matrix) if transposed else of_matrix,
                             tf.matmul(rows, outputs_gradient, transpose_a=True), atol=1e-5 * scale)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("size,of", SIZES)
def test_a_product_has_the_same_bits_in_any_batch(size, of, transposed):
  """And its gradient; in a graph that does not know how many rows there are, as a sampler's does not."""
  rows, matrix, outputs_gradient = _given(size, of)
  matrix = tf.transpose(matrix) if transposed else matrix
  compiled = tf.function(lambda rows, gradient: _value_and_gradients(rows, matrix, gradient, transposed),
                         autograph=False, input_signature=[tf.TensorSpec([None, size]), tf.TensorSpec([None, of])])
  whole, (whole_gradient, _) = compiled(rows, outputs_gradient)
  for start, count in ((0, 1), (7, 2), (3, 7), (5, 16), (16, 16), (11, 17), (0, 32), (64, 80), (9, 128)):
    value, (gradient, _) = compiled(rows[start:start + count], outputs_gradient[start:start + count])
    np.testing.assert_array_equal(value, whole[start:start + count], err_msg=f"{count} from {start}")
    np.testing.assert_array_equal(gradient, whole_gradient[start:start + count], err_msg=f"{count} from {start}")


def test_of_no_rows_there_is_no_product():
  assert rounding.product(tf.zeros([0, 3]), tf.zeros([3, 5])).shape == [0, 5]


def test_convolutions_are_alike_here():
  """By oneDNN; by Eigen, which TensorFlow takes of itself where a processor has no AVX-512, they are not."""
  assert rounding.convolutions_are_alike()


def test_a_convolution_that_depends_on_its_batch_is_found(monkeypatch):
  """The negative control: the last bit of one value, of batches of seven."""
  convolve = tf.nn.conv2d

  def unlike(images, *settings):
    outputs = convolve(images, *settings).numpy()
    if len(images) == 7:
      outputs[3, 0, 0, 0] = np.nextafter(outputs[3, 0, 0, 0], np.float32(np.inf))
    return tf.constant(outputs)

  monkeypatch.setattr(tf.nn, "conv2d", unlike)
  with pytest.warns(RuntimeWarning, match="import stic_tf before TensorFlow"):
    assert not rounding.convolutions_are_alike.__wrapped__()


def _derivatives(function, values):
  with tf.GradientTape() as second:
    second.watch(values)
    with tf.GradientTape() as first:
      first.watch(values)
      outputs = function(values)
    gradient = first.gradient(outputs, values)
  return outputs, gradient, second.gradient(gradient, values)


def test_a_swish_is_that_of_tensorflow_with_its_derivatives():
  values = tf.reshape(tf.linspace(-100.0, 100.0, 3 * 7 * 11), [3, 7, 11])
  for ours, theirs in zip(_derivatives(rounding.unfused_swish, values), _derivatives(tf.nn.silu, values)):
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_swish_is_the_same_whatever_the_optimiser_may_do():
  """TensorFlow's own is another operation where the remapper runs, with other bits without AVX-512."""
  values = tf.random.stateless_normal([64, 9, 16], seed=(1, 2))
  found = []
  before = tf.config.optimizer.get_experimental_options()
  try:
    for remapping in (True, False):
      tf.config.optimizer.set_experimental_options({"remapping": remapping})
      found.append(tf.function(rounding.unfused_swish, autograph=False)(values).numpy())
  finally:
    tf.config.optimizer.set_experimental_options({"remapping": before.get("remapping", True)})
  np.testing.assert_array_equal(*found)


def test_a_clone_of_a_network_has_the_same_swish():
  """Keras takes activations by name: of one that is called swish it would make its own."""
  image = keras.Input([8])
  hidden = layers.Dense(8, rounding.unfused_swish)(keras.layers.Activation(rounding.unfused_swish)(image))
  clone = keras.models.clone_model(keras.Model(image, hidden))
  assert all(layer.activation is rounding.unfused_swish for layer in clone.layers[1:])
