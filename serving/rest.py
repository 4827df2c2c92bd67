"""The REST side: predict, metadata and status under /v1/models, and the metrics, over HTTP/1.1."""

import http.server
import json
import logging
import re
import socket
import socketserver
import ssl
import threading
import time
import urllib.parse
from concurrent import futures
from typing import Optional, Tuple

import grpc
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import predict_pb2

from serving import metrics
from serving import model_api
from serving import predict
from serving import rest_json
from serving import server_config
from serving import status

_LOG = logging.getLogger(__name__)
_MODEL = r"(?i:/v1/models(?:/(?P<name>[^/:]+))?(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION = re.compile(_MODEL + r":(?P<method>classify|regress|predict))")
_STATUS = re.compile(_MODEL + r"(?:/(?P<what>metadata))?)")
_HTTP_CODES = {
    grpc.StatusCode.OK: 200, grpc.StatusCode.CANCELLED: 499, grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504, grpc.StatusCode.NOT_FOUND: 404, grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400, grpc.StatusCode.OUT_OF_RANGE: 400, grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503, grpc.StatusCode.PERMISSION_DENIED: 403, grpc.StatusCode.ABORTED: 409,
}
_IDLE_SECONDS = 30


def _error(message: str) -> Tuple[str, bytes]:
  """Content type and body."""
  return "application/json", json.dumps({"error": message}, indent=1).encode()


def _fill_model_spec(match, model_spec) -> None:
  if not match["name"]:
    raise status.invalid("Missing model name in request.")
  model_spec.name = urllib.parse.unquote(match["name"])
  if match["version"]:
    if int(match["version"]) >= 1 << 63:
      raise status.invalid(f"Failed to convert version: {match['version']} to numeric.")
    model_spec.version.value = int(match["version"])
  if match["label"]:
    model_spec.version_label = urllib.parse.unquote(match["label"])


class RestApi:
  """Bodies for paths; knows nothing of sockets."""

  def __init__(self, api: model_api.ModelApi, timeout_seconds: float, prometheus_path: Optional[str]):
    self._api = api
    self._timeout_seconds = timeout_seconds
    self._prometheus_path = prometheus_path

  def answer(self, method: str, path: str, body: bytes) -> Tuple[int, str, bytes]:
    """(HTTP status, content type, body) of a request."""
    if method == "GET" and path == self._prometheus_path:
      return 200, "text/plain", metrics.text().encode()
    if not path.lower().startswith("/v1/"):
      return 404, "text/plain", b"Not Found\n"
    try:
      return 200, "application/json", self._answer(method, path, body)
    except status.StatusError as error:
      code, message = error.code, error.message
    except Exception as problem:  # a client gets one line, the log the rest
      _LOG.exception("a request failed")
      code, message = grpc.StatusCode.INTERNAL, f"{type(problem).__name__} in the server; its log says more"
    return _HTTP_CODES.get(code, 500), *_error(message)

  def _answer(self, method: str, path: str, body: bytes) -> bytes:
    match = {"POST": _PREDICTION, "GET": _STATUS}[method].fullmatch(path) if method in ("POST", "GET") else None
    if not match:
      raise status.invalid(f"Malformed request: {method} {path}")
    if method == "POST":
      if match["method"].lower() != "predict":
        raise status.StatusError(grpc.StatusCode.UNIMPLEMENTED,
                                 f"{match['method']} is not served; predict runs every signature")
      return self._predict(match, body)
    if match["what"]:
      return self._metadata(match)
    request = get_model_status_pb2.GetModelStatusRequest()
    _fill_model_spec(match, request.model_spec)
    response = self._api.model_status(request)
    return json_format.MessageToJson(response, including_default_value_fields=True,
                                     preserving_proto_field_name=True).encode()

  def _predict(self, match, body: bytes) -> bytes:
    deadline = time.monotonic() + self._timeout_seconds
    request = predict_pb2.PredictRequest()
    _fill_model_spec(match, request.model_spec)
    document = rest_json.parse(body)
    request.model_spec.signature_name = rest_json.signature_name(document)
    name = request.model_spec.signature_name or predict.DEFAULT_SIGNATURE
    is_by_row = []

    def fill(servable) -> None:
      if name not in servable.signatures:
        raise status.invalid(f'Serving signature name: "{name}" not found in signature def')
      is_by_row.append(rest_json.fill_predict(document, servable.signatures[name].inputs, request))

    response = self._api.predict(request, deadline, "REST", fill)
    return rest_json.predictions(response.outputs, is_by_row[0])

  def _metadata(self, match) -> bytes:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    _fill_model_spec(match, request.model_spec)
    response = self._api.metadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    as_dict = {"including_default_value_fields": True, "preserving_proto_field_name": True}
    return json.dumps({"model_spec": json_format.MessageToDict(response.model_spec, **as_dict),
                       "metadata": {"signature_def": json_format.MessageToDict(signatures, **as_dict)}},
                      indent=1).encode()


class _Handler(http.server.BaseHTTPRequestHandler):
  """One request a connection."""

  protocol_version = "HTTP/1.1"  # as clients with large bodies wait for its 100 Continue
  server_version = "stic"
  timeout = _IDLE_SECONDS

  def _respond(self, code: int, content_type: str, body: bytes) -> None:
    self.send_response(code, "Client Closed Request" if code == 499 else None)
    self.send_header("Content-Type", content_type)
    self.send_header("Content-Length", str(len(body)))
    self.send_header("Connection", "close")
    self.end_headers()
    if self.command != "HEAD":
      self.wfile.write(body)
    self.close_connection = True

  def _handle(self) -> None:
    length = self.headers.get("Content-Length", "0" if self.command == "GET" else "")
    if not length.isdecimal():
      self._respond(411, *_error("Content-Length is needed"))
    elif int(length) > self.server.max_message_bytes:
      self._respond(413, *_error(f"at most {self.server.max_message_bytes} bytes"))
    else:
      body = self.rfile.read(int(length))
      if len(body) == int(length):
        path = urllib.parse.urlsplit(self.path).path
        self._respond(*self.server.rest_api.answer(self.command, path, body))

  do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_PATCH = _handle

  def log_message(self, format, *args):
    _LOG.debug(format, *args)


class RestServer(socketserver.TCPServer):
  """Has the port at once and listens after `start`. A fixed number of threads: others wait in the listen queue."""

  allow_reuse_address = True
  request_queue_size = 128

  def __init__(self, rest_api: RestApi, settings: server_config.ServerConfig):
    """Raises OSError: the address cannot be had."""
    self.rest_api = rest_api
    self.max_message_bytes = settings.max_message_bytes
    self._threads = settings.threads
    self._pool = futures.ThreadPoolExecutor(settings.threads, thread_name_prefix="rest")
    self._free = threading.Semaphore(settings.threads)
    if ":" in settings.host:
      self.address_family = socket.AF_INET6
    super().__init__((settings.host, settings.rest_port), _Handler, bind_and_activate=False)
    self.server_bind()
    if settings.tls_files:
      certificate, key, authority = settings.tls_files
      context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
      context.load_cert_chain(certificate, key)
      if authority:
        context.verify_mode = ssl.CERT_REQUIRED
      # The handshake happens at the first read, in the request's own thread.
      self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

  @property
  def port(self) -> int:
    return self.server_address[1]

  def start(self) -> None:
    self.server_activate()
    threading.Thread(target=self.serve_forever, name="rest", daemon=True).start()

  def process_request(self, request, client_address) -> None:
    self._free.acquire()
    self._pool.submit(self._process, request, client_address)

  def _process(self, request, client_address) -> None:
    try:
      request.settimeout(_IDLE_SECONDS)
      self.finish_request(request, client_address)
    except Exception as problem:  # a client that went away, or never spoke TLS
      _LOG.debug("connection from %s ended: %s", client_address, problem)
    finally:
      self.shutdown_request(request)
      self._free.release()

  def stop(self, drain_seconds: float) -> None:
    """Accepts no more and returns when requests under way have ended, or after `drain_seconds`."""
    self.shutdown()
    self.server_close()
    deadline = time.monotonic() + drain_seconds
    for _ in range(self._threads):
      if not self._free.acquire(timeout=max(0.0, deadline - time.monotonic())):
        break
    self._pool.shutdown(wait=False)
