"""What the server answers, whichever way a request came: gRPC (grpc_server.py) and REST (rest.py) both call this."""

import time
from typing import Callable, Optional

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import predict_pb2

from serving import metrics
from serving import predict
from serving import server_config
from serving import status
from serving import versions

_COUNTS = metrics.Counter(":tensorflow:serving:request_count", ("model_name", "status"))
_LATENCIES = metrics.Histogram(":tensorflow:serving:request_latency", ("model_name", "API", "entrypoint"),
                               metrics.MICROSECONDS)
_LONGEST_RELOAD = 600.0


def run_alone(servable, feeds, fetches, deadline: Optional[float]):
  """A predict.Run that runs the request by itself."""
  return servable.runner.run(feeds, fetches, None if deadline is None else deadline - time.monotonic())


def _require_model_spec(request) -> None:
  if not request.HasField("model_spec"):
    raise status.invalid("Missing ModelSpec")


class ModelApi:
  """Each method takes a request message and raises StatusError. Deadlines are on the monotonic clock, None for none."""

  def __init__(self, manager: versions.VersionManager, run: predict.Run, max_message_bytes: int):
    self.manager = manager
    self._run = run
    self._max_message_bytes = max_message_bytes

  def _measured(self, request, api: str, entrypoint: str, answer: Callable):
    """`answer` of the version the request names, counted under the model's name if there is such a model."""
    _require_model_spec(request)
    start, code = time.monotonic(), grpc.StatusCode.INTERNAL
    name = request.model_spec.name
    name = name if self.manager.is_configured(name) else ""
    try:
      with self.manager.use(request.model_spec) as servable:
        response = answer(servable)
      code = grpc.StatusCode.OK
      _LATENCIES.add((name, api, entrypoint), 1e6 * (time.monotonic() - start))
      return response
    except status.StatusError as error:
      code = error.code
      raise
    finally:
      _COUNTS.add((name, code.name))

  def predict(self, request: predict_pb2.PredictRequest, deadline: Optional[float] = None, entrypoint: str = "GRPC",
              fill: Callable = lambda servable: None) -> predict_pb2.PredictResponse:
    """Runs a signature of the version that the request names, once `fill` of that version has completed the request."""

    def answer(servable):
      fill(servable)
      return predict.predict(servable, request, self._run, deadline, self._max_message_bytes)

    return self._measured(request, "Predict", entrypoint, answer)

  def metadata(self, request: get_model_metadata_pb2.GetModelMetadataRequest,
               deadline: Optional[float] = None) -> get_model_metadata_pb2.GetModelMetadataResponse:
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
                   deadline: Optional[float] = None) -> get_model_status_pb2.GetModelStatusResponse:
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
             deadline: Optional[float] = None) -> model_management_pb2.ReloadConfigResponse:
    """Serves the models of the request instead, once the new ones among them are available."""
    if request.config.WhichOneof("config") != "model_config_list":
      raise status.invalid("ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
                           "currently supported")
    configs = list(request.config.model_config_list.config)
    server_config.check_models(configs)
    seconds = _LONGEST_RELOAD if deadline is None else min(_LONGEST_RELOAD, deadline - time.monotonic())
    self.manager.configure(configs, seconds)
    response = model_management_pb2.ReloadConfigResponse()
    response.status.error_code = 0
    return response
