"""A SavedModel in a TensorFlow session, run as tensorflow_model_server runs it.

The only file of the project that uses TensorFlow's v1 and private API. `tf.saved_model.load` cannot stop a computation
at a deadline and converts what it is fed; the session's own run takes the arrays as they are, so that a wrong dtype is
refused in the runtime's words, and stops at its own `RunOptions.timeout_in_ms`, each call by itself.
"""

from typing import Dict, List, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.python.client import pywrap_tf_session

from serving import status

# RunOptions counts milliseconds in an int64, gRPC's "no deadline" is centuries away.
_LONGEST_TIMEOUT = 1e9


class SessionRunner:
  """Loads the graph tagged "serve" of a SavedModel. Thread-safe."""

  def __init__(self, path: str, intra_op_threads: int = 0, inter_op_threads: int = 0):
    """Restores variables and runs the initialisation.

    Args:
      path: the folder that holds saved_model.pb.
      intra_op_threads, inter_op_threads: 0 for one a core, -1 (the latter) for the caller's. Those of a process's first
        session hold for all.

    Raises:
      tf.errors.OpError, ValueError or OSError: not a complete SavedModel.
    """
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=intra_op_threads,
                                      inter_op_parallelism_threads=inter_op_threads)
    self._graph = tf.Graph()
    self._session = tf.compat.v1.Session(graph=self._graph, config=config)
    try:
      meta_graph = tf.compat.v1.saved_model.loader.load(self._session, [tf.saved_model.SERVING], path)
      self.signatures: Dict[str, object] = dict(meta_graph.signature_def)
      self._handles = {}
      for signature in self.signatures.values():
        for info in [*signature.inputs.values(), *signature.outputs.values()]:
          if ":" in info.name:  # the initialisation's "output" is an operation, not a tensor
            self._handles[info.name] = self._graph.get_tensor_by_name(info.name)._as_tf_output()
      self._session._extend_graph()
    except BaseException:
      self._session.close()
      raise

  def run(self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str],
          timeout: float = float("inf")) -> List[np.ndarray]:
    """Computes the tensors named `fetches` from the arrays by tensor name.

    Args:
      timeout: seconds after which the computation stops; infinity for never.

    Raises:
      StatusError: the runtime's own code and message; DEADLINE_EXCEEDED after `timeout`.
    """
    try:
      feeds = {self._handles[name]: array for name, array in feeds.items()}
      fetches = [self._handles[name] for name in fetches]
    except KeyError as problem:
      raise status.invalid(f"Tensor {problem.args[0]}, specified in either feed_devices or fetch_devices was not found "
                           "in the Graph") from None
    options = None
    if timeout < _LONGEST_TIMEOUT:
      if timeout <= 0:
        raise status.timed_out()
      run_options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, round(1000 * timeout)))
      options = pywrap_tf_session.TF_NewBufferFromString(run_options.SerializeToString())
    try:
      return pywrap_tf_session.TF_SessionRun_wrapper(self._session._session, options, feeds, fetches, [], None)
    except tf.errors.OpError as problem:
      raise status.from_runtime(problem) from None
    finally:
      if options is not None:
        pywrap_tf_session.TF_DeleteBuffer(options)

  def close(self) -> None:
    """Frees the session. Runs that are still under way end with CANCELLED."""
    self._session.close()
