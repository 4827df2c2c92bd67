"""The answer to one request: checks in tensorflow_model_server's order and words, one run, arrays by output name.

gRPC and REST both come here, each with its own way to read an input and to write an output.
"""

from typing import Callable, Dict, List, Mapping, Sequence

import numpy as np

from serving import deadline as deadline_lib
from serving import status
from serving import tensor_protos

DEFAULT_SIGNATURE = "serving_default"
_METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")

# Runs a loaded version: (servable, arrays by tensor name, tensor names, deadline).
Run = Callable[[object, Mapping[str, np.ndarray], Sequence[str], deadline_lib.Deadline], List[np.ndarray]]


def _names(aliases) -> str:
  return ",".join(sorted(aliases))


def signature_of(servable, name: str):
  """The SignatureDef of that name."""
  if name not in servable.signatures:
    raise status.failed_precondition(f'Serving signature key "{name}" not found.')
  signature = servable.signatures[name]
  if signature.method_name not in _METHODS:
    # tensorflow_model_server has it INTERNAL; but it is the request that names what cannot be called.
    raise status.invalid("Expected prediction signature method_name to be one of {" + ", ".join(_METHODS) + "}. Was: "
                         + signature.method_name)
  return signature


def has_rows(info) -> bool:
  """Whether dim 0 of a TensorInfo is open, as that of a batch is."""
  return bool(info.tensor_shape.dim) and info.tensor_shape.dim[0].size < 0


def _rows(signature, arrays: Mapping[str, np.ndarray]) -> List[int]:
  """Rows of each array whose input has them."""
  return [len(array) for alias, array in arrays.items() if array.ndim and has_rows(signature.inputs[alias])]


def _default(proto, info, rows: Sequence[int]) -> np.ndarray:
  """A default value, whose one row holds for all rows of a request."""
  array = tensor_protos.to_array(proto)
  if rows and has_rows(info) and array.ndim and len(array) == 1:
    array = np.repeat(array, rows[0], axis=0)
  return array


def _read(signature, inputs: Mapping, read: Callable, most_rows: int) -> Dict[str, np.ndarray]:
  """Arrays by alias, in the order of the aliases; those that were not sent have their defaults."""
  defaults = signature.defaults
  if len(inputs) > len(signature.inputs) or (len(inputs) < len(signature.inputs) and not defaults):
    sent, required = set(inputs), set(signature.inputs)
    raise status.invalid(
        f"input size does not match signature: {len(sent)}!={len(required)} len({{{_names(sent)}}}) != "
        f"len({{{_names(required)}}}). Sent extra: {{{_names(sent - required)}}}. "
        f"Missing but required: {{{_names(required - sent)}}}.")
  arrays = {}
  for alias in sorted(signature.inputs):
    if alias in inputs:
      try:
        arrays[alias] = read(inputs[alias])
      except ValueError:
        raise status.invalid(f"tensor parsing error: {alias}") from None
    elif alias not in defaults:
      raise status.invalid(
          f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request and no "
          f"default value provided. Inputs expected to be in the request {{{_names(inputs)}}}, or default input alias "
          f"set: {_names(defaults)}")
  if len(arrays) != len(inputs):
    raise status.invalid(f"Inputs contains invalid name. Used request inputs: {_names(arrays)}, "
                         f"request input: {_names(inputs)}")
  rows = _rows(signature, arrays)
  if max(rows, default=0) > most_rows:
    raise status.invalid(f"Task size {max(rows)} is larger than maximum input batch size {most_rows}")
  return {alias: arrays[alias] if alias in arrays else _default(defaults[alias], signature.inputs[alias], rows)
          for alias in sorted(signature.inputs)}


def _fetched_aliases(signature, output_filter) -> List[str]:
  """The aliases asked for, or all."""
  seen = set()
  for alias in output_filter:
    if alias not in signature.outputs:
      raise status.invalid(f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                           f"{{{_names(signature.outputs)}}}.")
    if alias in seen:
      raise status.invalid(f"duplicate output tensor alias: {alias}")
    seen.add(alias)
  return list(output_filter) or sorted(signature.outputs)


def predict(servable, signature_name: str, inputs: Mapping, read: Callable, output_filter: Sequence[str], run: Run,
            deadline: deadline_lib.Deadline, most_rows: int = 1 << 31) -> Dict[str, np.ndarray]:
  """Runs a signature.

  Args:
    servable: a loaded version, with `name`, `version` and `signatures`.
    inputs: by alias, what `read` makes an array of or raises ValueError.
    output_filter: aliases; empty for all.
    most_rows: that a request may have.

  Returns:
    Arrays by alias.

  Raises:
    StatusError: the request is wrong, or the run failed or outlasted the deadline.
  """
  signature = signature_of(servable, signature_name)
  arrays = _read(signature, inputs, read, most_rows)
  aliases = _fetched_aliases(signature, output_filter)
  feeds = {signature.inputs[alias].name: array for alias, array in arrays.items()}
  outputs = run(servable, feeds, [signature.outputs[alias].name for alias in aliases], deadline)
  return dict(zip(aliases, outputs))
