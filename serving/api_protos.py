"""Messages of TensorFlow Serving's API for clients that have no TensorFlow: those of protos/*.proto.

protos/client.pb is what protoc makes of them, for all versions of protobuf alike:

    python -m grpc_tools.protoc -Iserving/protos --include_imports --descriptor_set_out=serving/protos/client.pb \
      tensorflow_serving.proto

They have a pool of their own: TensorFlow's, in the same process, has more fields under the same names.
"""

import pathlib

from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message_factory

_FILE = pathlib.Path(__file__).with_name("protos") / "client.pb"


def _pool() -> descriptor_pool.DescriptorPool:
  pool = descriptor_pool.DescriptorPool()
  for file in descriptor_pb2.FileDescriptorSet.FromString(_FILE.read_bytes()).file:
    pool.Add(file)
  return pool


POOL = _pool()


def _message(name: str):
  return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"tensorflow.serving.{name}"))


GetModelMetadataRequest = _message("GetModelMetadataRequest")
GetModelMetadataResponse = _message("GetModelMetadataResponse")
PredictRequest = _message("PredictRequest")
PredictResponse = _message("PredictResponse")
SignatureDefMap = _message("SignatureDefMap")
SERVICE = "tensorflow.serving.PredictionService"
