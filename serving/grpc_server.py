"""The gRPC side: tensorflow.serving.PredictionService, tensorflow.serving.ModelService and grpc.health.v1.Health."""

import logging
import threading
from concurrent import futures
from typing import Callable, Optional

import grpc
from google.protobuf import message as protobuf_message
from grpc_health.v1 import health
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import regression_pb2

from serving import admission
from serving import deadline as deadline_lib
from serving import flag_error
from serving import model_api
from serving import server_config
from serving import status

_LOG = logging.getLogger(__name__)
# Beyond this, gRPC's time_remaining stands for "no deadline".
_LONGEST_DEADLINE = 1e8
_SERVICES = ("PredictionService", "ModelService")
# What is answered while the queue is full, and how many of these, refusals included, may be there at a time.
_QUICK_METHODS = ("/tensorflow.serving.PredictionService/GetModelMetadata",
                  "/tensorflow.serving.ModelService/GetModelStatus", "/grpc.health.v1.Health/Check",
                  "/grpc.health.v1.Health/Watch")
_MOST_QUICK = 256


def deadline_of(context) -> deadline_lib.Deadline:
  """The call's deadline, which a cancelled call has reached."""
  remaining = context.time_remaining()
  deadline = deadline_lib.Deadline(None if remaining is None or remaining > _LONGEST_DEADLINE else remaining)
  if not context.add_callback(deadline.end):
    deadline.end()
  return deadline


def _parser(request_class) -> Callable:
  """(request,), or (None,) for bytes that are none: to an exception gRPC itself would answer INTERNAL."""

  def parse(data: bytes):
    try:
      return (request_class.FromString(data),)
    except protobuf_message.DecodeError:
      return (None,)

  return parse


def _handler(request_class, answer: Callable, pool: Optional[futures.ThreadPoolExecutor] = None):
  """The gRPC handler of one method; `answer` takes (request, deadline) and raises StatusError."""

  def behavior(parsed, context):
    request, = parsed
    try:
      if request is None:
        raise status.invalid(f"the request is not a {request_class.DESCRIPTOR.full_name}")
      return answer(request, deadline_of(context))
    except status.StatusError as error:
      code, details = error.code, error.details
    except Exception as problem:  # a client gets one line, the log the rest
      _LOG.exception("a request failed")
      code, details = grpc.StatusCode.INTERNAL, f"{type(problem).__name__} in the server; its log says more"
    return context.abort(code, details)

  if pool:
    behavior.experimental_thread_pool = pool
  return grpc.unary_unary_rpc_method_handler(behavior, request_deserializer=_parser(request_class),
                                             response_serializer=lambda response: response.SerializeToString())


def _not_served(method: str) -> Callable:
  """The answer of a method whose signatures take tf.Examples, as no export's do."""

  def answer(request, deadline):
    del request, deadline
    raise status.StatusError(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not served; Predict runs every signature")

  return answer


class _Health(health.HealthServicer):
  """The health service, which answers from threads of its own."""

  def __init__(self, pool: futures.ThreadPoolExecutor):
    super().__init__(experimental_non_blocking=True, experimental_thread_pool=pool)
    # The parent does this for its Watch.
    self.Check.__func__.experimental_thread_pool = pool

  def Check(self, request, context):
    return super().Check(request, context)

  def Watch(self, request, context, send_response_callback=None):
    """As the parent's, which would keep every name that it is ever asked for: of one that is none the stream ends."""
    if request.service in ("", *_SERVICES) or send_response_callback is None:
      return super().Watch(request, context, send_response_callback)
    send_response_callback(health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN))
    send_response_callback(None)
    return None


class GrpcServer:
  """A gRPC server that is not listening before `start`."""

  def __init__(self, api: model_api.ModelApi, settings: server_config.ServerConfig):
    # Their own threads, so that they answer while every other one draws.
    quick = futures.ThreadPoolExecutor(4, thread_name_prefix="status")
    self._settings = settings
    self._health = _Health(quick)
    pool = admission.CountedPool(settings.threads, settings.max_queued_requests)
    most = settings.threads + settings.max_queued_requests + _MOST_QUICK
    self._server = grpc.server(
        pool, interceptors=[admission.Admission(pool, quick, _QUICK_METHODS)],
        maximum_concurrent_rpcs=most,
        # Streams that watch are counted by the first option alone, of a connection. Without the last one two servers
        # would share a port and each get some of the calls.
        options=[("grpc.max_concurrent_streams", most),
                 ("grpc.max_receive_message_length", settings.max_message_bytes),
                 ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)])
    self._server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", {
            "Predict": _handler(predict_pb2.PredictRequest, api.predict),
            "Classify": _handler(classification_pb2.ClassificationRequest, _not_served("Classify")),
            "Regress": _handler(regression_pb2.RegressionRequest, _not_served("Regress")),
            "MultiInference": _handler(inference_pb2.MultiInferenceRequest, _not_served("MultiInference")),
            "GetModelMetadata": _handler(get_model_metadata_pb2.GetModelMetadataRequest, api.metadata, quick)}),
        grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", {
            "GetModelStatus": _handler(get_model_status_pb2.GetModelStatusRequest, api.model_status, quick),
            "HandleReloadConfigRequest": _handler(model_management_pb2.ReloadConfigRequest, api.reload)})))
    if settings.has_health_service:
      health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

  def start(self) -> int:
    """Listens.

    Returns:
      The port.

    Raises:
      FlagError: the address cannot be had.
    """
    settings = self._settings
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.port}"
    try:
      port = self._listen(address)
    except RuntimeError as problem:  # someone was quicker than we, between the reservation and now
      raise flag_error.FlagError(f"--port={settings.port}: cannot be had on {settings.host}") from problem
    self._server.start()
    for name in ("", *_SERVICES):
      self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
    return port

  def _listen(self, address: str) -> int:
    settings = self._settings
    if not settings.tls_key:
      return self._server.add_insecure_port(address)
    credentials = grpc.ssl_server_credentials(
        [(settings.tls_key, settings.tls_certificate)], root_certificates=settings.tls_client_authority,
        require_client_auth=settings.tls_client_authority is not None)
    return self._server.add_secure_port(address, credentials)

  def stop(self, drain_seconds: float) -> threading.Event:
    """Refuses new calls at once; the event is set when those under way have ended, or after `drain_seconds`."""
    self._health.enter_graceful_shutdown()
    return self._server.stop(drain_seconds)
