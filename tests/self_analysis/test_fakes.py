"""Class weights of the chains, and the pool that forgets no pass."""

import collections

import numpy as np
import pytest

from stic_tf.self_analysis import fakes


def _weights(num_chains, num_classes, soft_fraction, seed=0):
  return fakes.class_weights_of_chains(num_chains, num_classes, soft_fraction, np.random.default_rng(seed))


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


def _pool_after(capacity, sizes):
  """A pool after passes 0, 1, … of `sizes` fakes; a fake's image holds 1000 · pass + its number."""
  pool, rng = fakes.FakePool(capacity, (2, 2, 1), 3), np.random.default_rng(0)
  for number, size in enumerate(sizes):
    values = 1000 * number + np.arange(size, dtype=np.float32)
    images = np.tile(values[:, np.newaxis, np.newaxis, np.newaxis], [1, 2, 2, 1])
    pool.add(images, np.eye(3, dtype=np.float32)[np.arange(size) % 3], number, rng)
  return pool


def _counts(pool):
  return collections.Counter(pool.passes.tolist())


def test_below_its_capacity_the_pool_keeps_all():
  pool = _pool_after(100, [30, 30, 40])
  assert len(pool) == 100 and _counts(pool) == {0: 30, 1: 30, 2: 40}


def test_above_it_every_pass_keeps_an_equal_share():
  pool = _pool_after(40, [32] * 7)
  assert len(pool) == 40
  # 40 = 7 · 5 + 5: the newest five take one more.
  assert _counts(pool) == {0: 5, 1: 5, **{number: 6 for number in range(2, 7)}}


def test_images_weights_and_passes_stay_together():
  pool = _pool_after(40, [32] * 7)
  values = pool.images[:, 0, 0, 0]
  assert len(np.unique(values)) == 40
  np.testing.assert_array_equal(values // 1000, pool.passes)
  np.testing.assert_array_equal(values % 1000 % 3, pool.class_weights.argmax(1))


def test_more_passes_than_room_keeps_the_newest():
  assert _counts(_pool_after(3, [5] * 5)) == {2: 1, 3: 1, 4: 1}


def test_sampling_covers_the_pool():
  pool = _pool_after(100, [10, 10])
  images, weights = pool.sample(500, np.random.default_rng(0))
  assert images.shape == (500, 2, 2, 1) and weights.shape == (500, 3)
  assert len(np.unique(images[:, 0, 0, 0])) == 20
  np.testing.assert_array_equal(images[:, 0, 0, 0] % 1000 % 3, weights.argmax(1))


def test_an_empty_pool_cannot_be_sampled():
  with pytest.raises(ValueError, match="empty"):
    fakes.FakePool(10, (2, 2, 1), 3).sample(1, np.random.default_rng(0))
