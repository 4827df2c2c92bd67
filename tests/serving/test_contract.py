"""Codes and messages of tensorflow_model_server, letter for letter, as read in its source at 2.15.1."""

import re

import grpc
import numpy as np
import pytest
from google.protobuf import wrappers_pb2
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import regression_pb2

from tests.serving import running_server
from tests.serving import small_models

_X = np.float32([1, 2])
_INVALID = grpc.StatusCode.INVALID_ARGUMENT


def _predict(signature="", label="", broken=None, **options):
  request = small_models.predict_request(signature, **options)
  if label:
    request.model_spec.version_label = label
  if broken:
    request.inputs[broken].tensor_content = b"odd"
  return request


def _no_spec():
  request = _predict(x=_X)
  request.ClearField("model_spec")
  return request


PREDICT = {
    "no spec": (_no_spec(), _INVALID, "Missing ModelSpec"),
    "no name": (_predict(model="", x=_X), _INVALID, "ModelSpec has no name specified."),
    "model": (_predict(model="zz", x=_X), grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(zz)"),
    "version": (_predict(version=7, x=_X), grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(m, 7)"),
    "label": (_predict(label="prod", x=_X), _INVALID, "Unrecognized servable version label: prod"),
    "signature": (_predict("nope", x=_X), grpc.StatusCode.FAILED_PRECONDITION,
                  'Serving signature key "nope" not found.'),
    "extra": (_predict(x=_X, y=_X), _INVALID,
              "input size does not match signature: 2!=1 len({x,y}) != len({x}). Sent extra: {y}. "
              "Missing but required: {}."),
    "missing": (_predict("pair", x=_X), _INVALID,
                "input size does not match signature: 1!=2 len({x}) != len({w,x}). Sent extra: {}. "
                "Missing but required: {w}."),
    "none": (_predict(), _INVALID, "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
                                   "Missing but required: {x}."),
    "name": (_predict(q=_X), _INVALID,
             "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value "
             "provided. Inputs expected to be in the request {q}, or default input alias set: "),
    "tensor": (_predict(broken="x", x=_X), _INVALID, "tensor parsing error: x"),
    "dtype": (_predict(x=np.array([True])), _INVALID, "Expects arg[0] to be float but bool is provided"),
    "filter": (_predict(x=_X, output_filter=["zz"]), _INVALID,
               "output tensor alias not found in signature: zz Outputs expected to be in the set {y,z}."),
    "filter twice": (_predict(x=_X, output_filter=["y", "y"]), _INVALID, "duplicate output tensor alias: y"),
    # The order of the checks: each of these is wrong in a later way too.
    "spec before servable": (_predict("nope", model="", x=_X), _INVALID, "ModelSpec has no name specified."),
    "servable before signature": (_predict("nope", model="zz"), grpc.StatusCode.NOT_FOUND,
                                  "Servable not found for request: Latest(zz)"),
    "signature before inputs": (_predict("nope", q=_X, y=_X), grpc.StatusCode.FAILED_PRECONDITION,
                                'Serving signature key "nope" not found.'),
    "inputs before filter": (_predict(broken="x", x=_X, output_filter=["zz"]), _INVALID, "tensor parsing error: x"),
    "filter before run": (_predict(x=np.array([True]), output_filter=["zz"]), _INVALID,
                          "output tensor alias not found in signature: zz Outputs expected to be in the set {y,z}."),
}


@pytest.mark.parametrize("case", PREDICT)
def test_predict_errors(served, case):
  request, code, message = PREDICT[case]
  error = running_server.error_of(served.prediction.Predict, request)
  assert (error.code(), error.details()) == (code, message)


def test_mismatched_batch_sizes_are_answered_by_the_runtime(served):
  error = running_server.error_of(served.prediction.Predict,
                                  _predict("pair", x=np.float32([1, 2]), w=np.float32([1, 2, 3])))
  assert error.code() == _INVALID
  assert re.match(r"Incompatible shapes: \[\d\] vs. \[\d\]", error.details())


def test_long_messages_are_cut(served):
  error = running_server.error_of(served.prediction.Predict, _predict("n" * 3000))
  assert error.details() == ('Serving signature key "' + "n" * 3000)[:1024] + "...TRUNCATED"


def test_the_initialisation_cannot_be_called(served):
  error = running_server.error_of(served.prediction.Predict, _predict("__saved_model_init_op"))
  assert error.details() == (
      "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
      "tensorflow/serving/classify, tensorflow/serving/regress}. Was: ")


@pytest.mark.parametrize("version", [None, 1])
def test_the_answer_names_what_was_run(served, version):
  response = served.prediction.Predict(_predict(x=_X, version=version))
  assert (response.model_spec.name, response.model_spec.signature_name) == ("m", "serving_default")
  assert response.model_spec.version.value == 1
  outputs = small_models.arrays(response)
  np.testing.assert_array_equal(outputs["y"], [2, 3])
  np.testing.assert_array_equal(outputs["z"], [2, 4])


def test_a_filter_chooses_outputs(served):
  response = served.prediction.Predict(_predict(x=_X, output_filter=["z"]))
  assert list(response.outputs) == ["z"]


def test_outputs_come_in_typed_fields(served):
  outputs = served.prediction.Predict(_predict("image", u=np.uint8([[0, 5]]))).outputs
  assert list(outputs["u"].int_val) == [255, 250] and not outputs["u"].tensor_content
  assert list(outputs["long"].int64_val) == [0, 5]
  assert list(outputs["flag"].bool_val) == [False, True]
  assert small_models.arrays(served.prediction.Predict(_predict("image", u=np.uint8([[0, 5]]))))["half"].tolist() == [
      [0.0, 5.0]]
  texts = served.prediction.Predict(_predict("text", text=[b"a", b"\xff"])).outputs["text"].string_val
  assert list(texts) == [b"a!", b"\xff!"]


def test_a_deadline_of_the_client(served):
  error = running_server.error_of(served.prediction.Predict,
                                  _predict("loop", n=np.int32([small_models.FOREVER])), timeout=0.2)
  assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def _metadata(*fields, name="m", has_spec=True):
  request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
  if has_spec:
    request.model_spec.name = name
  return request


@pytest.mark.parametrize("request_, code, message", [
    (_metadata(has_spec=False), _INVALID, "Missing ModelSpec"),
    (_metadata(), _INVALID, "GetModelMetadataRequest must specify at least one metadata_field"),
    (_metadata("foo"), _INVALID, "Metadata field foo is not supported"),
    (_metadata("signature_def", name=""), _INVALID, "ModelSpec has no name specified."),
    (_metadata("signature_def", name="zz"), grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(zz)"),
])
def test_metadata_errors(served, request_, code, message):
  error = running_server.error_of(served.prediction.GetModelMetadata, request_)
  assert (error.code(), error.details()) == (code, message)


def test_metadata(served):
  response = served.prediction.GetModelMetadata(_metadata("signature_def"))
  assert (response.model_spec.name, response.model_spec.version.value) == ("m", 1)
  assert response.model_spec.signature_name == ""
  signatures = get_model_metadata_pb2.SignatureDefMap()
  assert response.metadata["signature_def"].Unpack(signatures)
  assert "__saved_model_init_op" in signatures.signature_def
  assert set(signatures.signature_def["serving_default"].outputs) == {"y", "z"}


def _status(name="m", version=None, label=None, has_spec=True):
  request = get_model_status_pb2.GetModelStatusRequest()
  if has_spec:
    request.model_spec.name = name
  if version is not None:
    request.model_spec.version.CopyFrom(wrappers_pb2.Int64Value(value=version))
  if label:
    request.model_spec.version_label = label
  return request


@pytest.mark.parametrize("request_, code, message", [
    (_status(has_spec=False), _INVALID, "Missing ModelSpec"),
    (_status(version=7), grpc.StatusCode.NOT_FOUND, "Could not find version 7 of model m"),
    (_status("q"), grpc.StatusCode.NOT_FOUND, "Could not find any versions of model q"),
])
def test_status_errors(served, request_, code, message):
  error = running_server.error_of(served.model.GetModelStatus, request_)
  assert (error.code(), error.details()) == (code, message)


@pytest.mark.parametrize("request_", [_status(), _status(version=1), _status(label="ignored")])
def test_status(served, request_):
  one, = served.model.GetModelStatus(request_).model_version_status
  assert (one.version, one.state, one.status.error_code, one.status.error_message) == (1, 30, 0, "")


def _reload(*configs):
  request = model_management_pb2.ReloadConfigRequest()
  for name, path, platform in configs:
    request.config.model_config_list.config.add(name=name, base_path=path, model_platform=platform)
  return request


@pytest.mark.parametrize("request_, message", [
    (model_management_pb2.ReloadConfigRequest(),
     "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"),
    (_reload(("m", "/a", "tensorflow"), ("m", "/b", "tensorflow")),
     "Illegal to list model m multiple times in config list"),
    (_reload(("m", "a/b", "tensorflow")),
     "Expected model m to have an absolute path or URI; got base_path()=a/b"),
    (_reload(("m", "/a", "")),
     "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."),
    (_reload(("m", "/a", "other")), "Model m requests unsupported platform other"),
])
def test_reload_errors(served, request_, message):
  error = running_server.error_of(served.model.HandleReloadConfigRequest, request_)
  assert (error.code(), error.details()) == (_INVALID, message)
  assert served.states()[1][0] == 30


@pytest.mark.parametrize("method, request_", [
    ("Classify", classification_pb2.ClassificationRequest()), ("Regress", regression_pb2.RegressionRequest()),
    ("MultiInference", inference_pb2.MultiInferenceRequest())])
def test_methods_of_examples_are_not_there(served, method, request_):
  error = running_server.error_of(getattr(served.prediction, method), request_)
  assert (error.code(), error.details()) == (
      grpc.StatusCode.UNIMPLEMENTED, f"{method} is not served; Predict runs every signature")


@pytest.mark.parametrize("name", ["", "PredictionService", "ModelService"])
def test_health(served, name):
  stub = health_pb2_grpc.HealthStub(served.channel)
  assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING


def test_a_name_that_is_no_service_is_not_watched(served):
  """The library's own servicer would keep it for ever."""
  stub = health_pb2_grpc.HealthStub(served.channel)
  watched = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=60)
  assert [answer.status for answer in watched] == [health_pb2.HealthCheckResponse.SERVICE_UNKNOWN]
  known = stub.Watch(health_pb2.HealthCheckRequest(service="ModelService"), timeout=60)
  assert next(known).status == health_pb2.HealthCheckResponse.SERVING
  known.cancel()


def test_a_message_above_the_limit_is_refused(served):
  error = running_server.error_of(served.prediction.Predict, _predict(x=np.zeros(300_000, np.float32)))
  assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_short_message_cannot_ask_for_a_huge_tensor(served):
  request = _predict(x=np.float32(1))
  request.inputs["x"].tensor_shape.dim.add(size=10 ** 9)
  error = running_server.error_of(served.prediction.Predict, request)
  assert (error.code(), error.details()) == (_INVALID, "tensor parsing error: x")
