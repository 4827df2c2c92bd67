"""What the processes that train one run do together, once TensorFlow connects them: count, wait, learn from the chief.

One of them is the chief: it alone reads and writes the run folder.
"""

import contextlib
from typing import Iterator, Mapping

import numpy as np
import tensorflow as tf

# What a collective operation says when a worker does not answer any more.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
         tf.errors.InternalError)


class LostWorkerError(RuntimeError):
  """Another worker has ended or cannot be reached."""


def count(strategy: tf.distribute.Strategy) -> int:
  """How many processes a strategy is of."""
  resolver = strategy.cluster_resolver
  return 1 if resolver is None else max(1, sum(len(addresses) for addresses in
                                               resolver.cluster_spec().as_dict().values()))


def number(strategy: tf.distribute.Strategy) -> int:
  """Which of them this one is; the chief is 0."""
  resolver = strategy.cluster_resolver
  if count(strategy) == 1:
    return 0
  chiefs = len(resolver.cluster_spec().as_dict().get("chief", []))
  return resolver.task_id + (chiefs if resolver.task_type == "worker" else 0)


@contextlib.contextmanager
def working_together(strategy: tf.distribute.Strategy) -> Iterator[None]:
  """Around what workers do together: ends on all at once, and on a lost one by its own error.

  Raises:
    LostWorkerError: another worker is gone.
  """
  try:
    yield
    if count(strategy) > 1:
      barrier(strategy)  # one that is through first and gone would count as lost
  except _LOST as problem:
    if count(strategy) == 1:
      raise
    raise LostWorkerError(f"a worker was lost ({type(problem).__name__}); the same command on all of them goes on from "
                          "the last checkpoint") from problem


def barrier(strategy: tf.distribute.Strategy) -> None:
  """Waits until every worker has come here."""
  each = strategy.experimental_distribute_values_from_function(lambda context: tf.zeros([1]))
  strategy.reduce("SUM", each, axis=None).numpy()


def from_chief(strategy: tf.distribute.Strategy, variables: Mapping[str, tf.Variable]) -> None:
  """Gives variables, the same on every worker by name and shape, the chief's values."""
  arrays = {name: variables[name].numpy() for name in sorted(variables)}
  words = [np.frombuffer(array.tobytes() + bytes(-array.nbytes % 4), np.int32) for array in arrays.values()]
  together = np.concatenate(words)
  first = strategy.experimental_distribute_values_from_function(
      lambda context: tf.constant(together if context.replica_id_in_sync_group == 0 else np.zeros_like(together)))
  # As whole numbers, so that adding zeros changes no bit.
  together = strategy.reduce("SUM", first, axis=None).numpy()
  for (name, array), part in zip(arrays.items(), np.split(together, np.cumsum([len(each) for each in words])[:-1])):
    values = np.frombuffer(part.tobytes()[:array.nbytes], array.dtype).reshape(array.shape)
    variables[name].assign(values)
