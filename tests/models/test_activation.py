"""Swish: its values, its derivatives, and that its sigmoid is worked out once."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.models import activation

INPUTS = np.array([-100.0, -20.0, -3.0, -1e-3, 0.0, 0.5, 3.0, 20.0, 100.0], np.float32)


def _sigmoid(values):
  return 1 / (1 + np.exp(-values.astype(np.float64)))


def test_values_are_x_times_sigmoid_of_x():
  np.testing.assert_allclose(activation.swish(tf.constant(INPUTS)), INPUTS * _sigmoid(INPUTS), rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives(order):
  """The second one is what Score-STIC trains on: a loss of a gradient."""
  inputs = tf.constant(INPUTS)
  with tf.GradientTape() as outer:
    outer.watch(inputs)
    with tf.GradientTape() as inner:
      inner.watch(inputs)
      outputs = activation.swish(inputs)
    first = inner.gradient(outputs, inputs)
  sigmoid, x = _sigmoid(INPUTS), INPUTS.astype(np.float64)
  slope = sigmoid * (1 - sigmoid)
  wanted = {1: sigmoid + x * slope, 2: slope * (2 + x * (1 - 2 * sigmoid))}[order]
  derivative = first if order == 1 else outer.gradient(first, inputs)
  np.testing.assert_allclose(derivative, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("swish, sigmoids", [(activation.swish, 1), (tf.nn.silu, 2)], ids=["ours", "control: Keras'"])
def test_the_gradient_keeps_the_sigmoid(swish, sigmoids):

  @tf.function
  def value_and_gradient(inputs):
    with tf.GradientTape() as tape:
      tape.watch(inputs)
      outputs = swish(inputs)
    return outputs, tape.gradient(outputs, inputs)

  graph = value_and_gradient.get_concrete_function(tf.TensorSpec([4, 3])).graph
  assert sum(operation.type == "Sigmoid" for operation in graph.get_operations()) == sigmoids
