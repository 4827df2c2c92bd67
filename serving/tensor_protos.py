"""TensorProto to NumPy and back, as tensorflow::Tensor::FromProto and AsProtoField do it."""

import math

import numpy as np
import tensorflow as tf

_FIELDS = {
    "float32": "float_val", "float64": "double_val", "int64": "int64_val", "bool": "bool_val", "uint32": "uint32_val",
    "uint64": "uint64_val", "string": "string_val", "float16": "half_val", "bfloat16": "half_val",
    "int32": "int_val", "int16": "int_val", "int8": "int_val", "uint16": "int_val", "uint8": "int_val",
    "complex64": "scomplex_val", "complex128": "dcomplex_val",
}
_HALVES = ("float16", "bfloat16")
# A few bytes can ask for a huge tensor, as a list of values that is too short repeats its last one.
MOST_BYTES = 1 << 30


def _field_values(proto, dtype, count: int) -> np.ndarray:
  """The values of the typed field, at most `count` of them."""
  values = getattr(proto, _FIELDS[dtype.name])
  if dtype.name in _HALVES:
    return np.array(values[:count], np.int32).astype(np.uint16).view(dtype.as_numpy_dtype)
  if dtype.is_complex:
    pairs = np.array(values[:2 * min(count, len(values) // 2)]).reshape(-1, 2)
    return (pairs[:, 0] + 1j * pairs[:, 1]).astype(dtype.as_numpy_dtype)
  if _FIELDS[dtype.name] == "int_val":
    return np.array(values[:count], np.int32).astype(dtype.as_numpy_dtype)  # wraps, as the cast in C++
  return np.array(values[:count], dtype.as_numpy_dtype)


def to_array(proto, most_bytes: int = MOST_BYTES) -> np.ndarray:
  """The array a TensorProto describes.

  Raises:
    ValueError: the proto is not that of a tensor, or the tensor has more than `most_bytes`.
  """
  shape = [dimension.size for dimension in proto.tensor_shape.dim]
  try:
    dtype = tf.as_dtype(proto.dtype)
  except TypeError as problem:
    raise ValueError("no such dtype") from problem
  if dtype.name not in _FIELDS or len(shape) > 32 or min(shape, default=0) < 0:
    raise ValueError("not a tensor")
  count = math.prod(shape)
  if count * dtype.size > most_bytes or any(size > most_bytes for size in shape):
    raise ValueError("too large")
  if not count:
    return np.zeros(shape, dtype.as_numpy_dtype)
  if proto.tensor_content:
    if dtype == tf.string or len(proto.tensor_content) != count * dtype.size:
      raise ValueError("the content has another size than the shape")
    return np.frombuffer(proto.tensor_content, dtype.as_numpy_dtype).copy().reshape(shape)
  values = _field_values(proto, dtype, count)
  if len(values) < count:
    last = values[-1] if len(values) else b"" if dtype == tf.string else np.zeros([], dtype.as_numpy_dtype)
    rest = np.empty(count - len(values), dtype.as_numpy_dtype)
    rest[:] = last
    values = np.concatenate([values, rest])
  return values.reshape(shape)


def fill_proto(array: np.ndarray, proto) -> None:
  """Writes the array into an empty TensorProto, values in the typed field of their dtype."""
  array = np.asarray(array)
  dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
  proto.dtype = dtype.as_datatype_enum
  for size in array.shape:
    proto.tensor_shape.dim.add(size=size)
  flat = array.ravel()
  if dtype.name in _HALVES:
    flat = flat.view(np.uint16)
  elif dtype.is_complex:
    flat = flat.view(np.float32 if dtype == tf.complex64 else np.float64)
  getattr(proto, _FIELDS[dtype.name]).extend(flat.tolist())
