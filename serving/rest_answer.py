"""Arrays of a predict answer to the JSON body of the REST interface."""

import base64
import json
from typing import Mapping

import numpy as np
import orjson

from serving import status


def _listed(alias: str, array: np.ndarray):
  """Nested lists; a float of 16 or 32 bits as the shortest decimal that is the same one."""
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


def _is_plain(array: np.ndarray) -> bool:
  """Whether orjson writes it as it is: by itself, and not as null."""
  if array.dtype.kind == "f":
    return bool(array.ndim and array.dtype.itemsize >= 4 and np.isfinite(array).all())
  return bool(array.ndim and array.dtype.kind in "biu")


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
  for alias, array in outputs.items():
    if not array.ndim:
      raise status.invalid(f"Tensor name: {alias} has no shape information ")
  sizes = {alias: len(array) for alias, array in outputs.items()}
  first = next(iter(sizes.values()))
  for alias, size in sizes.items():
    if size != first:
      raise status.invalid(f"Tensor name: {alias} has inconsistent batch size: {size} expecting: {first}")


def body(outputs: Mapping[str, np.ndarray], by_row: bool) -> bytes:
  """The body that answers outputs by alias: {"predictions": [a row each]}, or {"outputs": by alias}.

  Raises:
    StatusError: INVALID_ARGUMENT, as the outputs have no rows or a type that JSON has not.
  """
  outputs = {alias: np.asarray(outputs[alias]) for alias in sorted(outputs)}
  if by_row:
    _check_rows(outputs)
  is_plain = all(map(_is_plain, outputs.values()))
  values = {alias: np.ascontiguousarray(array) if is_plain else _listed(alias, array)
            for alias, array in outputs.items()}
  if len(values) == 1:
    answer, = values.values()
  else:
    answer = [dict(zip(values, row)) for row in zip(*values.values())] if by_row else values
  document = {"predictions" if by_row else "outputs": answer}
  if is_plain:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
  return json.dumps(document, separators=(",", ":")).encode()  # which writes NaN and Infinity
