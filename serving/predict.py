"""The answer to one Predict request: checks in tensorflow_model_server's order and words, one run, typed outputs."""

from typing import Callable, List, Mapping, Optional, Sequence

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2

from serving import status
from serving import tensor_protos

DEFAULT_SIGNATURE = "serving_default"
_METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")

# Runs a loaded version: (servable, arrays by tensor name, tensor names, deadline on the monotonic clock or None).
Run = Callable[[object, Mapping[str, np.ndarray], Sequence[str], Optional[float]], List[np.ndarray]]


def _names(aliases) -> str:
  return ",".join(sorted(aliases))


def signature_of(servable, name: str):
  """The SignatureDef of that name, empty for the default one."""
  name = name or DEFAULT_SIGNATURE
  if name not in servable.signatures:
    raise status.failed_precondition(f'Serving signature key "{name}" not found.')
  signature = servable.signatures[name]
  if signature.method_name not in _METHODS:
    raise status.StatusError(grpc.StatusCode.INTERNAL,
                             "Expected prediction signature method_name to be one of {" + ", ".join(_METHODS)
                             + "}. Was: " + signature.method_name)
  return signature


def _feeds(signature, inputs, most_bytes: int):
  """Arrays by tensor name, in the order of the aliases."""
  defaults = signature.defaults
  if len(inputs) > len(signature.inputs) or (len(inputs) < len(signature.inputs) and not defaults):
    sent, required = set(inputs), set(signature.inputs)
    raise status.invalid(
        f"input size does not match signature: {len(sent)}!={len(required)} len({{{_names(sent)}}}) != "
        f"len({{{_names(required)}}}). Sent extra: {{{_names(sent - required)}}}. "
        f"Missing but required: {{{_names(required - sent)}}}.")
  feeds, used = {}, set()
  for alias in sorted(signature.inputs):
    feed_name = signature.inputs[alias].name
    if alias in inputs:
      proto = inputs[alias]
      used.add(alias)
    elif alias in defaults:
      proto = defaults[alias]
    else:
      raise status.invalid(
          f"Signature input alias: {alias}(feed name: {feed_name}) not found in request and no default value provided. "
          f"Inputs expected to be in the request {{{_names(inputs)}}}, or default input alias set: {_names(defaults)}")
    try:
      feeds[feed_name] = tensor_protos.to_array(proto, most_bytes)
    except ValueError:
      raise status.invalid(f"tensor parsing error: {alias}") from None
  if len(used) != len(inputs):
    raise status.invalid(f"Inputs contains invalid name. Used request inputs: {_names(used)}, "
                         f"request input: {_names(inputs)}")
  return feeds


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


def predict(servable, request: predict_pb2.PredictRequest, run: Run, deadline: Optional[float] = None,
            most_bytes: int = tensor_protos.MOST_BYTES) -> predict_pb2.PredictResponse:
  """Runs the request's signature.

  Args:
    servable: a loaded version, with `name`, `version` and `signatures`.
    deadline: on the monotonic clock; None for none.
    most_bytes: of one input, once its values are spelt out.

  Raises:
    StatusError: the request is wrong, or the run failed or outlasted the deadline.
  """
  name = request.model_spec.signature_name or DEFAULT_SIGNATURE
  signature = signature_of(servable, name)
  feeds = _feeds(signature, request.inputs, most_bytes)
  aliases = _fetched_aliases(signature, request.output_filter)
  outputs = run(servable, feeds, [signature.outputs[alias].name for alias in aliases], deadline)
  response = predict_pb2.PredictResponse()
  response.model_spec.name = request.model_spec.name
  response.model_spec.signature_name = name
  response.model_spec.version.value = servable.version
  for alias, output in zip(aliases, outputs):
    tensor_protos.fill_proto(output, response.outputs[alias])
  return response
