"""Warm-up requests: what a server runs once while it loads a version, so that no user's request is the first.

A server keeps an executor for each signature and output filter, and makes it at the first request. `CLIENT_FILTERS`
are those that serving/drawing_client.py uses.
"""

import os
from typing import Dict, Iterator

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_log_pb2

from export import serving_module

# Signature -> its output filters; an empty one asks for every output.
CLIENT_FILTERS = {name: ((),) for name in ("serving_default", "classify", "synthesize", "draw", "refine",
                                           "synthesize_png", "draw_png", "refine_png")}


def requests(model_name: str, module: serving_module.ServingModule,
             image_shape) -> Iterator[predict_pb2.PredictRequest]:
  """A request of one row and one step for each signature and filter."""
  settings = module.settings
  rows = {"class_weights": np.eye(1, len(settings.class_names), dtype=np.float32), "seed": np.zeros([1, 2], np.int64),
          "num_steps": np.ones([1], np.int32), "temperature": np.full([1], settings.temperature, np.float32)}
  images = {"images": np.zeros([1, *image_shape], np.uint8)}
  inputs: Dict[str, Dict[str, np.ndarray]] = {
      "serving_default": images, "classify": images, "synthesize": rows, "draw": rows, "refine": {**images, **rows}}
  # What they have beside their siblings, guidance and the like, has defaults.
  inputs.update({f"{name}_png": inputs[name] for name in ("synthesize", "draw", "refine")})
  for signature in (name for name in CLIENT_FILTERS if name in module.functions):
    for output_filter in CLIENT_FILTERS[signature]:
      request = predict_pb2.PredictRequest()
      request.model_spec.name = model_name
      request.model_spec.signature_name = signature
      request.output_filter.extend(output_filter)
      for name, value in inputs[signature].items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
      yield request


def write(folder: str, model_name: str, module: serving_module.ServingModule, image_shape) -> None:
  """Writes assets.extra/tf_serving_warmup_requests of the SavedModel in `folder`."""
  path = os.path.join(folder, "assets.extra", "tf_serving_warmup_requests")
  with tf.io.TFRecordWriter(path) as writer:
    for request in requests(model_name, module, image_shape):
      log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
      writer.write(log.SerializeToString())
