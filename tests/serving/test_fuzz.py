"""Thousands of malformed requests: none crashes the server, none is answered INTERNAL, and it serves on."""

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2

from tests.serving import small_models

_METHODS = ("PredictionService/Predict", "PredictionService/Classify", "PredictionService/Regress",
            "PredictionService/GetModelMetadata", "ModelService/GetModelStatus",
            "ModelService/HandleReloadConfigRequest")
_SIGNATURES = ("", "serving_default", "pair", "total", "positive", "text", "image", "nope", "é\n")
# What a request may rightly or wrongly get; INTERNAL, UNKNOWN and a lost connection are what must not be.
_ALLOWED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED}


def _wrong_request(random) -> predict_pb2.PredictRequest:
  """A request with any number of things wrong."""
  request = predict_pb2.PredictRequest()
  if random.random() < 0.95:
    request.model_spec.name = str(random.choice(["m", "m", "m", "m", "m", "m", "", "zz"]))
    request.model_spec.signature_name = str(random.choice(_SIGNATURES))
    if random.random() < 0.1:
      request.model_spec.version.value = int(random.integers(-3, 4))
    elif random.random() < 0.1:
      request.model_spec.version_label = "label"
  for name in random.choice(["x", "w", "u", "text", "inputs", "q", ""], random.integers(0, 4), replace=False):
    proto = request.inputs[str(name)]
    proto.dtype = int(random.integers(0, 26)) if random.random() < 0.5 else 1
    for size in random.choice([0, 1, 2, 2, 3, -1, 10 ** 6, 2 ** 62], random.integers(0, 4)):
      proto.tensor_shape.dim.add(size=int(size))
    proto.float_val.extend(random.standard_normal(random.integers(0, 5)))
    proto.int_val.extend(random.integers(-2 ** 31, 2 ** 31, random.integers(0, 5)).tolist())
    proto.string_val.extend([random.bytes(5)] * int(random.integers(0, 3)))
    if random.random() < 0.3:
      proto.tensor_content = random.bytes(int(random.integers(0, 20)))
  request.output_filter.extend(map(str, random.choice(["y", "z", "zz", ""], random.integers(0, 3))))
  return request


def _damaged(random, data: bytes) -> bytes:
  """Bytes cut, flipped, repeated or made up."""
  kind = random.integers(0, 4)
  if kind == 0:
    return data[:random.integers(0, len(data) + 1)]
  if kind == 1 and data:
    changed = bytearray(data)
    for place in random.integers(0, len(data), 3):
      changed[place] = random.integers(0, 256)
    return bytes(changed)
  return random.bytes(int(random.integers(0, 60))) if kind == 2 else data * 2


def test_malformed_requests(served):
  random = np.random.default_rng(7)
  calls = [served.channel.unary_unary(f"/tensorflow.serving.{method}") for method in _METHODS]
  codes = {}
  for number in range(3000):
    data = _wrong_request(random).SerializeToString()
    call = calls[0]
    if number % 3 == 0:
      data = _damaged(random, data)
      call = calls[random.integers(0, len(calls))]
    try:
      call(data, timeout=20)
      code = grpc.StatusCode.OK
    except grpc.RpcError as error:
      code = error.code()
      assert code in _ALLOWED, (data, error)
    codes[code] = codes.get(code, 0) + 1
  # They went everywhere, not all into the first check.
  assert codes[grpc.StatusCode.INVALID_ARGUMENT] > 1000 and codes[grpc.StatusCode.NOT_FOUND] > 100
  assert codes[grpc.StatusCode.OK] > 20
  answer = served.prediction.Predict(small_models.predict_request(x=np.float32([1])))
  assert small_models.arrays(answer)["y"].tolist() == [2]
