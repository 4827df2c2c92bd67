"""Threefry against published vectors, the distribution of what is made of it, and what each number depends on."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from stic_tf.mcmc import random as random_lib
from tests import statistical

SIZES = (1, 2, 16, 31, 33, 64, 75, 784)


def _words(*values):
  return [tf.constant([value], tf.uint32) for value in values]


def _seeds(*pairs):
  return tf.constant(pairs, tf.int64)


@functools.lru_cache(maxsize=None)
def _compiled(size, stream):
  """One graph for all batches and blocks."""
  return tf.function(
      lambda seeds, steps: random_lib.normals_and_log_uniforms(random_lib.image_keys(seeds, stream), steps, size),
      input_signature=[tf.TensorSpec([None, 2], tf.int64), tf.TensorSpec([None], tf.int32)])


def _numbers(seeds, steps, size, stream=random_lib.CHAIN_STREAM):
  return _compiled(size, stream)(seeds, steps)


def _many(count, steps, size, first_seed=0):
  """Normals [steps · count, size] and uniforms [steps · count] of the seed pairs (first_seed, 0 … count - 1)."""
  seeds = np.stack([np.full(count, first_seed), np.arange(count)], axis=1)
  normals, log_uniforms = _numbers(tf.constant(seeds, tf.int64), tf.range(steps), size)
  return normals.numpy().reshape(-1, size), np.exp(log_uniforms.numpy().astype(np.float64)).reshape(-1)


# Random123 1.14, tests/kat_vectors: threefry2x32 20.
@pytest.mark.parametrize("counter, key, expected", [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
])
def test_threefry_gives_the_published_vectors(counter, key, expected):
  for threefry in (random_lib.threefry2x32, tf.function(random_lib.threefry2x32)):
    word0, word1 = threefry(*_words(*key), *_words(*counter))
    assert (int(word0[0]), int(word1[0])) == expected


def test_threefry_broadcasts():
  keys = tf.constant([[0], [0x13198A2E]], tf.uint32), tf.constant([[0], [0x03707344]], tf.uint32)
  counters = tf.constant([0, 0x243F6A88], tf.uint32), tf.constant([0, 0x85A308D3], tf.uint32)
  word0, word1 = random_lib.threefry2x32(*keys, *counters)
  assert word0.shape == word1.shape == (2, 2)
  assert [int(word0[0, 0]), int(word1[1, 1])] == [0x6B200159, 0x483DF7A0]


def test_normals_are_standard_normal():
  # 128,000 rows of 5: a variance off by 3.5 % (√2 is the standard deviation of a square) is found.
  normals, _ = _many(count=4000, steps=32, size=5)
  assert statistical.z_power(0.035 / np.sqrt(2), len(normals), hypotheses=100) > 0.99
  statistical.assert_plausible(statistical.standard_normal_p_value(normals))
  statistical.assert_refused(statistical.standard_normal_p_value(1.0175 * normals))
  # Fourth moment: the tails.
  statistical.assert_plausible(statistical.mean_p_value(normals ** 4, 3.0, 96.0))


def test_uniforms_are_uniform():
  # 256,000: a distribution function off by 0.01 is found.
  _, uniforms = _many(count=8000, steps=32, size=5)
  assert statistical.ks_power(0.01, len(uniforms)) > 0.999
  statistical.assert_plausible(statistical.distribution_p_value(uniforms, stats.uniform.cdf))
  statistical.assert_plausible(statistical.mean_p_value(uniforms, 0.5, 1 / 12))
  statistical.assert_refused(statistical.distribution_p_value(uniforms ** 1.03, stats.uniform.cdf))


def test_extreme_words_give_finite_numbers():
  uniforms = random_lib._open_uniform(tf.constant([0, 0xFF, 0x100, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF], tf.uint32))
  assert (uniforms.numpy() > 0).all() and (uniforms.numpy() < 1).all()
  assert np.isfinite(np.sqrt(-2 * np.log(uniforms.numpy()))).all()


def _correlation_p_value(values):
  """Of the hypothesis that the columns of [N, D] are uncorrelated."""
  correlations = np.corrcoef(values.T)[np.triu_indices(values.shape[1], 1)]
  return min(1.0, len(correlations) * 2 * stats.norm.sf(np.abs(correlations).max() * np.sqrt(len(values))))


def _columns(normals, log_uniforms):
  return np.concatenate([normals, stats.norm.ppf(np.exp(log_uniforms.astype(np.float64)))[:, np.newaxis]], axis=1)


def test_numbers_of_a_step_of_an_image_are_independent():
  """Of pixels, the accept test, steps, streams, images and seeds: correlations of 0.03 would be found."""
  count, size = 60000, 4
  assert statistical.z_power(0.03, count, hypotheses=400) > 0.9
  seeds = np.stack([np.full(count, 3), np.arange(count)], axis=1)
  blocks = []
  for first, second, stream, step in ((0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 0, 0), (1, 0, 0, 0)):
    moved = tf.constant(seeds + [first, second * count], tf.int64)
    normals, log_uniforms = _numbers(moved, tf.constant([step]), size, stream)
    blocks.append(_columns(normals[0].numpy(), log_uniforms[0].numpy()))
  values = np.concatenate(blocks, axis=1)
  statistical.assert_plausible(_correlation_p_value(values))
  statistical.assert_refused(_correlation_p_value(np.stack([values[:, 0], values[:, 0] * 0.03 + values[:, 1]], axis=1)))
  # Squares too: a shared radius would leave the values uncorrelated.
  statistical.assert_plausible(_correlation_p_value(np.square(values)))
  # Neighbouring images.
  statistical.assert_plausible(statistical.mean_p_value(values[1:] * values[:-1], 0.0, 1.0))


@pytest.mark.parametrize("size", SIZES)
def test_numbers_do_not_depend_on_batch_or_block(size):
  seeds = np.random.default_rng(size).integers(-2**63, 2**63 - 1, (17, 2))
  whole, whole_uniforms = _numbers(tf.constant(seeds, tf.int64), tf.range(6), size)
  whole, whole_uniforms = whole.numpy(), whole_uniforms.numpy()
  assert whole.shape == (6, 17, size) and whole_uniforms.shape == (6, 17)
  for rows in (slice(4, 5), slice(1, 4), slice(0, 16), slice(None, None, -1)):
    for steps in (range(6), range(2, 3), range(1, 4)):
      part, uniforms = _numbers(tf.constant(seeds[rows], tf.int64), tf.constant(list(steps)), size)
      np.testing.assert_array_equal(part.numpy(), whole[list(steps)][:, rows])
      np.testing.assert_array_equal(uniforms.numpy(), whole_uniforms[list(steps)][:, rows])


def test_numbers_do_not_depend_on_the_graph():
  seeds = _seeds((1, 2), (3, 4), (5, 6))
  compiled, _ = _numbers(seeds, tf.range(2), 33)
  eager, _ = random_lib.normals_and_log_uniforms(random_lib.image_keys(seeds, random_lib.CHAIN_STREAM), tf.range(2), 33)
  np.testing.assert_array_equal(compiled.numpy(), eager.numpy())
  second_step = random_lib.normals(seeds, random_lib.CHAIN_STREAM, 33, step=1)
  np.testing.assert_array_equal(second_step.numpy(), eager[1].numpy())


def test_all_bits_of_a_seed_count():
  numbers = [0, 1, -1, 2**31, -2**31, 2**32, 2**32 + 1, -2**32, 2**63 - 1, -2**63]
  pairs = [(first, second) for first in numbers for second in numbers]
  key0, key1 = random_lib.image_keys(_seeds(*pairs), random_lib.CHAIN_STREAM)
  assert len(set(zip(key0.numpy().tolist(), key1.numpy().tolist()))) == len(pairs)
  normals = random_lib.normals(_seeds(*pairs), random_lib.CHAIN_STREAM, 4).numpy()
  assert len(np.unique(normals, axis=0)) == len(pairs)


def test_streams_steps_and_neighbouring_seeds_have_distinct_keys():
  seeds = np.stack(np.meshgrid(np.arange(-20, 20), np.arange(-20, 20)), axis=-1).reshape(-1, 2)
  keys = set()
  for stream in (random_lib.CHAIN_STREAM, random_lib.CANVAS_STREAM):
    image_keys = random_lib.image_keys(tf.constant(seeds, tf.int64), stream)
    for words in (image_keys, random_lib.fold_steps(image_keys, tf.range(5))):
      keys.update(zip(words[0].numpy().reshape(-1).tolist(), words[1].numpy().reshape(-1).tolist()))
  assert len(keys) == len(seeds) * 2 * (1 + 5)
