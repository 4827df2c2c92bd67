"""REST: predict by row and by column, metadata, status, metrics, and what wrong requests get."""

import http.client
import json
import urllib.error
import urllib.request

import numpy as np
import pytest

from serving import versions
from tests.serving import running_server
from tests.serving import small_models


def _call(served, path, body=None, method=None):
  """(HTTP status, parsed JSON or text)."""
  data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
  request = urllib.request.Request(served.rest + path, data, method=method)
  try:
    with urllib.request.urlopen(request, timeout=30) as response:
      code, kind, text = response.status, response.headers["Content-Type"], response.read()
  except urllib.error.HTTPError as error:
    code, kind, text = error.code, error.headers["Content-Type"], error.read()
  return code, json.loads(text) if kind == "application/json" else text.decode()


def _predict(served, body, where="m"):
  return _call(served, f"/v1/models/{where}:predict", body)


@pytest.mark.parametrize("where", ["m", "m/versions/1", "%6D"])
def test_rows(served, where):
  assert _predict(served, {"instances": [1.0, 2.5]}, where) == (
      200, {"predictions": [{"y": 2.0, "z": 2.0}, {"y": 3.5, "z": 5.0}]})


def test_the_version_is_chosen_once(served, monkeypatch):
  """A hot swap between two choices would read the body by one version's signature and answer with another's."""
  choose, chosen = versions.VersionManager._resolve, []

  def counted(manager, model_spec):
    chosen.append(choose(manager, model_spec).version)
    return choose(manager, model_spec)

  monkeypatch.setattr(versions.VersionManager, "_resolve", counted)
  assert _predict(served, {"instances": [1.0]})[0] == 200
  assert chosen == [1]


def test_rows_of_several_inputs(served):
  body = {"signature_name": "pair", "instances": [{"x": 1, "w": 2}, {"x": 3, "w": 4}]}
  assert _predict(served, body) == (200, {"predictions": [2.0, 12.0]})


def test_columns(served):
  assert _predict(served, {"inputs": [[1.0, 2.0], [3.0, 4.0]]}) == (
      200, {"outputs": {"y": [[2.0, 3.0], [4.0, 5.0]], "z": [[2.0, 4.0], [6.0, 8.0]]}})
  assert _predict(served, {"signature_name": "pair", "inputs": {"x": [2], "w": [3]}}) == (200, {"outputs": [6.0]})
  assert _predict(served, {"signature_name": "total", "inputs": [2, 3]}) == (200, {"outputs": 5.0})


def test_a_float_is_the_shortest_that_is_the_same(served):
  _, answer = _predict(served, {"inputs": [0.1, float("nan"), float("inf"), 3e38]})
  z = answer["outputs"]["z"]
  assert z[0] == 0.2 and np.isnan(z[1]) and z[2:] == [float("inf"), float("inf")]


def test_strings_and_bytes(served):
  body = {"signature_name": "text", "instances": ["é", {"b64": "AP8="}]}
  assert _predict(served, body) == (200, {"predictions": [
      {"raw_bytes": {"b64": "w6k="}, "size": 2, "text": "é!"},
      {"raw_bytes": {"b64": "AP8="}, "size": 2, "text": "\x00�!"}]})


def test_integers_bools_and_halves(served):
  assert _predict(served, {"signature_name": "image", "instances": [[0, 5]]}) == (200, {"predictions": [
      {"flag": [False, True], "half": [0.0, 5.0], "long": [0, 5], "u": [255, 250]}]})


@pytest.mark.parametrize("body, message", [
    (b"", "JSON Parse error: The document is empty"),
    (b"{", "JSON Parse error: "),
    (b"\xff", "JSON Parse error: "),
    (b"[" * 100_000, "JSON Parse error: array and object recursion depth exceeded"),
    (b"[NaN" + b"[" * 100_000, "JSON Parse error: "),
    (b'{"inputs": 1e400}', "JSON Parse error: number is infinity"),
    (b'{"inputs": [NaN, 1e400]}', "JSON Parse error: number is infinity"),
    (b'{"inputs": [NaN, -1e400]}', "JSON Parse error: number is infinity"),
    (b'{"signature_name": "\\ud800", "inputs": 1}', "JSON Parse error: no low surrogate"),
    (b'{"signature_name": "\\ud800", "inputs": NaN}', "JSON Parse error: half of a surrogate pair"),
    ({"signature_name": "__saved_model_init_op", "inputs": 1}, "Expected prediction signature method_name to be one"),
    ({"signature_name": "image", "inputs": [[1, 2, 3]]},
     "Shape of input u [1,3] is not compatible with expected shape [?,2]"),
    ({"signature_name": "image", "instances": [["a"] * 3]},
     "Shape of input u [1,3] is not compatible with expected shape [?,2]"),
    (b'{"inputs": 1' + b"0" * 5000 + b"}", "JSON Parse error: "),
    ([1], "JSON Value: [1] Is not object"),
    ({}, "Missing 'inputs' or 'instances' key"),
    ({"inputs": [1], "instances": [1]}, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys"),
    ({"instances": 1}, "Excepting 'instances' to be an list/array"),
    ({"instances": []}, "No values in 'instances' array"),
    ({"instances": [1, "a"]}, 'JSON Value: "a" Type: String is not of expected type: float'),
    ({"instances": [1, True]}, "JSON Value: true Type: True is not of expected type: float"),
    ({"instances": [1, None]}, "JSON Value: null Type: Null is not of expected type: float"),
    ({"instances": [[1, 2], [3]]}, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
    ({"instances": [1, [2]]}, "Encountered list at unexpected level: 1 expected < 1"),
    ({"instances": [[1], 2]}, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    ({"instances": [1e39]}, "Cannot convert JSON value: 1e+39 to float32 without loss of precision."),
    ({"instances": [16777217]}, "Cannot convert JSON value: 16777217 to float32 without loss of precision."),
    ({"instances": [{"y": 1}]}, "keys must be equal to: x"),
    ({"signature_name": 3, "inputs": 1}, "'signature_name' key must be a string value."),
    ({"signature_name": "nope", "inputs": 1}, 'Serving signature name: "nope" not found in signature def'),
    ({"signature_name": "pair", "instances": [1]}, "instances is a plain list, but expecting list of objects"),
    ({"signature_name": "pair", "inputs": [1]}, "inputs is a plain value/list, but expecting an object"),
    ({"signature_name": "pair", "inputs": {"x": [1]}}, "Missing named input: w in 'inputs' object."),
    ({"signature_name": "image", "inputs": [[256, 0]]}, "JSON Value: 256 Type: Number is not of expected type: uint8"),
    ({"signature_name": "image", "inputs": [[0.5, 0]]}, "JSON Value: 0.5 Type: Number is not of expected type: uint8"),
    ({"signature_name": "text", "inputs": [{"b64": "?"}]}, "Unable to base64 decode"),
    ({"signature_name": "total", "instances": [1]}, "Tensor name: y has no shape information"),
    ({"signature_name": "pair", "inputs": {"x": [1, 2], "w": [1, 2, 3]}}, "Incompatible shapes"),
], ids=lambda value: str(value)[:40])
def test_bodies_that_cannot_be_answered(served, body, message):
  code, answer = _predict(served, body)
  assert code == 400 and message in answer["error"]


@pytest.mark.parametrize("path, body, code, message", [
    ("/v1/models/zz:predict", {"inputs": 1}, 404, "Servable not found for request: Latest(zz)"),
    ("/v1/models/m/versions/7:predict", {"inputs": 1}, 404, "Servable not found for request: Specific(m, 7)"),
    ("/v1/models/m/versions/99999999999999999999:predict", {"inputs": 1}, 400,
     "Failed to convert version: 99999999999999999999 to numeric."),
    ("/v1/models/m/labels/prod:predict", {"inputs": 1}, 400, "Unrecognized servable version label: prod"),
    ("/v1/models", None, 400, "Missing model name in request."),
    ("/v1/models/zz", None, 404, "Could not find any versions of model zz"),
    ("/v1/models/m/versions/7", None, 404, "Could not find version 7 of model m"),
    ("/v1/models/zz/metadata", None, 404, "Servable not found for request: Latest(zz)"),
    ("/v1/models/m:predict", None, 400, "Malformed request: GET /v1/models/m:predict"),
    ("/v1/models/m", {}, 400, "Malformed request: POST /v1/models/m"),
    ("/v1/models/m:guess", {}, 400, "Malformed request: POST /v1/models/m:guess"),
    ("/v1/models/m:classify", {}, 501, "classify is not served; predict runs every signature"),
])
def test_paths(served, path, body, code, message):
  assert _call(served, path, body) == (code, {"error": message})


def test_a_run_has_a_time_limit(tmp_path, version_folder):
  """A server of its own: on a busy machine a limit that is short enough to wait for refuses what is right too."""
  small_models.copy(version_folder, str(tmp_path / "1"))
  body = {"signature_name": "loop", "instances": [small_models.FOREVER]}
  flags = "--model_name=m", f"--model_base_path={tmp_path}", "--rest_api_timeout_in_ms=300"
  with running_server.in_process(*flags) as own:
    assert _predict(own, body) == (504, {"error": "Timed out waiting for notification"})


def test_status_and_metadata(served):
  expected = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
  for path in ("/v1/models/m", "/v1/models/m/versions/1", "/V1/Models/m?x=1"):
    assert _call(served, path) == (200, {"model_version_status": [expected]})
  code, answer = _call(served, "/v1/models/m/metadata")
  assert code == 200 and answer["model_spec"]["name"] == "m" and answer["model_spec"]["version"] == "1"
  signatures = answer["metadata"]["signature_def"]["signature_def"]
  assert "__saved_model_init_op" in signatures
  assert signatures["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"


def test_metrics(served):
  def requests():
    _, text = _call(served, "/monitoring/prometheus/metrics")
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return [int(lines.get(f':tensorflow:serving:request_count{{model_name="{name}",status="{code}"}}', 0))
            for name, code in (("m", "OK"), ("m", "FAILED_PRECONDITION"), ("", "NOT_FOUND"))], text

  before, _ = requests()
  _predict(served, {"inputs": 1})
  for request in (small_models.predict_request("nope"), small_models.predict_request(model="made up")):
    with pytest.raises(Exception, match="not found"):
      served.prediction.Predict(request)
  after, text = requests()
  assert [new - old for new, old in zip(after, before)] == [1, 1, 1]
  assert "made up" not in text  # names that clients invent would fill the memory
  assert ':tensorflow:serving:request_latency_bucket{model_name="m",API="Predict",entrypoint="REST",le="+Inf"}' in text
  for line in text.splitlines():
    assert line.startswith("# TYPE ") or float(line.rsplit(" ", 1)[1]) >= 0


def test_what_http_itself_refuses(served):
  host = served.rest.split("//")[1]
  for headers, code in (({"Content-Length": "9999999"}, 413), ({"Content-Length": "9" * 5000}, 400),
                        ({"Content-Length": "1", "Content-Encoding": "br"}, 415), ({"X": "x" * 2_000_000}, 431),
                        ({"Transfer-Encoding": "odd"}, 501)):
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.putrequest("POST", "/v1/models/m:predict")
    for name, value in headers.items():
      connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, list(json.load(response))) == (code, ["error"])
    assert response.headers["Content-Type"] == "application/json"
    connection.close()
  assert _call(served, "/")[0] == 404
  assert _call(served, "/v1/models/m", b"{}", "DELETE")[0] == 400


@pytest.mark.parametrize("body", [b"[" * 1010 + b"]" * 1010,
                                  b'{"instances": ' + b"[" * 1010 + b"]" * 1010 + b"}"], ids=["alone", "instances"])
def test_a_body_nested_as_deep_as_may_be_is_refused_in_words(served, body):
  """orjson takes 1024 levels, which Python's own writer does not write again."""
  code, answer = _predict(served, body)
  assert code == 400 and set(answer) == {"error"} and len(answer["error"]) < 600
