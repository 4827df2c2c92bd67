"""What the server answers, whichever way a request came: gRPC (grpc_server.py) and REST (rest.py) both call this."""

import contextlib
import functools
import os
import time
from typing import Callable, Dict, Iterator

import grpc
import numpy as np
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import predict_pb2

from serving import deadline as deadline_lib
from serving import metrics
from serving import predict
from serving import server_config
from serving import status
from serving import tensor_protos
from serving import versions

_COUNTS = metrics.Counter(":tensorflow:serving:request_count", ("model_name", "status"))
_LATENCIES = metrics.Histogram(":tensorflow:serving:request_latency", ("model_name", "API", "entrypoint"),
                               metrics.MICROSECONDS)
_LONGEST_RELOAD = 600.0


def run_alone(servable, feeds, fetches, deadline: deadline_lib.Deadline):
  """A predict.Run that runs the request by itself."""
  return servable.runner.run(feeds, fetches, deadline.remaining())


def _require_model_spec(request) -> None:
  if not request.HasField("model_spec"):
    raise status.invalid("Missing ModelSpec")


class ModelApi:
  """Each method raises StatusError; all but `predict_arrays` take a request message."""

  def __init__(self, manager: versions.VersionManager, run: predict.Run, max_message_bytes: int, max_rows: int):
    self.manager = manager
    self._run = run
    self._max_message_bytes = max_message_bytes
    self._max_rows = max_rows

  @contextlib.contextmanager
  def _measured(self, model_spec, entrypoint: str) -> Iterator[versions.Servable]:
    """The version the request names, for a Predict that is counted under the model's name if there is such a model."""
    start, code = time.monotonic(), grpc.StatusCode.INTERNAL
    name = model_spec.name if self.manager.is_configured(model_spec.name) else ""
    try:
      with self.manager.use(model_spec) as servable:
        yield servable
      code = grpc.StatusCode.OK
      _LATENCIES.add((name, "Predict", entrypoint), 1e6 * (time.monotonic() - start))
    except status.StatusError as error:
      code = error.code
      raise
    finally:
      _COUNTS.add((name, code.name))

  def predict(self, request: predict_pb2.PredictRequest,
              deadline: deadline_lib.Deadline) -> predict_pb2.PredictResponse:
    """Answers a message by a message."""
    _require_model_spec(request)
    signature_name = request.model_spec.signature_name or predict.DEFAULT_SIGNATURE
    read = functools.partial(tensor_protos.to_array, most_bytes=self._max_message_bytes)
    with self._measured(request.model_spec, "GRPC") as servable:
      outputs = predict.predict(servable, signature_name, request.inputs, read, request.output_filter, self._run,
                                deadline, self._max_rows)
      response = predict_pb2.PredictResponse()
      response.model_spec.name = request.model_spec.name
      response.model_spec.signature_name = signature_name
      response.model_spec.version.value = servable.version
    for alias, output in outputs.items():
      tensor_protos.fill_proto(output, response.outputs[alias])
    return response

  def predict_arrays(self, model_spec, signature_name: str, read: Callable, deadline: deadline_lib.Deadline,
                     entrypoint: str) -> Dict[str, np.ndarray]:
    """Answers arrays by arrays.

    Args:
      model_spec: names the version.
      signature_name: empty for the default one.
      read: called with the version's SignatureDef, gives the inputs by alias.
    """
    name = signature_name or predict.DEFAULT_SIGNATURE
    with self._measured(model_spec, entrypoint) as servable:
      if name not in servable.signatures:
        raise status.invalid(f'Serving signature name: "{name}" not found in signature def')
      inputs = read(predict.signature_of(servable, name))
      return predict.predict(servable, name, inputs, lambda array: array, (), self._run, deadline, self._max_rows)

  def metadata(self, request: get_model_metadata_pb2.GetModelMetadataRequest,
               deadline: deadline_lib.Deadline) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """All signatures of a version, the initialisation's included."""
    del deadline
    _require_model_spec(request)
    if not request.metadata_field:
      raise status.invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
      if field != "signature_def":
        raise status.invalid(f"Metadata field {field} is not supported")
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with self.manager.use(request.model_spec) as servable:
      for name, signature in servable.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
      response.model_spec.name = servable.name
      response.model_spec.version.value = servable.version
    response.metadata["signature_def"].Pack(signatures)
    return response

  def model_status(self, request: get_model_status_pb2.GetModelStatusRequest,
                   deadline: deadline_lib.Deadline) -> get_model_status_pb2.GetModelStatusResponse:
    """States of the version that the request names, or of all; labels are ignored."""
    del deadline
    _require_model_spec(request)
    name = request.model_spec.name
    statuses = self.manager.statuses(name)
    if request.model_spec.HasField("version"):
      version = request.model_spec.version.value
      if version not in statuses:
        raise status.not_found(f"Could not find version {version} of model {name}")
      statuses = {version: statuses[version]}
    if not statuses:
      raise status.not_found(f"Could not find any versions of model {name}")
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, one in sorted(statuses.items(), reverse=True):
      entry = response.model_version_status.add(version=version, state=int(one.state))
      entry.status.error_code = one.code.value[0]
      entry.status.error_message = one.message
    return response

  def reload(self, request: model_management_pb2.ReloadConfigRequest,
             deadline: deadline_lib.Deadline) -> model_management_pb2.ReloadConfigResponse:
    """Serves the models of the request instead, once the new ones among them are available."""
    if request.config.WhichOneof("config") != "model_config_list":
      raise status.invalid("ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
                           "currently supported")
    configs = list(request.config.model_config_list.config)
    server_config.check_models(configs)
    for config in configs:
      # At the start a folder that is not there is waited for; here someone waits for the answer.
      if config.base_path != self.manager.base_path(config.name) and not os.path.isdir(config.base_path):
        raise status.not_found(f"Could not find base path {config.base_path} for servable {config.name}")
    self.manager.configure(configs, min(_LONGEST_RELOAD, deadline.remaining()))
    response = model_management_pb2.ReloadConfigResponse()
    response.status.error_code = 0
    return response
