"""The least that answers a client: a loaded SavedModel behind the service's stubs, with failures to order."""

import concurrent.futures
import pathlib

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc


class ModelServer(prediction_service_pb2_grpc.PredictionServiceServicer):
  """Serves a version folder as model "stic" on a free port.

  Attributes:
    address: HOST:PORT.
    version: what it says it serves.
    failures: status codes that the next Predict requests end with, first to last.
    requests: the Predict requests that came in, failed ones included.
  """

  def __init__(self, model_dir: str):
    self.version, self.failures, self.requests = 1, [], []
    self._loaded = tf.saved_model.load(model_dir)
    saved_model = saved_model_pb2.SavedModel.FromString(pathlib.Path(model_dir, "saved_model.pb").read_bytes())
    self._signature_defs = get_model_metadata_pb2.SignatureDefMap(
        signature_def=saved_model.meta_graphs[0].signature_def)
    self._server = None
    self.start()

  def start(self, port: int = 0) -> None:
    self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), options=[
        ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._server)
    self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
    self._server.start()

  def stop(self) -> None:
    self._server.stop(0).wait()

  def GetModelMetadata(self, request, context):
    if request.model_spec.name != "stic":
      context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({request.model_spec.name})")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = "stic"
    response.model_spec.version.value = self.version
    response.metadata["signature_def"].Pack(self._signature_defs)
    return response

  def Predict(self, request, context):
    self.requests.append(request)
    if self.failures:
      context.abort(self.failures.pop(0), "as ordered")
    inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
    response = predict_pb2.PredictResponse(model_spec=request.model_spec)
    response.model_spec.version.value = self.version
    for name, value in self._loaded.signatures[request.model_spec.signature_name](**inputs).items():
      self._encode(value, response.outputs[name])
    return response

  @staticmethod
  def _encode(value, proto):
    """In typed fields, as tensorflow_model_server answers, not in tensor_content."""
    proto.dtype = value.dtype.as_datatype_enum
    for size in value.shape:
      proto.tensor_shape.dim.add(size=size)
    field = proto.float_val if value.dtype == tf.float32 else proto.int_val
    field.extend(value.numpy().ravel().tolist())
