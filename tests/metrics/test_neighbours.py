"""Precision and recall against hand-made sets, and copies told from new images."""

import numpy as np
import pytest

from stic_tf.metrics import neighbours


def _cloud(count, centre=0.0, seed=0):
  return np.random.default_rng(seed).normal(size=(count, 8)) + centre


def test_the_same_distribution_has_both():
  """Of 1000 points from one Gaussian in eight dimensions most lie in the other sample's balls."""
  precision, recall = neighbours.precision_and_recall(_cloud(1000), _cloud(1000, seed=1))
  assert precision > 0.8 and recall > 0.8


def test_another_has_neither():
  assert neighbours.precision_and_recall(_cloud(300), _cloud(300, 20, seed=1)) == (0.0, 0.0)


def test_a_mode_that_is_missing_costs_recall_alone():
  both = np.concatenate([_cloud(500), _cloud(500, 20, seed=1)])
  precision, recall = neighbours.precision_and_recall(both, _cloud(1000, seed=2))
  assert precision > 0.8 and 0.3 < recall < 0.55


def test_a_mode_that_is_made_up_costs_precision_alone():
  both = np.concatenate([_cloud(500), _cloud(500, 20, seed=1)])
  precision, recall = neighbours.precision_and_recall(_cloud(1000, seed=2), both)
  assert 0.3 < precision < 0.55 and recall > 0.8


def test_balls_by_hand():
  """Real points at 0, 1 and 3 have radii 1, 1 and 2 (the nearest other): a drawing at -1.5 is outside, 4.5 inside."""
  real = np.array([[0.0], [1.0], [3.0]])
  assert neighbours.precision_and_recall(real, np.array([[-1.5], [4.5]]), neighbours=1)[0] == 0.5


def test_distances_are_root_mean_squares():
  """Of 0 and 255 all pixels differ by the whole range, which is 2; of half of them, by the root of 2."""
  black, white = np.zeros((1, 4, 4, 1), np.uint8), np.full((1, 4, 4, 1), 255, np.uint8)
  half = black.copy()
  half[:, :2] = 255
  np.testing.assert_allclose(neighbours.distances_to_nearest(np.concatenate([white, half, black]), black),
                             [2, np.sqrt(2), 0], atol=1e-3)


def test_copies_are_told_from_new_images():
  images = np.random.default_rng(0).integers(0, 256, (300, 6, 6, 1)).astype(np.uint8)
  train, test, fresh = images[:100], images[100:200], images[200:]
  new = neighbours.nearness_to_training(fresh, train, test)
  assert 0.95 < new["nearest_train"] < 1.05 and new["nearest_train_least"] > 0.8
  copies = neighbours.nearness_to_training(np.concatenate([fresh[:99], train[:1]]), train, test)
  assert copies["nearest_train_least"] == pytest.approx(0, abs=1e-3)
  assert neighbours.nearness_to_training(fresh, train, train) == {"nearest_train": None, "nearest_train_least": None}


def test_a_mirror_image_of_a_training_image_is_a_copy_where_these_were_learnt():
  rng = np.random.default_rng(0)
  train, test, new = rng.integers(0, 256, [3, 20, 6, 6, 1]).astype(np.uint8)
  mirrored = train[:, :, ::-1]
  assert neighbours.nearness_to_training(mirrored, train, test)["nearest_train"] > 0.5
  assert neighbours.nearness_to_training(mirrored, train, test, mirrored=True)["nearest_train"] == 0
  assert neighbours.nearness_to_training(new, train, test, mirrored=True)["nearest_train"] == pytest.approx(1, abs=0.15)
