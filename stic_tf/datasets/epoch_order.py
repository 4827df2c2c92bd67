"""Order and randomness of the streams as pure functions of (seed, position): nothing to save, nothing to replay."""

from typing import List

import numpy as np
import tensorflow as tf

# TensorFlow's default of 4 is visibly not random: at 55,000 images two epochs' orders correlate by 0.7. 16 rounds pass
# (lag-1 and cross-epoch correlations, variance of batch means).
_SHUFFLE_ROUNDS = 16


def stream_keys(seed: int, stream: int, count: int) -> List[int]:
  """`count` independent keys (0..2^63-1) for the purposes of one stream of a run.

  Args:
    seed: any integer.
    stream: which stream of the run, so that two streams of one seed do not walk in step.
    count: how many purposes (order, shift, mixing, ...) need a key.
  """
  words = [int(seed) % 2**64, stream]
  # Of a seed above 2³² two words are made: without a last one, stream 0 of the second attempt would be stream 1 of the
  # first.
  entropy = np.random.SeedSequence(words + [1] * (words[0] >= 2**32))
  return [int(key) >> 1 for key in entropy.generate_state(count, np.uint64)]


def shuffled_indices(positions: tf.Tensor, num_images: int, key: int) -> tf.Tensor:
  """Which image comes at each position of an endless walk that visits every image once an epoch.

  Args:
    positions: int64 [B], 0-based from the start of the run; epoch = position // num_images.
    num_images: images in the split, at least 1.
    key: orders with different keys are unrelated.

  Returns:
    int64 [B] in [0, num_images).
  """
  epochs, offsets = positions // num_images, positions % num_images
  keys = tf.stack([tf.fill(tf.shape(epochs), tf.constant(key, tf.int64)), epochs, tf.zeros_like(epochs)], axis=1)
  # The raw op: tf.random.experimental.index_shuffle fixes the rounds and, in 2.15, pads a batch of seeds wrongly.
  return tf.raw_ops.RandomIndexShuffle(
      index=offsets, seed=keys, max_index=tf.fill(tf.shape(epochs), tf.constant(num_images - 1, tf.int64)),
      rounds=_SHUFFLE_ROUNDS)
