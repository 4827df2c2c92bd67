"""Class weights of the chains, and the pool that forgets no pass."""

import collections

import numpy as np
import pytest

from stic_tf.self_analysis import fakes


def _weights(num_chains, num_classes, soft_fraction, seed=0):
  classes = fakes.classes_of_chains(num_chains, num_classes, soft_fraction, np.random.default_rng(seed))
  weights = classes.dense(num_classes)
  np.testing.assert_array_equal(classes.largest(), weights.argmax(1))
  return weights


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
  mixed = fakes.classes_of_chains(12, 10, 0.25, np.random.default_rng(0))
  np.testing.assert_array_equal(mixed.hard(), np.arange(9))


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


def _pool_after(capacity, labels_of_passes, seed=0):
  """A pool of 3 classes after passes 0, 1, … of hard fakes; a fake's image holds 1000 · pass + its number."""
  pool, rng = fakes.FakePool(capacity, (2, 2, 1), 3), np.random.default_rng(seed)
  for number, labels in enumerate(labels_of_passes):
    labels = np.asarray(labels, np.int32)
    values = 1000 * number + np.arange(len(labels), dtype=np.float32)
    images = np.tile(values[:, np.newaxis, np.newaxis, np.newaxis], [1, 2, 2, 1])
    classes = fakes.MixedClasses(np.stack([labels, labels], axis=1), np.ones(len(labels), np.float32))
    pool.add(images, classes, number, rng)
  return pool


def _equal(size):
  return np.arange(size) % 3


def _counts(values):
  return collections.Counter(values.tolist())


def test_below_its_capacity_the_pool_keeps_all():
  pool = _pool_after(100, [_equal(30), _equal(30), _equal(40)])
  assert len(pool) == 100 and _counts(pool.passes) == {0: 30, 1: 30, 2: 40}
  np.testing.assert_array_equal(pool.images[:30, 0, 0, 0], np.arange(30))


def test_no_pass_is_forgotten():
  """300 pools of 30 after 6 equal passes: each pass keeps 5 on average, with a standard error of about 0.1."""
  pools = [_pool_after(30, [_equal(60)] * 6, seed) for seed in range(300)]
  assert all(len(pool) == 30 for pool in pools)
  means = np.mean([np.bincount(pool.passes, minlength=6) for pool in pools], axis=0)
  np.testing.assert_allclose(means, 5.0, atol=0.6)


def test_the_classes_share_a_full_pool():
  # Class 2 comes late and seldom, class 0 is most of what is drawn: each keeps a third.
  pool = _pool_after(30, [[0] * 50 + [1] * 12, [0] * 50 + [2] * 11, [0] * 50])
  assert _counts(pool.classes.largest()) == {0: 10, 1: 10, 2: 10}
  assert len(pool) == 30 and pool.seen.tolist() == [150, 12, 11]


def test_a_class_with_less_than_its_share_loses_nothing():
  pool = _pool_after(30, [[0] * 50 + [1] * 3, [0] * 50, [0] * 50])
  assert _counts(pool.classes.largest()) == {0: 27, 1: 3}


def test_a_pool_of_one_a_class():
  assert sorted(_pool_after(3, [_equal(9)] * 4).classes.largest()) == [0, 1, 2]


def test_images_classes_and_passes_stay_together():
  pool = _pool_after(40, [_equal(32)] * 7)
  values = pool.images[:, 0, 0, 0]
  assert len(np.unique(values)) == 40
  np.testing.assert_array_equal(values // 1000, pool.passes)
  np.testing.assert_array_equal(values % 1000 % 3, pool.classes.largest())


def test_a_pool_taken_back_goes_on_identically():
  pool = _pool_after(40, [_equal(32)] * 3)
  other = fakes.FakePool(40, (2, 2, 1), 3)
  other.load_state("pool", {name: array.copy() for name, array in pool.state("pool").items()})
  for each in (pool, other):
    each.add(pool.images[:20].copy() + 9000, pool.classes[np.arange(20)], 3, np.random.default_rng(5))
  for name, array in pool.state("pool").items():
    np.testing.assert_array_equal(other.state("pool")[name], array)


def test_memory_does_not_grow_with_the_classes():
  sizes = []
  for num_classes in (10, 10000):
    classes = fakes.classes_of_chains(500, num_classes, 0.25, np.random.default_rng(0))
    pool = fakes.FakePool(400, (2, 2, 1), num_classes)
    pool.add(np.zeros([500, 2, 2, 1], np.float32), classes, 0, np.random.default_rng(0))
    sizes.append(pool.images.nbytes + pool.classes.labels.nbytes + pool.classes.shares.nbytes + pool.passes.nbytes)
  assert sizes[0] == sizes[1] and len(pool) == 400


def test_sampling_covers_the_pool():
  pool = _pool_after(100, [_equal(10), _equal(10)])
  images, weights = pool.sample(500, np.random.default_rng(0))
  assert images.shape == (500, 2, 2, 1) and weights.shape == (500, 3)
  assert len(np.unique(images[:, 0, 0, 0])) == 20
  np.testing.assert_array_equal(images[:, 0, 0, 0] % 1000 % 3, weights.argmax(1))


def test_an_empty_pool_cannot_be_sampled():
  with pytest.raises(ValueError, match="empty"):
    fakes.FakePool(10, (2, 2, 1), 3).sample(1, np.random.default_rng(0))
