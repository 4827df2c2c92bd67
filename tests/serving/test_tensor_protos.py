"""Protos become the arrays that TensorFlow's own C++ makes of them, and back."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving import tensor_protos

_DTYPES = (np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32,
           np.uint64, np.bool_, np.complex64, np.complex128, ml_dtypes.bfloat16)


def _in_cpp(proto):
  """What tensorflow::Tensor::FromProto makes of it, None if nothing."""
  try:
    return tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(proto.dtype)).numpy()
  except (tf.errors.InvalidArgumentError, TypeError):
    return None


def _here(proto):
  try:
    return tensor_protos.to_array(proto)
  except ValueError:
    return None


def _assert_same(ours, theirs):
  assert (ours is None) == (theirs is None)
  if ours is not None:
    assert ours.dtype == np.asarray(theirs).dtype or ours.dtype == object
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (0, 2)])
def test_there_and_back(dtype, shape):
  array = (np.random.default_rng(0).standard_normal(shape) * 3).astype(np.float32).astype(dtype)
  proto = tensor_pb2.TensorProto()
  tensor_protos.fill_proto(array, proto)
  assert not proto.tensor_content
  content = tensor_pb2.TensorProto()
  tensor_protos.fill_content(array, content)
  for one in (proto, content, tf.make_tensor_proto(array)):
    _assert_same(tensor_protos.to_array(one), array)
    _assert_same(tensor_protos.to_array(one), _in_cpp(one))


def test_strings():
  array = np.array([[b"a", b"\x00\xff"], [b"", b"longer"]], object)
  proto = tensor_pb2.TensorProto()
  tensor_protos.fill_proto(array, proto)
  assert tensor_protos.to_array(proto).tolist() == array.tolist() == _in_cpp(proto).tolist()


def test_any_proto_is_read_as_in_cpp():
  """Too few, too many, out of range, odd shapes and contents: 1000 of them."""
  random = np.random.default_rng(0)
  fields = [name for name in tensor_protos.FIELDS if name != "string_val"]
  read = 0
  for _ in range(1000):
    proto = tensor_pb2.TensorProto(dtype=int(random.choice([0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 14, 17, 18, 19, 22, 23])))
    for size in random.integers(-1 if random.random() < 0.1 else 0, 4, random.integers(0, 3)):
      proto.tensor_shape.dim.add(size=size)
    if random.random() < 0.05:
      proto.tensor_shape.unknown_rank = True
    for name in fields:
      if random.random() < 0.5:
        values = random.integers(0, 2 if name == "bool_val" else 40, random.integers(0, 12))
        getattr(proto, name).extend(values.tolist())
    if random.random() < 0.3:
      proto.tensor_content = random.bytes(random.integers(0, 30))
      if proto.dtype == 10:  # any byte but 0 and 1 makes a bool without meaning
        proto.ClearField("tensor_content")
    ours, theirs = _here(proto), _in_cpp(proto)
    _assert_same(ours, theirs)
    read += ours is not None
  assert 300 < read < 950


def test_a_size_has_a_limit():
  proto = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[1.0])
  proto.tensor_shape.dim.add(size=100)
  assert tensor_protos.to_array(proto, 400).tolist() == 100 * [1.0]
  for sizes in ([101], [0, 10 ** 18], [10 ** 10, 10 ** 10]):
    del proto.tensor_shape.dim[:]
    for size in sizes:
      proto.tensor_shape.dim.add(size=size)
    with pytest.raises(ValueError, match="too large"):
      tensor_protos.to_array(proto, 400)
