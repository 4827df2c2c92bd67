"""The answers to Classify and Regress requests, whose signatures take serialized tf.Examples."""

from typing import Optional

import grpc
import numpy as np
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import regression_pb2

from export import predict
from export import status


def _signature(servable, name: str, kind: str, method: str):
  name = name or predict.DEFAULT_SIGNATURE
  if name not in servable.signatures:
    raise status.invalid(f"No signature was found with the name: {name}")
  signature = servable.signatures[name]
  if signature.method_name != method:
    raise status.invalid(f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}")
  if len(signature.inputs) != 1:
    raise status.invalid("Expected one input Tensor.")
  if "inputs" not in signature.inputs:
    raise status.failed_precondition(f"No {kind} inputs found in SignatureDef: {signature}")
  return signature


def _examples(input_proto) -> np.ndarray:
  """Serialized tf.Examples, strings [N]; a context is written before each, which for protos is merging."""
  kind = input_proto.WhichOneof("kind")
  examples = getattr(input_proto, kind).examples if kind else []
  if not examples:
    raise status.invalid("Input is empty.")
  context = input_proto.example_list_with_context.context.SerializeToString() if kind != "example_list" else b""
  return np.array([context + example.SerializeToString() for example in examples], object)


def _fill_model_spec(response, servable, request) -> None:
  response.model_spec.name = request.model_spec.name
  response.model_spec.signature_name = request.model_spec.signature_name or predict.DEFAULT_SIGNATURE
  response.model_spec.version.value = servable.version


def _check_batched(alias: str, array: np.ndarray, wanted, wanted_name: str, count: int) -> None:
  if array.ndim != 2:
    shape = ",".join(map(str, array.shape))
    raise status.invalid(f"Expected Tensor shape: [batch_size num_classes] but got [{shape}]")
  if array.dtype != wanted:
    raise status.invalid(f"Expected {alias} Tensor of {wanted_name}. Got: DT_{array.dtype.name.upper()}")
  if len(array) != count:
    raise status.invalid(f"Expected {alias} output batch size of {count}. Got: {len(array)}")


def classify(servable, request: classification_pb2.ClassificationRequest, run: predict.Run,
             deadline: Optional[float] = None) -> classification_pb2.ClassificationResponse:
  """Runs a signature of the method classify. Raises StatusError as `predict.predict`."""
  signature = _signature(servable, request.model_spec.signature_name, "classification", predict.CLASSIFY_METHOD)
  if len(signature.outputs) not in (1, 2):
    raise status.invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
  aliases = [alias for alias in ("classes", "scores") if alias in signature.outputs]
  if not aliases:
    raise status.failed_precondition('Expected classification signature outputs to contain at least one of "classes" '
                                     f'or "scores". Signature was: {signature}')
  examples = _examples(request.input)
  outputs = dict(zip(aliases, run(servable, {signature.inputs["inputs"].name: examples},
                                  [signature.outputs[alias].name for alias in aliases], deadline)))
  if "classes" in outputs:
    _check_batched("classes", outputs["classes"], object, "DT_STRING", len(examples))
  if "scores" in outputs:
    _check_batched("scores", outputs["scores"], np.float32, "DT_FLOAT", len(examples))
  if len({array.shape[1] for array in outputs.values()}) > 1:
    raise status.invalid("Tensors class and score should match in dim_size(1). Got "
                         f"{outputs['classes'].shape[1]} vs. {outputs['scores'].shape[1]}")
  response = classification_pb2.ClassificationResponse()
  _fill_model_spec(response, servable, request)
  for row in range(len(examples)):
    classifications = response.result.classifications.add()
    for column in range(outputs[aliases[0]].shape[1]):
      entry = classifications.classes.add()
      if "classes" in outputs:
        entry.label = outputs["classes"][row, column].decode(errors="replace")
      if "scores" in outputs:
        entry.score = outputs["scores"][row, column]
  return response


def regress(servable, request: regression_pb2.RegressionRequest, run: predict.Run,
            deadline: Optional[float] = None) -> regression_pb2.RegressionResponse:
  """Runs a signature of the method regress. Raises StatusError as `predict.predict`."""
  signature = _signature(servable, request.model_spec.signature_name, "regression", predict.REGRESS_METHOD)
  if len(signature.outputs) != 1:
    raise status.invalid("Expected one output Tensor.")
  if "outputs" not in signature.outputs:
    raise status.failed_precondition(f"No regression outputs found in SignatureDef: {signature}")
  examples = _examples(request.input)
  values, = run(servable, {signature.inputs["inputs"].name: examples}, [signature.outputs["outputs"].name], deadline)
  values = np.asarray(values)
  if not (values.ndim == 1 or values.ndim == 2 and values.shape[1] == 1):
    shape = ",".join(map(str, values.shape))
    raise status.invalid("Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
                         f"[{shape}]")
  if len(values) != len(examples):
    raise status.invalid(f"Input batch size did not match output batch size: {len(examples)} vs. {len(values)}")
  if values.dtype != np.float32:
    raise status.StatusError(grpc.StatusCode.INVALID_ARGUMENT,
                             f"Expected output Tensor of DT_FLOAT.  Got: DT_{values.dtype.name.upper()}")
  response = regression_pb2.RegressionResponse()
  _fill_model_spec(response, servable, request)
  for value in values.ravel():
    response.result.regressions.add(value=value)
  return response
