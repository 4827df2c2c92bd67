"""JSON bodies of the REST interface to arrays, and arrays to JSON.

orjson parses; it knows no NaN and no Infinity, which TensorFlow Serving sends and takes: a body that spells one goes
through the standard library. Lists are flattened level by level in C, so that a number costs a fraction of a µs.
"""

import base64
import binascii
import itertools
import json
from typing import Dict, List, Mapping, Tuple

import numpy as np
import orjson
import tensorflow as tf

from serving import status

_FLOATS = (tf.float16, tf.bfloat16, tf.float32, tf.float64)
_INTEGERS = (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64)
_MOST_DIMENSIONS = 32
_CONSTANTS = (b"NaN", b"Infinity")


def parse(body: bytes) -> dict:
  """The top-level object of a body, at most 1024 levels deep.

  Raises:
    StatusError: INVALID_ARGUMENT, as for everything in this file.
  """
  if not body:
    raise status.invalid("JSON Parse error: The document is empty")
  try:
    document = orjson.loads(body)
  except orjson.JSONDecodeError as problem:
    if not any(constant in body for constant in _CONSTANTS):
      raise status.invalid(f"JSON Parse error: {problem.msg} at offset: {problem.pos}") from None
    document = _parse_with_constants(body)
  if not isinstance(document, dict):
    raise status.invalid(f"JSON Value: {_shown(document)} Is not object")
  return document


def _parse_with_constants(body: bytes):
  """What Python's own parser makes of it: NaN and Infinity are values, but 1e400 is no infinity here either."""

  def finite(text: str) -> float:
    value = float(text)
    if abs(value) == float("inf"):
      raise ValueError("number is infinity when parsed as double")
    return value

  try:
    return json.loads(body, parse_float=finite)
  except RecursionError:
    raise status.invalid("JSON Parse error: nested too deeply") from None
  except ValueError as problem:
    raise status.invalid(f"JSON Parse error: {problem}") from None


def _shown(value) -> str:
  """The beginning of a value as JSON."""
  text = ""
  try:
    for part in json.JSONEncoder().iterencode(value):
      text += part
      if len(text) >= 200:
        break
  except RecursionError:  # nested some thousand levels deep: what there is of it shows
    pass
  return text[:200]


def _type_error(value, dtype) -> status.StatusError:
  names = {bool: str(value), int: "Number", float: "Number", str: "String", list: "Array", dict: "Object"}
  return status.invalid(f"JSON Value: {_shown(value)} Type: {names.get(type(value), 'Null')} is not of expected type: "
                        f"{dtype.name}")


def _precision_error(value, dtype) -> status.StatusError:
  return status.invalid(f"Cannot convert JSON value: {_shown(value)} to {dtype.name} without loss of precision.")


def _require_types(leaves: list, types: tuple, dtype) -> None:
  """The types are compared as they are: a bool is no number."""
  if not set(map(type, leaves)).issubset(types):
    raise _type_error(next(leaf for leaf in leaves if type(leaf) not in types), dtype)


def _is_base64(value) -> bool:
  return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _text(value, dtype) -> bytes:
  if isinstance(value, str):
    try:
      return value.encode()
    except UnicodeEncodeError:
      raise status.invalid("JSON Parse error: half of a surrogate pair in a string") from None
  if not _is_base64(value):
    raise _type_error(value, dtype)
  try:
    return base64.b64decode(value["b64"], validate=True)
  except (binascii.Error, ValueError):
    raise status.invalid("Unable to base64 decode") from None


def _floats(leaves: list, dtype) -> np.ndarray:
  """Numbers within the dtype's range. An integer that the dtype may not hold exactly is refused, a fraction rounded."""
  _require_types(leaves, (int, float), dtype)
  try:
    values = np.array(leaves, np.float64)
  except OverflowError:
    raise _precision_error(next(leaf for leaf in leaves if abs(leaf) > 2 ** 1000), dtype) from None
  sizes = np.abs(values)
  beyond = np.flatnonzero(np.isfinite(values) & (sizes > float(tf.as_dtype(dtype).max)))
  inexact = np.flatnonzero(sizes > 2 ** (53 if dtype == tf.float64 else 24) - 1)
  wrong = next((place for place in inexact if type(leaves[place]) is int), beyond[0] if len(beyond) else None)
  if wrong is not None:
    raise _precision_error(leaves[wrong], dtype)
  return values.astype(dtype.as_numpy_dtype)


def _integers(leaves: list, dtype) -> np.ndarray:
  _require_types(leaves, (int,), dtype)
  if leaves and not dtype.min <= min(leaves) <= max(leaves) <= dtype.max:
    raise _type_error(next(leaf for leaf in leaves if not dtype.min <= leaf <= dtype.max), dtype)
  return np.array(leaves, dtype.as_numpy_dtype)


def _converted(leaves: list, dtype) -> np.ndarray:
  if dtype in _FLOATS:
    return _floats(leaves, dtype)
  if dtype in _INTEGERS:
    return _integers(leaves, dtype)
  if dtype == tf.bool:
    _require_types(leaves, (bool,), dtype)
    return np.array(leaves, bool)
  if dtype == tf.string:
    array = np.empty(len(leaves), object)
    array[:] = [_text(leaf, dtype) for leaf in leaves]
    return array
  raise status.invalid(f"JSON values cannot be of type: {dtype.name}")


def _shape(value) -> List[int]:
  """The shape that the first element of each list has."""
  shape = []
  while isinstance(value, list):
    shape.append(len(value))
    if not value:
      break
    value = value[0]
  return shape


def _check_shape(alias: str, shape: List[int], info) -> None:
  """Refuses a shape that the signature does not have, before any value is looked at."""
  if len(shape) > _MOST_DIMENSIONS:
    raise status.invalid(f"more than {_MOST_DIMENSIONS} dimensions")
  if info.tensor_shape.unknown_rank:
    return
  expected = [dim.size for dim in info.tensor_shape.dim]
  if len(shape) != len(expected) or any(size not in (one, -1) for one, size in zip(shape, expected)):
    names = ",".join("?" if size < 0 else str(size) for size in expected)
    raise status.invalid(f"Shape of input {alias} [{','.join(map(str, shape))}] is not compatible with expected shape "
                         f"[{names}]")


def _complain(value, level: int, shape: List[int]) -> None:
  """Raises for the first place where nested lists are not of that shape."""
  if not isinstance(value, list):
    if level != len(shape):
      raise status.invalid(f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                           f"Expected at level: {len(shape)}")
    return
  if level >= len(shape):
    raise status.invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
  if len(value) != shape[level]:
    raise status.invalid(f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
                         f"{shape[level]}")
  for element in value:
    _complain(element, level + 1, shape)


def _array(alias: str, value, info) -> np.ndarray:
  """Nested lists of one shape, or a value, to an array."""
  shape = _shape(value)
  _check_shape(alias, shape, info)
  leaves = [value]
  for size in shape:
    if set(map(type, leaves)) != {list} or set(map(len, leaves)) != {size}:
      _complain(value, 0, shape)
    leaves = list(itertools.chain.from_iterable(leaves))
  if list in set(map(type, leaves)):
    _complain(value, 0, shape)
  return _converted(leaves, tf.as_dtype(info.dtype)).reshape(shape)


def _rows(instances, infos: Mapping, defaults: Mapping) -> Dict[str, np.ndarray]:
  """`instances`: a list with one entry a row, which with several inputs is an object."""
  if not isinstance(instances, list):
    raise status.invalid(f"JSON Value: {_shown(instances)} Excepting 'instances' to be an list/array")
  if not instances:
    raise status.invalid("JSON Value: [] No values in 'instances' array")
  first = instances[0]
  are_objects = isinstance(first, dict) and not _is_base64(first)
  if not isinstance(first, dict) and len(infos) > 1:
    raise status.invalid("instances is a plain list, but expecting list of objects as multiple input tensors required "
                         "as per tensorinfo_map")
  if not are_objects:
    alias = next(iter(infos))
    return {alias: _array(alias, instances, infos[alias])}
  # All rows leave out the same inputs, if any.
  sent = {alias for alias in infos if alias in first or alias not in defaults}
  for number, instance in enumerate(instances):
    if not isinstance(instance, dict) or _is_base64(instance):
      raise status.invalid(f"Expecting object but got list at item {number} of input list")
    if instance.keys() != sent or not sent:
      raise status.invalid(f"Failed to process element: {number} of 'instances' list. JSON object: {_shown(instance)} "
                           f"keys must be equal to: {','.join(sorted(sent or infos))}")
  return {alias: _array(alias, [instance[alias] for instance in instances], infos[alias]) for alias in sorted(sent)}


def _columns(value, infos: Mapping, defaults: Mapping) -> Dict[str, np.ndarray]:
  """`inputs`: an object of tensors, or with one input the tensor itself."""
  if not isinstance(value, dict) or _is_base64(value):
    if len(infos) > 1:
      raise status.invalid("inputs is a plain value/list, but expecting an object as multiple input tensors required "
                           "as per tensorinfo_map")
    value = {next(iter(infos)): value}
  for alias in infos:
    if alias not in value and alias not in defaults:
      raise status.invalid(f"Missing named input: {alias} in 'inputs' object.")
  return {alias: _array(alias, value[alias], infos[alias]) for alias in infos if alias in value}


def signature_name(document: dict) -> str:
  """The optional `signature_name` of a body."""
  name = document.get("signature_name", "")
  if not isinstance(name, str):
    raise status.invalid(f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a "
                         "string value.")
  _text(name, tf.string)  # half of a surrogate pair cannot be answered either
  return name


def inputs(document: dict, signature) -> Tuple[Dict[str, np.ndarray], bool]:
  """Arrays by alias of a SignatureDef's inputs, and whether the body has a row an instance, as the answer then has.

  Inputs that have defaults may be left out.
  """
  infos = {alias: signature.inputs[alias] for alias in sorted(signature.inputs)}
  if not infos:
    raise status.invalid("Failed to get input map for signature: " + (signature_name(document) or "DEFAULT"))
  if "instances" in document and "inputs" in document:
    raise status.invalid(f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of 'inputs' or "
                         "'instances' keys to exist ")
  if "instances" in document:
    return _rows(document["instances"], infos, signature.defaults), True
  if "inputs" in document:
    return _columns(document["inputs"], infos, signature.defaults), False
  raise status.invalid("Missing 'inputs' or 'instances' key")
