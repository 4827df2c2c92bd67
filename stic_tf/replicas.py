"""Devices: splitting a batch over the replicas of a `tf.distribute.Strategy` and joining it again; what they can do."""

import itertools
import pathlib

import numpy as np
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import workers


def _is_single(strategy) -> bool:
  return strategy.num_replicas_in_sync == 1


def here(strategy: tf.distribute.Strategy) -> int:
  """How many of its replicas are this process's."""
  return strategy.num_replicas_in_sync // workers.count(strategy)


def split(strategy: tf.distribute.Strategy, values, everywhere: bool = False):
  """A nest of arrays [B, …] -> the same nest of per-replica values [B / replicas, …].

  Args:
    strategy: whose replicas.
    values: the nest.
    everywhere: whether the replicas of all workers share the batch, which each worker then has whole; else this
      process's do.

  Raises:
    ValueError: B is not a multiple of the number of replicas.
  """
  if _is_single(strategy):
    return tf.nest.map_structure(tf.convert_to_tensor, values)
  count = strategy.num_replicas_in_sync if everywhere else here(strategy)

  def one(array):
    if len(array) % count:
      raise ValueError(f"a batch of {len(array)} does not split over {count} replicas")
    part, places = len(array) // count, itertools.count()

    def rows(context):
      place = context.replica_id_in_sync_group if everywhere else next(places)
      return tf.convert_to_tensor(array[place * part:(place + 1) * part])

    return strategy.experimental_distribute_values_from_function(rows)

  return tf.nest.map_structure(one, values)


def join(strategy: tf.distribute.Strategy, values, everywhere: bool = False):
  """The inverse of `split`: per-replica values -> NumPy arrays [B, …]."""
  if _is_single(strategy):
    return tf.nest.map_structure(lambda value: value.numpy(), values)

  def one(value):
    if everywhere and workers.count(strategy) > 1:
      return strategy.gather(value, axis=0).numpy()
    return np.concatenate([part.numpy() for part in strategy.experimental_local_results(value)], axis=0)

  return tf.nest.map_structure(one, values)


def distributed(strategy: tf.distribute.Strategy, dataset: tf.data.Dataset, own_share: bool = False):
  """A data set whose whole batches the replicas divide, in order, for `fit`.

  Args:
    strategy: whose replicas.
    dataset: gives each worker whole batches, of which it takes its part, or with `own_share` that part alone.

  Left to itself a strategy may make smaller batches at the start of the pipeline, and what is done to a whole batch
  (augmentation, mixup) would come out differently.
  """
  if _is_single(strategy):
    return dataset
  mine = here(strategy)
  count = mine if own_share else strategy.num_replicas_in_sync
  first = 0 if own_share else workers.number(strategy) * mine

  def divide(*batch):
    parts = tf.nest.map_structure(
        lambda value: tf.reshape(value, tf.concat([[count, tf.shape(value)[0] // count], tf.shape(value)[1:]], 0))[
            first:first + mine], batch)
    return parts[0] if len(parts) == 1 else parts

  options = tf.data.Options()
  options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
  shares = dataset.map(divide).unbatch().with_options(options)
  endless = tf.data.INFINITE_CARDINALITY
  if dataset.cardinality() == endless:
    # Else several workers would hide the number of rows from the graph, whose optimizer would take other operations.
    shares = shares.apply(tf.data.experimental.assert_cardinality(endless))
  return strategy.distribute_datasets_from_function(lambda context: shares)


def compiled(strategy: tf.distribute.Strategy, step, any_rows: bool = False):
  """`step(nest, …) -> nest` as one `tf.function` over the replicas. Every argument after the first is broadcast.

  Args:
    strategy: whose replicas.
    step: what is compiled.
    any_rows: whether one replica has one graph for all numbers of rows, in place of a graph for each.
  """

  @tf.function(autograph=False)
  def run(per_replica, *broadcast):
    if _is_single(strategy):
      return step(per_replica, *broadcast)
    return strategy.run(step, args=(per_replica, *broadcast))

  def run_any(rows, *broadcast):
    specs = tf.nest.map_structure(lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype), rows)
    return run.get_concrete_function(specs, *broadcast)(rows, *broadcast)

  return run_any if any_rows and _is_single(strategy) else run


def with_sums_as_written(function):
  """`function`, compiled, with the terms of its sums in the order they are written in."""

  def call(*args):
    before = tf.config.optimizer.get_experimental_options().get("arithmetic_optimization", True)
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    try:
      return function(*args)
    finally:
      tf.config.optimizer.set_experimental_options({"arithmetic_optimization": before})

  return call


def make_strategy(num_replicas: int) -> tf.distribute.Strategy:
  """The replicas of this process, on which a run trains and draws. To be called before TensorFlow has touched a device.

  Args:
    num_replicas: how many; 0 for all GPUs there are, or one CPU.

  Returns:
    The default strategy for one replica, else a MirroredStrategy over GPUs, or over logical CPUs where there are none.

  Raises:
    ConfigError: more replicas than GPUs.
  """
  gpus = prepared_gpus()
  if gpus and num_replicas > len(gpus):
    raise config_lib.ConfigError(f"--num_replicas={num_replicas}: this machine has {len(gpus)} GPUs")
  count = num_replicas or max(1, len(gpus))
  if count == 1:
    return tf.distribute.get_strategy()
  if gpus:
    return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(count)])
  cpu = tf.config.list_physical_devices("CPU")[0]
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
  return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)])


def make_worker_strategy() -> tf.distribute.Strategy:
  """The replicas of all workers of TF_CONFIG, which have met (`stic_tf.cluster`): a GPU each, or a CPU a worker.

  To be called before TensorFlow has touched a device.
  """
  prepared_gpus()
  tf.get_logger().setLevel("WARNING")  # each collective operation would be a line
  return tf.distribute.MultiWorkerMirroredStrategy()


def prepared_gpus() -> list:
  """The GPUs of this machine, with deterministic operations where there are any; a CPU's are so as they are."""
  gpus = tf.config.list_physical_devices("GPU")
  if gpus:
    tf.config.experimental.enable_op_determinism()
  return gpus


def computes_bfloat16() -> bool:
  """Whether the device that trains multiplies in bfloat16; another one would do so by emulation, many times slower."""
  gpus = tf.config.list_physical_devices("GPU")
  if gpus:
    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
    return capability >= (8, 0)
  try:
    words = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
  except OSError:
    return False
  return "amx_bf16" in words or "avx512_bf16" in words
