"""JSON bodies of the REST interface to request messages, and responses to JSON."""

import base64
import binascii
import json
from typing import List

import numpy as np
import tensorflow as tf

from serving import status
from serving import tensor_protos

_FLOATS = (tf.float16, tf.bfloat16, tf.float32, tf.float64)
_INTEGERS = (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64)


def parse(body: bytes) -> dict:
  """The top-level object of a body."""
  if not body:
    raise status.invalid("JSON Parse error: The document is empty")
  try:
    document = json.loads(body)
  except RecursionError:
    raise status.invalid("JSON Parse error: nested too deeply") from None
  except UnicodeDecodeError:
    raise status.invalid("JSON Parse error: not UTF-8") from None
  except ValueError as problem:
    where = f" at offset: {problem.pos}" if isinstance(problem, json.JSONDecodeError) else ""
    raise status.invalid(f"JSON Parse error: {getattr(problem, 'msg', problem)}{where}") from None
  if not isinstance(document, dict):
    raise status.invalid(f"JSON Value: {_shown(document)} Is not object")
  return document


def _shown(value) -> str:
  return json.dumps(value)[:200]


def _is_base64(value) -> bool:
  return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _leaf(value, dtype):
  """One number, bool or string, checked."""
  if dtype == tf.string:
    if _is_base64(value):
      try:
        return base64.b64decode(value["b64"], validate=True)
      except binascii.Error:
        raise status.invalid("Unable to base64 decode") from None
    if isinstance(value, str):
      return value.encode("utf-8", "surrogatepass")
  elif dtype == tf.bool:
    if isinstance(value, bool):
      return value
  elif dtype in _FLOATS and isinstance(value, (int, float)) and not isinstance(value, bool):
    most = float(tf.as_dtype(dtype).max)
    exact = 2 ** (53 if dtype == tf.float64 else 24) - 1
    if isinstance(value, int) and abs(value) > exact or np.isfinite(value) and abs(value) > most:
      raise status.invalid(f"Cannot convert JSON value: {_shown(value)} to {dtype.name} without loss of precision.")
    return value
  elif dtype in _INTEGERS and isinstance(value, int) and not isinstance(value, bool):
    if dtype.min <= value <= dtype.max:
      return value
  raise status.invalid(f"JSON Value: {_shown(value)} Type: {_json_type(value)} is not of expected type: {dtype.name}")


def _json_type(value) -> str:
  names = {bool: str(value), int: "Number", float: "Number", str: "String", list: "Array", dict: "Object"}
  return names.get(type(value), "Null")


def _shape(value) -> List[int]:
  """The shape that the first element of each list has."""
  shape = []
  while isinstance(value, list):
    shape.append(len(value))
    if not value:
      break
    value = value[0]
  return shape


def _collect(value, level: int, shape: List[int], dtype, leaves: list) -> None:
  if not isinstance(value, list):
    if level != len(shape):
      raise status.invalid(f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                           f"Expected at level: {len(shape)}")
    leaves.append(_leaf(value, dtype))
    return
  if level >= len(shape):
    raise status.invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
  if len(value) != shape[level]:
    raise status.invalid(f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
                         f"{shape[level]}")
  for element in value:
    _collect(element, level + 1, shape, dtype, leaves)


def _array(value, dtype) -> np.ndarray:
  """Nested lists of one shape to an array."""
  shape, leaves = _shape(value), []
  if len(shape) > 32:
    raise status.invalid("more than 32 dimensions")
  _collect(value, 0, shape, dtype, leaves)
  return np.array(leaves, dtype.as_numpy_dtype).reshape(shape)


def _fill_rows(instances, infos, inputs) -> None:
  """`instances`: a list with one entry a row, which with several inputs is an object."""
  if not isinstance(instances, list):
    raise status.invalid(f"JSON Value: {_shown(instances)} Excepting 'instances' to be an list/array")
  if not instances:
    raise status.invalid("JSON Value: [] No values in 'instances' array")
  are_objects = isinstance(instances[0], dict) and not _is_base64(instances[0])
  if not isinstance(instances[0], dict) and len(infos) > 1:
    raise status.invalid("instances is a plain list, but expecting list of objects as multiple input tensors required "
                         "as per tensorinfo_map")
  if not are_objects:
    alias = next(iter(infos))
    tensor_protos.fill_proto(_array(instances, tf.as_dtype(infos[alias].dtype)), inputs[alias])
    return
  for number, instance in enumerate(instances):
    if not isinstance(instance, dict) or _is_base64(instance):
      raise status.invalid(f"Expecting object but got list at item {number} of input list")
    if set(instance) != set(infos):
      raise status.invalid(f"Failed to process element: {number} of 'instances' list. JSON object: {_shown(instance)} "
                           f"keys must be equal to: {','.join(sorted(infos))}")
  for alias, info in infos.items():
    array = _array([instance[alias] for instance in instances], tf.as_dtype(info.dtype))
    tensor_protos.fill_proto(array, inputs[alias])


def _fill_columns(value, infos, inputs) -> None:
  """`inputs`: an object of tensors, or with one input the tensor itself."""
  if not isinstance(value, dict) or _is_base64(value):
    if len(infos) > 1:
      raise status.invalid("inputs is a plain value/list, but expecting an object as multiple input tensors required "
                           "as per tensorinfo_map")
    value = {next(iter(infos)): value}
  for alias, info in infos.items():
    if alias not in value:
      raise status.invalid(f"Missing named input: {alias} in 'inputs' object.")
    tensor_protos.fill_proto(_array(value[alias], tf.as_dtype(info.dtype)), inputs[alias])


def signature_name(document: dict) -> str:
  """The optional `signature_name` of a body."""
  name = document.get("signature_name", "")
  if not isinstance(name, str):
    raise status.invalid(f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a "
                         "string value.")
  return name


def fill_predict(document: dict, infos, request) -> bool:
  """Fills the inputs of a PredictRequest.

  Args:
    infos: TensorInfo by alias of the signature's inputs.

  Returns:
    Whether the body has a row an instance, as the answer then has.
  """
  infos = {alias: infos[alias] for alias in sorted(infos)}
  if not infos:
    raise status.invalid(f"Failed to get input map for signature: {request.model_spec.signature_name or 'DEFAULT'}")
  if "instances" in document and "inputs" in document:
    raise status.invalid(f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of 'inputs' or "
                         "'instances' keys to exist ")
  if "instances" in document:
    _fill_rows(document["instances"], infos, request.inputs)
    return True
  if "inputs" in document:
    _fill_columns(document["inputs"], infos, request.inputs)
    return False
  raise status.invalid("Missing 'inputs' or 'instances' key")


def _listed(alias: str, array: np.ndarray):
  """Nested lists; a float32 as the shortest decimal that is the same float32."""
  if array.dtype == object:
    if alias.endswith("_bytes"):
      encode = np.frompyfunc(lambda text: {"b64": base64.b64encode(text).decode()}, 1, 1)
    else:
      encode = np.frompyfunc(lambda text: text.decode(errors="replace"), 1, 1)
    array = np.asarray(encode(array))
  elif array.dtype.kind == "f" and array.dtype.itemsize < 8:
    array = array.astype("U32").astype(np.float64)
  elif array.dtype.name == "bfloat16":
    array = array.astype(np.float64)
  elif array.dtype.kind == "c":
    raise status.invalid(f"Failed to write JSON value for tensor type: {array.dtype.name}")
  return array.tolist()


def predictions(outputs, by_row: bool) -> bytes:
  """The body that answers a PredictResponse's outputs."""
  arrays = {alias: tensor_protos.to_array(outputs[alias]) for alias in sorted(outputs)}
  if by_row:
    for alias, array in arrays.items():
      if not array.ndim:
        raise status.invalid(f"Tensor name: {alias} has no shape information ")
    sizes = {alias: len(array) for alias, array in arrays.items()}
    if len(set(sizes.values())) > 1:
      first = next(iter(sizes.values()))
      alias, other = next((alias, size) for alias, size in sizes.items() if size != first)
      raise status.invalid(f"Tensor name: {alias} has inconsistent batch size: {other} expecting: {first}")
  listed = {alias: _listed(alias, array) for alias, array in arrays.items()}
  values = next(iter(listed.values())) if len(listed) == 1 else listed
  if by_row and len(listed) > 1:
    values = [dict(zip(listed, row)) for row in zip(*listed.values())]
  return json.dumps({"predictions" if by_row else "outputs": values}, indent=1).encode()
