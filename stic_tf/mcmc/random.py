"""Counter-based random numbers with one seed pair per image: threefry2x32 (Salmon et al. 2011) and Box-Muller.

TensorFlow's stateless normals take one seed a tensor and differ between jitted and plain execution. Here every number
is a function of (image seed, stream, step, pixel) alone, so batching, sharding and server-side batching cannot change
an image (docs/equations.md, "randomness").
"""

import math

import tensorflow as tf

# Streams keep the uses of one image's seed apart.
CHAIN_STREAM = 0
CANVAS_STREAM = 1
TILE_STREAM = 2
REFINE_STREAM = 3

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
# Eigen evaluates a tensor's last few elements with scalar log and cos, whose final bit can differ from the vectorised
# ones. Rows padded to whole vectors leave no such remainder, so a number does not depend on its place in the batch.
_VECTOR = 16


def threefry2x32(key0, key1, counter0, counter1):
  """Threefry-2x32 with 20 rounds, as in Random123 (checked against its published known-answer vectors).

  Args:
    key0, key1, counter0, counter1: uint32 tensors of shapes that broadcast together.

  Returns:
    Two uint32 tensors of the broadcast shape.
  """
  return _threefry2x32(*(tf.cast(words, tf.uint32) for words in (key0, key1, counter0, counter1)))


# A function of its own: a hundred operations are then made once, not wherever there are random numbers. TensorFlow puts
# them in their places again before it runs anything.
@tf.function(autograph=False)
def _threefry2x32(key0, key1, counter0, counter1):
  shifts = {bits: tf.constant(bits, tf.uint32) for bits in range(1, 32)}
  keys = [key0, key1, tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(key0, key1), tf.constant(_PARITY, tf.uint32))]
  word0, word1 = counter0 + key0, counter1 + key1
  for group in range(5):
    for bits in _ROTATIONS[group % 2]:
      word0 = word0 + word1
      rotated = tf.bitwise.bitwise_or(tf.bitwise.left_shift(word1, shifts[bits]),
                                      tf.bitwise.right_shift(word1, shifts[32 - bits]))
      word1 = tf.bitwise.bitwise_xor(rotated, word0)
    word0 = word0 + keys[(group + 1) % 3]
    word1 = word1 + (keys[(group + 2) % 3] + shifts[group + 1])
  return word0, word1


def _low_high(words: tf.Tensor):
  """The two uint32 halves of int64 numbers."""
  words = tf.cast(words, tf.int64)
  mask = tf.constant(0xFFFFFFFF, tf.int64)
  low = tf.cast(tf.bitwise.bitwise_and(words, mask), tf.uint32)
  high = tf.cast(tf.bitwise.bitwise_and(tf.bitwise.right_shift(words, tf.constant(32, tf.int64)), mask), tf.uint32)
  return low, high


def image_keys(seeds: tf.Tensor, stream: int):
  """The key of each image for one stream.

  Args:
    seeds: int64 [B, 2], the seed pair of each image; all 128 bits count.
    stream: which use of the seed, one of the *_STREAM constants.

  Returns:
    Two uint32 tensors [B].
  """
  low0, high0 = _low_high(seeds[:, 0])
  low1, high1 = _low_high(seeds[:, 1])
  key0, key1 = threefry2x32(low0, low1, high0, high1)
  return threefry2x32(key0, key1, tf.zeros_like(key0), tf.fill(tf.shape(key0), tf.constant(stream, tf.uint32)))


def other_seeds(seeds: tf.Tensor, stream: int) -> tf.Tensor:
  """Seed pairs int64 [B, 2] that share no number with `seeds`, int64 [B, 2], but by chance."""
  return tf.stack([tf.cast(word, tf.int64) for word in image_keys(seeds, stream)], axis=1)


def fold_steps(keys, steps: tf.Tensor):
  """Folds step numbers into keys: ([B], [B]) and int [S] -> two uint32 tensors [S, B]."""
  numbers = tf.cast(steps, tf.uint32)[:, tf.newaxis]
  return threefry2x32(keys[0][tf.newaxis], keys[1][tf.newaxis], numbers, tf.ones_like(numbers))


def _open_uniform(words: tf.Tensor) -> tf.Tensor:
  """uint32 -> float32 strictly inside (0, 1)."""
  fraction = tf.cast(tf.cast(tf.bitwise.right_shift(words, tf.constant(8, tf.uint32)), tf.int32), tf.float32)
  # The largest fraction and a half would round to 1.
  return tf.minimum((fraction + 0.5) * (1.0 / (1 << 24)), 1.0 - 2.0 ** -24)


def uniforms(keys, steps: tf.Tensor) -> tf.Tensor:
  """One uniform in (0, 1) a step: keys two uint32 [B], steps int32 [S] -> float32 [S, B]."""
  return _open_uniform(fold_steps(keys, steps)[0])


def normals_and_log_uniforms(keys, steps: tf.Tensor, size: int):
  """What a Metropolis-adjusted step consumes, for some steps at once.

  Args:
    keys: two uint32 [B], from `image_keys`.
    steps: int32 [S], the step numbers.
    size: how many normals an image needs a step.

  Returns:
    float32 [S, B, size] standard normals and float32 [S, B] logarithms of uniforms in (0, 1).
  """
  return of_step_keys(fold_steps(keys, steps), size)


def of_step_keys(step_keys, size: int):
  """`normals_and_log_uniforms` of what `fold_steps` gave, two uint32 [S, B], so that a loop need not fold anew."""
  shape = tf.shape(step_keys[0])
  pairs = math.ceil((size + 1) / 2 / _VECTOR) * _VECTOR + _VECTOR
  counters = tf.range(pairs)[tf.newaxis]
  # A row a step and image: TensorFlow spreads keys over the pixels faster in two dimensions than in three.
  key0, key1 = (tf.reshape(key, [-1, 1]) for key in step_keys)
  word0, word1 = threefry2x32(key0, key1, counters, tf.zeros_like(counters))
  # The counter from `normal_pairs` on is the accept test's; all logarithms are taken in one padded tensor.
  normal_pairs = pairs - _VECTOR
  log_uniform = tf.math.log(_open_uniform(word0))
  radius = tf.sqrt(-2.0 * log_uniform[:, :normal_pairs])
  angle = (2.0 * math.pi) * _open_uniform(word1[:, :normal_pairs])
  normals = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=1)[:, :size]
  return (tf.reshape(normals, tf.concat([shape, [size]], axis=0)),
          tf.reshape(log_uniform[:, normal_pairs], shape))


def normals(seeds: tf.Tensor, stream: int, size: int, step=0) -> tf.Tensor:
  """Standard normals of one step of one stream: int64 seeds [B, 2] -> float32 [B, size]."""
  drawn, _ = normals_and_log_uniforms(image_keys(seeds, stream), tf.reshape(tf.cast(step, tf.int32), [1]), size)
  return drawn[0]
