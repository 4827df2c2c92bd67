"""TensorProto to NumPy and back, as tensorflow::Tensor::FromProto and AsProtoField do it. Needs no TensorFlow."""

import math

import numpy as np

try:
  import ml_dtypes
except ImportError:  # a client without TensorFlow meets no bfloat16
  ml_dtypes = None

STRING = 7
# By tensorflow.DataType: NumPy's type and the field that holds its values.
_TYPES = {
    1: (np.float32, "float_val"), 2: (np.float64, "double_val"), 3: (np.int32, "int_val"), 4: (np.uint8, "int_val"),
    5: (np.int16, "int_val"), 6: (np.int8, "int_val"), STRING: (object, "string_val"),
    8: (np.complex64, "scomplex_val"), 9: (np.int64, "int64_val"), 10: (np.bool_, "bool_val"),
    17: (np.uint16, "int_val"), 18: (np.complex128, "dcomplex_val"), 19: (np.float16, "half_val"),
    22: (np.uint32, "uint32_val"), 23: (np.uint64, "uint64_val"),
}
if ml_dtypes:
  _TYPES[14] = (ml_dtypes.bfloat16, "half_val")
_NUMBERS = {np.dtype(kind): number for number, (kind, _) in _TYPES.items()}
FIELDS = tuple(sorted({field for _, field in _TYPES.values()}))
# A few bytes can ask for a huge tensor, as a list of values that is too short repeats its last one.
MOST_BYTES = 1 << 30


def _field_values(values, dtype: np.dtype, field: str, count: int) -> np.ndarray:
  """The values of the typed field, at most `count` of them."""
  if field == "half_val":
    return np.array(values[:count], np.int32).astype(np.uint16).view(dtype)
  if dtype.kind == "c":
    pairs = np.array(values[:2 * min(count, len(values) // 2)]).reshape(-1, 2)
    return (pairs[:, 0] + 1j * pairs[:, 1]).astype(dtype)
  if field == "int_val":
    return np.array(values[:count], np.int32).astype(dtype)  # wraps, as the cast in C++
  return np.array(values[:count], dtype)


def to_array(proto, most_bytes: int = MOST_BYTES) -> np.ndarray:
  """The array a TensorProto describes; strings are an array of bytes objects.

  Raises:
    ValueError: the proto is not that of a tensor, or the tensor has more than `most_bytes`.
  """
  shape = [dimension.size for dimension in proto.tensor_shape.dim]
  if proto.dtype not in _TYPES or len(shape) > 32 or min(shape, default=0) < 0:
    raise ValueError("not a tensor")
  kind, field = _TYPES[proto.dtype]
  dtype, count = np.dtype(kind), math.prod(shape)
  if count * dtype.itemsize > most_bytes or any(size > most_bytes for size in shape):
    raise ValueError("too large")
  if not count:
    return np.zeros(shape, dtype)
  if proto.tensor_content:
    if proto.dtype == STRING or len(proto.tensor_content) != count * dtype.itemsize:
      raise ValueError("the content has another size than the shape")
    return np.frombuffer(proto.tensor_content, dtype).copy().reshape(shape)
  values = _field_values(getattr(proto, field), dtype, field, count)
  if len(values) < count:
    last = values[-1] if len(values) else b"" if proto.dtype == STRING else np.zeros([], dtype)
    rest = np.empty(count - len(values), dtype)
    rest[:] = last
    values = np.concatenate([values, rest])
  return values.reshape(shape)


def _fill_head(array: np.ndarray, proto) -> None:
  proto.dtype = _NUMBERS[array.dtype]
  for size in array.shape:
    proto.tensor_shape.dim.add(size=size)


def fill_proto(array: np.ndarray, proto) -> None:
  """Writes the array into an empty TensorProto, values in the typed field of their dtype, as servers answer."""
  array = np.asarray(array)
  _fill_head(array, proto)
  field = _TYPES[proto.dtype][1]
  flat = array.ravel()
  if field == "half_val":
    flat = flat.view(np.uint16)
  elif array.dtype.kind == "c":
    flat = flat.view(np.float32 if array.dtype == np.complex64 else np.float64)
  getattr(proto, field).extend(flat.tolist())


def fill_content(array: np.ndarray, proto) -> None:
  """Writes an array of numbers into an empty TensorProto as one block of bytes, as clients ask."""
  _fill_head(array, proto)
  proto.tensor_content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
