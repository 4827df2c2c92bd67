"""Class weights of the chains, and the pool that forgets no pass."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.training import fakes


def _chains(num_chains, num_classes, soft_fraction, seed=0, image_shape=(2, 2, 1)):
  rng = np.random.default_rng(seed)
  return fakes.Chains(image_shape, *fakes.classes_of_chains(num_chains, num_classes, soft_fraction, rng))


def _weights(num_chains, num_classes, soft_fraction, seed=0):
  weights = _chains(num_chains, num_classes, soft_fraction, seed).class_weights(tf.range(num_chains), num_classes)
  return weights.numpy()


@pytest.mark.parametrize("soft_fraction, soft", [(0.0, 0), (0.25, 25), (1.0, 100)])
def test_soft_fakes_in_the_given_proportion(soft_fraction, soft):
  weights = _weights(100, 10, soft_fraction)
  assert weights.dtype == np.float32 and weights.shape == (100, 10)
  assert (weights >= 0).all()
  np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
  assert ((weights > 0).sum(1) == 2).sum() == soft
  assert (weights.max(1) == 1).sum() == 100 - soft


def test_hard_classes_are_balanced():
  weights = _weights(1000, 10, 0.25)
  assert collections.Counter(weights[:750].argmax(1).tolist()) == {label: 75 for label in range(10)}


def test_the_classes_that_have_hard_fakes():
  np.testing.assert_array_equal(_chains(12, 10, 0.25).hard_classes(), np.arange(9))


def test_mixtures_reach_all_pairs_and_shares():
  weights = _weights(3000, 4, 1.0)
  assert len({tuple(np.flatnonzero(row)) for row in weights}) == 6
  # The larger share of a uniform one is uniform in [1/2, 1]; 3000 of them have a standard error of 0.0026.
  assert weights.max(1).mean() == pytest.approx(0.75, abs=0.013)


def test_mixtures_follow_the_generator():
  np.testing.assert_array_equal(_weights(50, 10, 0.5), _weights(50, 10, 0.5))
  assert (_weights(50, 10, 0.5) != _weights(50, 10, 0.5, seed=1)).any()


def test_one_class_has_no_mixtures():
  np.testing.assert_array_equal(_weights(8, 1, 0.5), np.ones([8, 1]))


def test_a_row_is_of_the_chain_that_is_asked_for():
  chains = _chains(40, 5, 0.5)
  whole = chains.class_weights(tf.range(40), 5).numpy()
  rows = [39, 3, 3, 20]
  np.testing.assert_array_equal(chains.class_weights(tf.constant(rows), 5), whole[rows])
  for row, (labels, share) in enumerate(zip(chains.labels.numpy(), chains.shares.numpy())):
    assert whole[row, labels[0]] == (1.0 if labels[0] == labels[1] else share)


def test_chains_take_back_what_has_moved():
  chains = _chains(6, 3, 0.0)
  assert not chains.begun.numpy().any()
  moved = tf.reshape(tf.range(1.0, 13.0), [3, 2, 2, 1])
  tf.function(chains.put, autograph=False)(tf.constant([4, 0, 2]), moved)
  np.testing.assert_array_equal(chains.begun, [True, False, True, False, True, False])
  np.testing.assert_array_equal(tf.gather(chains.images, [4, 0, 2]), moved)
  assert not tf.gather(chains.images, [1, 3, 5]).numpy().any()


def test_of_a_chain_named_twice_the_last_counts():
  chains = _chains(3, 3, 0.0)
  chains.put(tf.constant([1, 1]), tf.reshape(tf.range(8.0), [2, 2, 2, 1]))
  np.testing.assert_array_equal(chains.images[1, :, :, 0], [[4.0, 5.0], [6.0, 7.0]])


@functools.lru_cache(maxsize=None)  # hundreds of pools are given the same
def _hard_chains(labels, first):
  """Chains of hard classes; their images hold the numbers from `first` on."""
  classes = np.tile(np.array(labels, np.int32)[:, np.newaxis], [1, 2])
  chains = fakes.Chains((2, 2, 1), classes, np.ones(len(labels), np.float32))
  values = tf.range(first, first + len(labels), dtype=tf.float32)
  chains.put(tf.range(len(labels)), tf.tile(tf.reshape(values, [-1, 1, 1, 1]), [1, 2, 2, 1]))
  return chains


def _pool_after(capacity, labels_of_passes, seed=0):
  """A pool of 3 classes after passes 0, 1, … of hard fakes; a fake's image holds 1000 · pass + its number."""
  pool, rng = fakes.FakePool(capacity, (2, 2, 1), 3), np.random.default_rng(seed)
  for number, labels in enumerate(labels_of_passes):
    chains = _hard_chains(tuple(labels), 1000 * number)
    pool.add(chains, chains.images, number, rng)
  return pool


def _owners(pool):
  """The class of the larger share of the fakes that a pool holds."""
  return pool.class_weights(tf.range(len(pool)), 3).numpy().argmax(1)


def _passes(pool):
  return pool.passes.numpy()[:len(pool)]


def _equal(size):
  return np.arange(size) % 3


def _counts(values):
  return collections.Counter(values.tolist())


def test_below_its_capacity_the_pool_keeps_all():
  pool = _pool_after(100, [_equal(30), _equal(30), _equal(40)])
  assert len(pool) == 100 and _counts(_passes(pool)) == {0: 30, 1: 30, 2: 40}
  np.testing.assert_array_equal(pool.images[:30, 0, 0, 0], np.arange(30))


def test_no_pass_is_forgotten():
  """300 pools of 30 after 6 equal passes: each pass keeps 5 on average, with a standard error of about 0.1."""
  pools = [_pool_after(30, [_equal(60)] * 6, seed) for seed in range(300)]
  assert all(len(pool) == 30 for pool in pools)
  means = np.mean([np.bincount(_passes(pool), minlength=6) for pool in pools], axis=0)
  np.testing.assert_allclose(means, 5.0, atol=0.6)


def test_the_classes_share_a_full_pool():
  # Class 2 comes late and seldom, class 0 is most of what is drawn: each keeps a third.
  pool = _pool_after(30, [[0] * 50 + [1] * 12, [0] * 50 + [2] * 11, [0] * 50])
  assert _counts(_owners(pool)) == {0: 10, 1: 10, 2: 10}
  assert len(pool) == 30 and pool.seen.numpy().tolist() == [150, 12, 11]


def test_a_class_with_less_than_its_share_loses_nothing():
  pool = _pool_after(30, [[0] * 50 + [1] * 3, [0] * 50, [0] * 50])
  assert _counts(_owners(pool)) == {0: 27, 1: 3}


def test_a_pool_of_one_a_class():
  assert sorted(_owners(_pool_after(3, [_equal(9)] * 4))) == [0, 1, 2]


def test_images_classes_and_passes_stay_together():
  pool = _pool_after(40, [_equal(32)] * 7)
  values = pool.images.numpy()[:, 0, 0, 0]
  assert len(np.unique(values)) == 40
  np.testing.assert_array_equal(values // 1000, pool.passes)
  np.testing.assert_array_equal(values % 1000 % 3, _owners(pool))


def test_a_chain_that_has_not_begun_is_no_fake():
  chains, pool = _chains(9, 3, 0.0), fakes.FakePool(20, (2, 2, 1), 3)
  pool.add(chains, chains.images, 0, np.random.default_rng(0))
  assert len(pool) == 0
  chains.put(tf.constant([7, 2]), tf.ones([2, 2, 2, 1]) * tf.reshape([7.0, 2.0], [2, 1, 1, 1]))
  pool.add(chains, chains.images, 0, np.random.default_rng(0))
  assert len(pool) == 2
  np.testing.assert_array_equal(pool.images[:2, 0, 0, 0], [2.0, 7.0])
  np.testing.assert_array_equal(_owners(pool), [2, 1])


def test_a_soft_fake_keeps_its_mixture_and_counts_for_its_larger_share():
  chains = fakes.Chains((2, 2, 1), np.array([[0, 1], [2, 0]], np.int32), np.array([0.25, 0.5], np.float32))
  chains.put(tf.range(2), tf.ones([2, 2, 2, 1]))
  pool = fakes.FakePool(5, (2, 2, 1), 3)
  pool.add(chains, chains.images, 4, np.random.default_rng(0))
  np.testing.assert_allclose(pool.class_weights(tf.range(2), 3), [[0.25, 0.75, 0.0], [0.5, 0.0, 0.5]])
  assert pool.seen.numpy().tolist() == [0, 1, 1] and _passes(pool).tolist() == [4, 4]


def test_a_pool_taken_back_goes_on_identically():
  pool = _pool_after(40, [_equal(32)] * 3)
  other = fakes.FakePool(40, (2, 2, 1), 3)
  names = pool.named_variables()
  assert set(names) == {"images", "labels", "shares", "passes", "count", "seen", "full"} == set(other.named_variables())
  for name, variable in other.named_variables().items():
    variable.assign(names[name])
  for each in (pool, other):
    chains = _hard_chains(tuple(_equal(20)), 9000)
    each.add(chains, chains.images, 3, np.random.default_rng(5))
  for name, variable in other.named_variables().items():
    np.testing.assert_array_equal(variable, names[name])


def test_memory_does_not_grow_with_the_classes():
  sizes = []
  for num_classes in (10, 10000):
    chains, pool = _chains(500, num_classes, 0.25), fakes.FakePool(400, (2, 2, 1), num_classes)
    chains.put(tf.range(500), tf.zeros([500, 2, 2, 1]))
    pool.add(chains, chains.images, 0, np.random.default_rng(0))
    assert len(pool) == 400
    held = {**pool.named_variables(), **{f"chains/{name}": each for name, each in chains.named_variables().items()}}
    sizes.append({name: variable.shape.num_elements() for name, variable in held.items()
                  if name not in ("seen", "full")})
  assert sizes[0] == sizes[1]
