"""Random numbers of training updates, on the device: a function of (seed, attempt, update, use) alone.

Every replica makes those of the whole batch and takes its rows, so that their number changes none of them.
"""

import tensorflow as tf

# What a number is for keeps the uses of one update apart.
ROWS, RESTART, SMOOTHING, PAST, MIXUP, LEVELS, NOISE, MIXUP_LEVELS, MIXUP_NOISE, FAKE_LEVELS, FAKE_NOISE = range(11)
_ALGORITHM = "philox"  # the same numbers on every device


class Randomness:
  """The random numbers of one update.

  Args:
    seed: of the run, a number.
    attempt, update: int64 scalars.
  """

  def __init__(self, seed: int, attempt: tf.Tensor, update: tf.Tensor):
    key = tf.constant([seed & 0x7FFFFFFF, seed >> 31], tf.int64)
    for number in (attempt, update):
      key = tf.random.experimental.stateless_fold_in(key, tf.cast(number, tf.int64), alg=_ALGORITHM)
    self._key = key

  def key(self, use: int) -> tf.Tensor:
    """A key for TensorFlow's stateless operations, int64 [2]."""
    return tf.random.experimental.stateless_fold_in(self._key, tf.constant(use, tf.int64), alg=_ALGORITHM)

  def uniform(self, use: int, shape) -> tf.Tensor:
    """float32 in [0, 1)."""
    return tf.random.stateless_uniform(shape, self.key(use), alg=_ALGORITHM)

  def normal(self, use: int, shape) -> tf.Tensor:
    """Standard normals, float32."""
    return tf.random.stateless_normal(shape, self.key(use), alg=_ALGORITHM)

  def rows(self, use: int, count: int, among: int) -> tf.Tensor:
    """`count` different numbers below `among`, int32; with repetition where there are too few."""
    if count > among:
      return self.below(use, count, among)
    return tf.math.top_k(self.uniform(use, [among]), count, sorted=True).indices

  def below(self, use: int, count: int, among) -> tf.Tensor:
    """`count` numbers in [0, `among`), int32, with repetition; `among` may be a tensor."""
    among = tf.cast(among, tf.int32)
    drawn = tf.cast(self.uniform(use, [count]) * tf.cast(among, tf.float32), tf.int32)
    return tf.minimum(drawn, tf.maximum(among - 1, 0))


def replica_rows(values: tf.Tensor) -> tf.Tensor:
  """This replica's rows of a whole batch's values [B, …], which the replicas divide."""
  context = tf.distribute.get_replica_context()
  count = context.num_replicas_in_sync
  if count == 1:
    return values
  part = tf.shape(values)[0] // count
  start = tf.cast(context.replica_id_in_sync_group, tf.int32) * part
  return values[start:start + part]
