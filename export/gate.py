"""What an export must pass before it gets its version number: loadable by any server, and drawing as the live model."""

import os
from typing import Dict, Iterator

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2

from export import serving_module
from stic_tf import drawing_classifier as drawing_lib
from stic_tf import sparse_weights

_PYTHON_OPS = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
# TensorFlow marks a jitted function, and each call of one, with this attribute.
_JITTED = "_XlaMustCompile"
# More than one whole block of rows, and less than two.
_COUNT = 17


class GateError(RuntimeError):
  """The exported model cannot be served, or does not do what the live one does."""


def check_graph(folder: str) -> None:
  """Reads the graph of the SavedModel in `folder`, with every function of its library.

  Raises:
    GateError: it has an operation that a server does not know (a custom one, Python code) or will not run (jitted).
  """
  saved_model = saved_model_pb2.SavedModel()
  with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
    saved_model.ParseFromString(file.read())
  for meta_graph in saved_model.meta_graphs:
    for node in _nodes(meta_graph.graph_def):
      if ">" in node.op:
        raise GateError(f"custom operation {node.op} ({node.name}): a server does not know it")
      if node.op in _PYTHON_OPS:
        raise GateError(f"Python code in the graph ({node.op} {node.name}): a server cannot run it")
      if node.attr[_JITTED].b:
        raise GateError(f"jitted call {node.name}: a server has XLA switched off")
    for function in meta_graph.graph_def.library.function:
      if function.attr[_JITTED].b:
        raise GateError(f"jitted function {function.signature.name}: a server has XLA switched off")


def _nodes(graph_def) -> Iterator[node_def_pb2.NodeDef]:
  yield from graph_def.node
  for function in graph_def.library.function:
    yield from function.node_def


def probe(settings: serving_module.Settings) -> Dict[str, np.ndarray]:
  """Inputs of `synthesize` that the gate compares: hard and soft classes, each row with a seed of its own."""
  rng = np.random.default_rng(0)
  num_classes = len(settings.class_names)
  weights = np.zeros([_COUNT, num_classes])
  mixed = min(num_classes, sparse_weights.MOST_CLASSES)  # a system of many classes mixes no more
  weights[:, :mixed] = rng.dirichlet(np.ones(mixed), _COUNT)
  weights[::2] = np.eye(num_classes)[np.arange(_COUNT)[::2] % num_classes]
  return {"class_weights": weights.astype(np.float32), "seed": rng.integers(-2 ** 62, 2 ** 62, [_COUNT, 2]),
          "num_steps": np.full(_COUNT, settings.num_steps, np.int32),
          "temperature": np.full(_COUNT, settings.temperature, np.float32)}


def check_images(folder: str, classifier: drawing_lib.DrawingClassifier, settings: serving_module.Settings) -> None:
  """Loads `folder` anew and draws and classifies with it and with the live model.

  Raises:
    GateError: a drawing, or an answer to one, differs in any bit; or one row asked for alone does.
  """
  signatures = tf.saved_model.load(folder).signatures
  inputs = probe(settings)
  live = classifier.draw(inputs["class_weights"], inputs["seed"])
  drawn = _run(signatures["synthesize"], inputs)
  alone = _run(signatures["synthesize"], {name: values[3:4] for name, values in inputs.items()})
  answers = _run(signatures["serving_default"], {"images": live.images})
  for name in ("images", "log_density", "acceptance_rate", "probabilities"):
    expected = getattr(live, name)
    _require_equal(f"{name} of synthesize", drawn[name], expected)
    _require_equal(f"{name} of synthesize for one row alone", alone[name], expected[3:4])
  _require_equal("probabilities of classify", answers["probabilities"], live.probabilities)


def _run(signature, inputs: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
  outputs = signature(**{name: tf.constant(values) for name, values in inputs.items()})
  return {name: value.numpy() for name, value in outputs.items()}


def _require_equal(what: str, got: np.ndarray, expected: np.ndarray) -> None:
  if got.shape != expected.shape or not np.array_equal(got, expected, equal_nan=got.dtype != np.uint8):
    raise GateError(f"{what}: the exported model differs from the live one")
