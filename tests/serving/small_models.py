"""Small SavedModels to serve, and one with the signature of an export."""

import os
import shutil

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_log_pb2

FOREVER = 10 ** 9


def _spec(shape, dtype, name):
  return tf.TensorSpec(shape, dtype, name=name)


class Small(tf.Module):
  """y = x + offset and z = 2x; two inputs that must match; a loop of n rounds; a constant without a batch."""

  def __init__(self, offset: float):
    super().__init__()
    self.offset = tf.Variable(offset)

  @tf.function(input_signature=[_spec(None, tf.float32, "x")], autograph=False)
  def add(self, x):
    return {"y": x + self.offset, "z": 2.0 * x}

  @tf.function(input_signature=[_spec([None], tf.float32, "x"), _spec([None], tf.float32, "w")], autograph=False)
  def pair(self, x, w):
    return {"y": x * w}

  @tf.function(input_signature=[_spec([None], tf.int32, "n")], autograph=False)
  def loop(self, n):
    rounds, = tf.while_loop(lambda i: i < tf.reduce_max(n), lambda i: (i + 1,), [tf.constant(0)],
                            parallel_iterations=1)
    return {"n": n + 0 * rounds}

  @tf.function(input_signature=[_spec([None], tf.float32, "x")], autograph=False)
  def total(self, x):
    return {"y": tf.reduce_sum(x)}

  @tf.function(input_signature=[_spec([None], tf.float32, "x")], autograph=False)
  def positive(self, x):
    with tf.control_dependencies([tf.debugging.assert_positive(x, message="not positive")]):
      return {"y": tf.identity(x)}

  @tf.function(input_signature=[_spec([None], tf.string, "text")], autograph=False)
  def text(self, text):
    return {"text": tf.strings.join([text, "!"]), "raw_bytes": text, "size": tf.strings.length(text)}

  @tf.function(input_signature=[_spec([None, 2], tf.uint8, "u")], autograph=False)
  def image(self, u):
    return {"u": 255 - u, "half": tf.cast(u, tf.float16), "long": tf.cast(u, tf.int64), "flag": u > 3}


def save(model: tf.Module, folder: str) -> str:
  """Saves beside `folder` and renames, as exporters should."""
  names = [name for name in ("pair", "loop", "total", "positive", "text", "image") if hasattr(model, name)]
  signatures = {name: getattr(model, name) for name in names}
  tf.saved_model.save(model, folder + ".aside", signatures={"serving_default": model.add, **signatures})
  os.rename(folder + ".aside", folder)
  return folder


def write_warmup(folder: str, *requests: predict_pb2.PredictRequest) -> None:
  """Puts a warm-up file into a saved model."""
  path = os.path.join(folder, "assets.extra", "tf_serving_warmup_requests")
  os.makedirs(os.path.dirname(path), exist_ok=True)
  with tf.io.TFRecordWriter(path) as writer:
    for request in requests:
      log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
      writer.write(log.SerializeToString())


def predict_request(signature: str = "", *, model: str = "m", version=None, output_filter=(), **inputs):
  """A PredictRequest; arrays are given by input name."""
  request = predict_pb2.PredictRequest(output_filter=output_filter)
  request.model_spec.name = model
  request.model_spec.signature_name = signature
  if version is not None:
    request.model_spec.version.value = version
  for name, value in inputs.items():
    request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
  return request


def copy(source: str, target: str) -> str:
  """Copies a version folder beside `target` and renames it."""
  shutil.copytree(source, target + ".aside")
  os.rename(target + ".aside", target)
  return target


def arrays(response):
  """{output name: array} of a PredictResponse."""
  return {name: np.asarray(tf.make_ndarray(proto)) for name, proto in response.outputs.items()}
