"""Replays a version's recorded requests before it serves, so that no client pays for a first run."""

import os
from typing import Iterator

import grpc
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving import deadline as deadline_lib
from serving import predict
from serving import status
from serving import tensor_protos

REQUESTS_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MOST_RECORDS = 1000


def _records(path: str) -> Iterator[prediction_log_pb2.PredictionLog]:
  try:
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
      try:
        yield prediction_log_pb2.PredictionLog.FromString(record)
      except Exception as problem:
        raise status.invalid(f"Failed to parse warmup record: {record[:100]!r} from {path}") from problem
  except tf.errors.DataLossError as problem:
    raise status.StatusError(grpc.StatusCode.DATA_LOSS,
                             f"{problem.message}. Please verify your warmup data is in TFRecord format.") from problem


def replay(servable, run: predict.Run) -> int:
  """Runs the requests of `assets.extra/tf_serving_warmup_requests`; their model names do not matter.

  Returns:
    How many there were; 0 where the version has no such file.

  Raises:
    StatusError: a request failed, cannot be read, or is one of more than 1000.
  """
  path = os.path.join(servable.path, REQUESTS_FILE)
  count = 0
  if not os.path.exists(path):
    return count
  for log in _records(path):
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
      request = log.predict_log.request
      predict.predict(servable, request.model_spec.signature_name or predict.DEFAULT_SIGNATURE, request.inputs,
                      tensor_protos.to_array, request.output_filter, run, deadline_lib.Deadline())
    else:
      raise status.StatusError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
    count += 1
    if count > MOST_RECORDS:
      raise status.invalid(f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {path}")
  return count
