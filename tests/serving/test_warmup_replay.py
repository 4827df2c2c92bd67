"""Warm-up files: all requests are run, whatever their model name, and nothing wrong in them is passed over."""

import os
import tempfile

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving import session_runner
from serving import status
from serving import versions
from serving import warmup_replay
from tests.serving import small_models


@pytest.fixture
def servable(tmp_path, version_folder):
  folder = small_models.copy(version_folder, str(tmp_path / "1"))
  one = versions.Servable("m", 1, folder, session_runner.SessionRunner(folder))
  yield one
  one.runner.close()


def _replay(servable):
  """(how many, the tensors fetched by each run)."""
  fetched = []

  def run(servable, feeds, fetches, deadline):
    assert deadline.remaining() == float("inf")
    fetched.append(list(fetches))
    return servable.runner.run(feeds, fetches)

  return warmup_replay.replay(servable, run), fetched


def test_no_file_is_fine(servable):
  assert _replay(servable) == (0, [])


def test_each_request_is_run_with_its_filter(servable):
  x = np.float32([1])
  small_models.write_warmup(servable.path, small_models.predict_request(model="another", x=x),
                            small_models.predict_request(model="", output_filter=["z"], x=x))
  count, fetched = _replay(servable)
  outputs = servable.signatures["serving_default"].outputs
  assert (count, fetched) == (2, [[outputs["y"].name, outputs["z"].name], [outputs["z"].name]])


_GOOD = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(
    request=small_models.predict_request(x=np.float32([1])))).SerializeToString()


def _record_file(records, cut: int) -> bytes:
  """The bytes of a TFRecord file, without the last `cut`."""
  with tempfile.NamedTemporaryFile() as file:
    with tf.io.TFRecordWriter(file.name) as writer:
      for record in records:
        writer.write(record)
    data = file.read()
  return data[:len(data) - cut]


@pytest.mark.parametrize("records, cut, code, message", [
    ([b"no proto at all"], 16, grpc.StatusCode.DATA_LOSS, "Please verify your warmup data is in TFRecord format."),
    ([_GOOD, _GOOD], 3, grpc.StatusCode.DATA_LOSS, "Please verify your warmup data is in TFRecord format."),
    ([b"\xff\xff"], 0, grpc.StatusCode.INVALID_ARGUMENT, "Failed to parse warmup record"),
    ([b""], 0, grpc.StatusCode.UNIMPLEMENTED, "Unsupported log_type for warmup: None"),
    (1001 * [_GOOD], 0, grpc.StatusCode.INVALID_ARGUMENT, "Number of warmup records exceeds the maximum (1000)"),
], ids=["cut in the first", "cut in the second", "no proto", "empty", "too many"])
def test_what_is_wrong_fails(servable, records, cut, code, message):
  path = os.path.join(servable.path, warmup_replay.REQUESTS_FILE)
  os.makedirs(os.path.dirname(path), exist_ok=True)
  with open(path, "wb") as file:
    file.write(_record_file(records, cut))
  with pytest.raises(status.StatusError) as caught:
    _replay(servable)
  assert caught.value.code == code and message in caught.value.message
