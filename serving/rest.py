"""The REST side as an ASGI application: predict, metadata and status under /v1/models, and the metrics."""

import asyncio
import logging
import re
import threading
import urllib.parse
from concurrent import futures
from typing import Callable, Optional

import grpc
import orjson
from google.protobuf import json_format
from starlette import requests
from starlette import responses
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_pb2

from serving import deadline as deadline_lib
from serving import http_limits
from serving import metrics
from serving import model_api
from serving import playground
from serving import rest_answer
from serving import rest_body
from serving import rest_json
from serving import server_config
from serving import status

_LOG = logging.getLogger(__name__)
_MODEL = r"(?i:/v1/models(?:/(?P<name>[^/:]+))?(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION = re.compile(_MODEL + r":(?P<method>classify|regress|predict))", re.ASCII)
_STATUS = re.compile(_MODEL + r"(?:/(?P<what>metadata))?)", re.ASCII)
_HTTP_CODES = {
    grpc.StatusCode.OK: 200, grpc.StatusCode.CANCELLED: 499, grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504, grpc.StatusCode.NOT_FOUND: 404, grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400, grpc.StatusCode.OUT_OF_RANGE: 400, grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503, grpc.StatusCode.PERMISSION_DENIED: 403, grpc.StatusCode.ABORTED: 409,
}
_CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "POST, GET",
         "Access-Control-Allow-Headers": "Content-Type"}
_AS_DICT = {"including_default_value_fields": True, "preserving_proto_field_name": True}
# Bodies beyond this many bytes are read into arrays one at a time: they take memory, and the interpreter for a while.
_LARGE_BODY = 1 << 20


def _json(body: bytes, code: int = 200) -> responses.Response:
  return responses.Response(body, code, media_type="application/json")


def _model_spec(match) -> model_pb2.ModelSpec:
  if not match["name"]:
    raise status.invalid("Missing model name in request.")
  spec = model_pb2.ModelSpec(name=urllib.parse.unquote(match["name"]))
  if match["version"]:
    if len(match["version"]) > 19 or int(match["version"]) >= 1 << 63:
      raise status.invalid(f"Failed to convert version: {match['version']} to numeric.")
    spec.version.value = int(match["version"])
  if match["label"]:
    spec.version_label = urllib.parse.unquote(match["label"])
  return spec


def _path(scope) -> str:
  """The path as it was sent, as a name may hold an escaped slash; of a proxy's absolute address, its path."""
  text = scope["raw_path"].decode("ascii")
  return text if text.startswith("/") else re.sub(r"^[a-zA-Z]+://[^/]*", "", text)


class RestApp:
  """Answers requests of HTTP; each of predict has a thread, and those that wait for one are counted."""

  def __init__(self, api: model_api.ModelApi, settings: server_config.ServerConfig):
    self._api = api
    self._timeout_seconds = settings.rest_timeout_seconds
    self._prometheus_path = settings.prometheus_path
    self._has_cors = settings.has_cors
    self._page = playground.Page() if settings.has_playground else None
    self._bodies = rest_body.BodyReader(settings.max_message_bytes, settings.max_values, settings.max_held_bytes)
    self._pool = futures.ThreadPoolExecutor(settings.threads, thread_name_prefix="rest")
    self._quick = futures.ThreadPoolExecutor(2, thread_name_prefix="rest-status")
    self._free = threading.Semaphore(settings.threads + settings.max_queued_requests)
    self._large = threading.Semaphore(1)

  async def __call__(self, scope, receive, send) -> None:
    request = requests.Request(scope, receive)
    try:
      response = await self._answer(request)
    except status.StatusError as error:
      response = _json(http_limits.error_body(error.details), _HTTP_CODES.get(error.code, 500))
    except rest_body.HttpError as error:
      response = _json(http_limits.error_body(error.message), error.code)
    except requests.ClientDisconnect:
      return
    except Exception as problem:  # a client gets one line, the log the rest
      _LOG.exception("a request failed")
      response = _json(http_limits.error_body(f"{type(problem).__name__} in the server; its log says more"), 500)
    if self._has_cors:
      response.headers.update(_CORS)
    await response(scope, receive, send)

  async def _answer(self, request: requests.Request) -> responses.Response:
    path = _path(request.scope)
    if request.method == "OPTIONS" and self._has_cors and "origin" in request.headers:
      return responses.Response()
    if request.method == "GET" and path == self._prometheus_path:
      return responses.Response(await self._quickly(lambda: metrics.text().encode()), media_type="text/plain")
    if self._page and request.method == "GET":
      if path == playground.PAGE_PATH:
        return responses.Response(self._page.body, media_type="text/html", headers=self._page.headers)
      if path == playground.MODELS_PATH:
        return _json(orjson.dumps({"models": self._api.manager.names()}))
    if not path.lower().startswith("/v1/"):
      raise rest_body.HttpError(404, "Not Found")
    match = (_PREDICTION if request.method == "POST" else _STATUS).fullmatch(path)
    if match is None or request.method not in ("GET", "POST"):
      raise status.invalid(f"Malformed request: {request.method} {path}")
    if request.method == "GET":
      return _json(await self._quickly(lambda: self._metadata(match) if match["what"] else self._status(match)))
    if match["method"].lower() != "predict":
      raise status.StatusError(grpc.StatusCode.UNIMPLEMENTED,
                               f"{match['method']} is not served; predict runs every signature")
    deadline = deadline_lib.Deadline(self._timeout_seconds)
    spec = _model_spec(match)
    body = await self._bodies.read(request, deadline)
    try:
      return _json(await self._run(request, deadline, lambda: self._predict(spec, body, deadline)))
    finally:
      self._bodies.release(body)

  def _quickly(self, answer: Callable):
    """On threads of its own, so that these answer while every other one draws."""
    return asyncio.get_running_loop().run_in_executor(self._quick, answer)

  async def _run(self, request: requests.Request, deadline: deadline_lib.Deadline, answer: Callable) -> bytes:
    """`answer` on a thread, unless the client leaves before it has one; what it waits for then ends."""
    if not self._free.acquire(blocking=False):
      raise status.StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
    future = self._pool.submit(answer)
    future.add_done_callback(lambda _: self._free.release())
    run = asyncio.wrap_future(future)
    departure = asyncio.ensure_future(request.receive())
    try:
      await asyncio.wait({run, departure}, return_when=asyncio.FIRST_COMPLETED)
      if run.done():
        return run.result()
      raise requests.ClientDisconnect()
    finally:
      departure.cancel()
      if not run.done():
        deadline.end()
        run.cancel()
      # An error holds this frame, which must not hold the error: a ring keeps the whole request until it is collected.
      del future, run

  def _predict(self, spec: model_pb2.ModelSpec, body: bytearray, deadline: deadline_lib.Deadline) -> bytes:
    is_by_row = False

    def read(signature):
      nonlocal is_by_row
      arrays, is_by_row = rest_json.inputs(document, signature)
      return arrays

    with _Turn(self._large if len(body) > _LARGE_BODY else None, deadline) as turn:
      document = rest_json.parse(body)
      name = rest_json.signature_name(document)
      outputs = self._api.predict_arrays(spec, name, lambda signature: turn.last(read(signature)), deadline, "REST")
    return rest_answer.body(outputs, is_by_row)

  def _status(self, match) -> bytes:
    response = self._api.model_status(get_model_status_pb2.GetModelStatusRequest(model_spec=_model_spec(match)),
                                      deadline_lib.Deadline())
    return orjson.dumps(json_format.MessageToDict(response, **_AS_DICT))

  def _metadata(self, match) -> bytes:
    response = self._api.metadata(get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=_model_spec(match), metadata_field=["signature_def"]), deadline_lib.Deadline())
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    return orjson.dumps({"model_spec": json_format.MessageToDict(response.model_spec, **_AS_DICT),
                         "metadata": {"signature_def": json_format.MessageToDict(signatures, **_AS_DICT)}})


class _Turn:
  """A place in the row of large bodies, given up once the body has become arrays; none where there is no row."""

  def __init__(self, row: Optional[threading.Semaphore], deadline: deadline_lib.Deadline):
    self._row, self._deadline = row, deadline

  def __enter__(self) -> "_Turn":
    if self._row is not None and not self._row.acquire(timeout=self._deadline.timeout()):
      self._row = None
      raise status.timed_out()
    if self._deadline.is_over():
      self.last(None)
      raise status.timed_out()
    return self

  def last(self, value):
    """Gives the place up."""
    if self._row is not None:
      self._row.release()
      self._row = None
    return value

  def __exit__(self, *unused) -> None:
    self.last(None)
