"""uint8 <-> [-1, 1]: exact there and back, and defined for every float."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.datasets.pixel_range import from_uint8
from stic_tf.datasets.pixel_range import to_uint8


def test_every_value_survives_the_way_there_and_back():
  stored = np.arange(256, dtype=np.uint8)
  np.testing.assert_array_equal(to_uint8(from_uint8(stored)).numpy(), stored)


def test_ends_of_the_range():
  images = from_uint8(np.array([0, 255], np.uint8))
  assert images.dtype == tf.float32
  np.testing.assert_array_equal(images.numpy(), [-1.0, 1.0])


def test_outside_the_range_saturates():
  np.testing.assert_array_equal(to_uint8(np.array([-1.5, 1.01, -1e30, 1e30, -np.inf, np.inf], np.float32)).numpy(),
                                [0, 255, 0, 255, 0, 255])


def test_nan_becomes_zero_beside_untouched_neighbours():
  np.testing.assert_array_equal(to_uint8(np.array([1.0, np.nan, -1.0], np.float32)).numpy(), [255, 0, 0])


def test_rounds_to_the_nearest_value():
  images = (np.array([99.6, 100.4], np.float32) / 127.5) - 1.0
  np.testing.assert_array_equal(to_uint8(images).numpy(), [100, 100])


def test_same_in_a_graph_and_for_tensors_and_arrays():
  images = np.linspace(-1.2, 1.2, 2 * 4 * 4 * 3, dtype=np.float32).reshape(2, 4, 4, 3)
  in_graph = tf.function(to_uint8)(tf.constant(images))
  assert in_graph.shape == (2, 4, 4, 3) and in_graph.dtype == tf.uint8
  np.testing.assert_array_equal(in_graph.numpy(), to_uint8(images).numpy())
  np.testing.assert_array_equal(tf.function(from_uint8)(in_graph).numpy(), from_uint8(in_graph.numpy()).numpy())


def test_converting_twice_is_refused():
  with pytest.raises(TypeError, match="converted before"):
    from_uint8(from_uint8(np.zeros([1], np.uint8)))
  with pytest.raises(TypeError, match="converted before"):
    to_uint8(np.zeros([1], np.uint8))
