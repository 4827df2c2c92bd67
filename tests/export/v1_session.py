"""Runs a SavedModel's signatures in a v1 session, as programs of TensorFlow 1 do."""

import contextlib
from typing import Callable, Iterator

import tensorflow as tf


@contextlib.contextmanager
def load(folder: str) -> Iterator[Callable]:
  """Gives run(signature, {input: array}) -> {output: array}."""
  graph = tf.Graph()
  with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
    signatures = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder).signature_def

    def run(name, inputs):
      # The graph's placeholders would refuse a wrong shape in Python; a server has no such check.
      feeds = [signatures[name].inputs[key].name for key in inputs]
      fetches = {key: info.name for key, info in signatures[name].outputs.items()}
      return session.run(fetches, dict(zip(feeds, inputs.values())))

    yield run
