"""Augmentation keeps an image an image of its class; mixup mixes images and labels by one weight."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.datasets.augmentation import NUM_KEYS
from stic_tf.datasets.augmentation import augment
from stic_tf.datasets.augmentation import mixup
from stic_tf.datasets.catalog import lookup
from stic_tf.datasets.share import Rows

KEYS = list(range(7, 7 + NUM_KEYS))
STEP = tf.constant(3, tf.int64)


def random_images(shape, seed=0):
  return tf.constant(np.random.default_rng(seed).uniform(-1, 1, shape), tf.float32)


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10", "svhn_cropped", "lsun/church"])
def test_shape_and_range_are_kept_and_images_change(name):
  spec = lookup(name)
  images = random_images((32, *spec.image_shape))
  augmented = augment(images, spec, KEYS, STEP).numpy()
  assert augmented.shape == images.shape and augmented.dtype == np.float32
  assert augmented.min() >= -1 - 1e-6 and augmented.max() <= 1 + 1e-6
  changed = np.abs(augmented - images.numpy()).max(axis=(1, 2, 3)) > 1e-3
  assert changed.mean() > 0.7


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_rows_of_a_batch_are_those_of_the_whole_to_the_bit(name):
  spec = lookup(name)
  images = random_images((128, *spec.image_shape))
  # 64 rows and their neighbour: the last of 65 is no part of a whole vector of the processor.
  rows = Rows(127, 65, 128)
  mine = tf.gather(images, rows.numbers())
  both = tf.function(lambda step: (augment(images, spec, KEYS, step, None, 0.25),
                                  augment(mine, spec, KEYS, step, rows, 0.25)),
                     autograph=False)
  for step in range(200):  # one in about fifty differed
    whole, part = both(tf.constant(step, tf.int64))
    np.testing.assert_array_equal(part, tf.gather(whole, rows.numbers()), err_msg=f"step {step}")


def test_same_keys_and_step_same_result_another_step_another():
  spec = lookup("mnist")
  images = random_images((8, *spec.image_shape))
  first = augment(images, spec, KEYS, STEP).numpy()
  np.testing.assert_array_equal(first, augment(images, spec, KEYS, STEP).numpy())
  assert np.abs(first - augment(images, spec, KEYS, STEP + 1).numpy()).max() > 0.1


def test_what_moves_into_a_digit_is_background():
  spec = dataclasses.replace(lookup("mnist"), max_shift=5.0)
  augmented = augment(tf.ones([64, 28, 28, 1]), spec, KEYS, STEP).numpy()
  assert augmented.min() == -1.0
  empty = augment(-tf.ones([64, 28, 28, 1]), spec, KEYS, STEP).numpy()
  np.testing.assert_array_equal(empty, -np.ones_like(empty))


def test_a_digit_is_not_moved_further_than_its_limit():
  spec = dataclasses.replace(lookup("mnist"), max_shift=2.0, max_rotation=1e-6)
  images = np.full((256, 28, 28, 1), -1.0, np.float32)
  images[:, 14, 14] = 1.0
  ink = (augment(tf.constant(images), spec, KEYS, STEP).numpy()[..., 0] + 1) / 2
  centres = np.stack([(ink * np.arange(28)[:, None]).sum((1, 2)), (ink * np.arange(28)).sum((1, 2))]) / ink.sum((1, 2))
  moved = np.abs(centres - 14).max()
  assert 1.8 < moved <= 2.0 + 1e-3


def test_a_photograph_is_an_exact_shift_or_mirrored_shift_of_the_original():
  spec = lookup("cifar10")
  images = random_images((64, 32, 32, 3)).numpy()
  augmented = augment(tf.constant(images), spec, KEYS, STEP).numpy()
  mirrored_count, shifts = 0, set()
  for image, result in zip(images, augmented):
    matches = []
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    for mirrored in (False, True):
      seen = result[:, ::-1] if mirrored else result
      for down in range(-4, 5):
        for right in range(-4, 5):
          if np.array_equal(seen, padded[4 + down:36 + down, 4 + right:36 + right]):
            matches.append((mirrored, down, right))
    assert len(matches) == 1
    mirrored_count += matches[0][0]
    shifts.update(matches[0][1:])
  assert 16 <= mirrored_count <= 48
  assert shifts == set(range(-4, 5))


def test_cutout_hides_a_grey_square_of_its_side_anywhere():
  spec = dataclasses.replace(lookup("svhn_cropped"), max_shift=0.0)
  images = random_images((4096, 32, 32, 3))
  hidden = augment(images, spec, KEYS, STEP, cutout=0.25).numpy() != images.numpy()
  assert (hidden.all(3) == hidden.any(3)).all()
  down, right = hidden.any((2, 3)).sum(1), hidden.any((1, 3)).sum(1)
  np.testing.assert_array_equal(hidden.any(3).sum((1, 2)), down * right)  # a rectangle
  assert down.max() == right.max() == 8 and down.min() == right.min() == 4
  # Fewer where a border cuts it, of 7 of its 32 places a side: a standard error is .0065.
  assert abs((down == 8).mean() - 25 / 32) < 0.033 and abs((right == 8).mean() - 25 / 32) < 0.033
  assert abs(np.corrcoef(hidden.any((2, 3)).argmax(1), hidden.any((1, 3)).argmax(1))[0, 1]) < 0.08
  grey = augment(images, spec, KEYS, STEP, cutout=0.25).numpy()[hidden]
  np.testing.assert_array_equal(grey, 0.0)
  untouched = augment(images, spec, KEYS, STEP).numpy()
  np.testing.assert_array_equal(untouched, images.numpy())


def test_house_numbers_are_never_mirrored():
  spec = dataclasses.replace(lookup("svhn_cropped"), max_shift=0.0)
  images = random_images((64, 32, 32, 3))
  np.testing.assert_array_equal(augment(images, spec, KEYS, STEP).numpy(), images.numpy())


def test_mixup_uses_one_weight_for_image_and_label():
  images = tf.reshape(tf.range(8, dtype=tf.float32), [8, 1, 1, 1]) * tf.ones([8, 2, 2, 1])
  labels = tf.one_hot(tf.range(8), 8)
  mixed_images, mixed_labels = mixup(images, labels, 1.0, tf.constant([1, 2], tf.int64))
  np.testing.assert_allclose(mixed_labels.numpy().sum(1), 1.0, rtol=1e-6)
  expected = mixed_labels.numpy() @ np.arange(8)  # image k is filled with k
  np.testing.assert_allclose(mixed_images.numpy()[:, 0, 0, 0], expected, rtol=1e-5, atol=1e-6)
  assert len(np.unique(mixed_labels.numpy().max(1))) == 8  # a weight of its own for each image


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixing_weights_are_beta_distributed(alpha):
  count = 20000
  labels = tf.tile([[1.0, 0.0], [0.0, 1.0]], [count // 2, 1])
  _, mixed = mixup(tf.zeros([count, 1, 1, 1]), labels, alpha, tf.constant([3, 4], tf.int64))
  weights = np.where(np.arange(count) % 2 == 0, mixed.numpy()[:, 0], mixed.numpy()[:, 1])
  variance = 1 / (4 * (2 * alpha + 1))
  assert abs(weights.mean() - 0.5) < 5 * np.sqrt(variance / count)
  assert abs(weights.var() / variance - 1) < 0.05


def test_a_tiny_alpha_still_gives_finite_weights():
  images, labels = mixup(tf.ones([5000, 1, 1, 1]), tf.ones([5000, 1]), 0.001, tf.constant([5, 6], tf.int64))
  np.testing.assert_allclose(images.numpy(), 1.0, rtol=1e-6)
  np.testing.assert_allclose(labels.numpy(), 1.0, rtol=1e-6)


def test_alpha_zero_is_the_identity():
  images, labels = random_images((4, 2, 2, 1)), tf.one_hot([0, 1, 2, 3], 4)
  mixed_images, mixed_labels = mixup(images, labels, 0.0, tf.constant([5, 6], tf.int64))
  assert mixed_images is images and mixed_labels is labels


def test_cutmix_puts_a_rectangle_of_the_neighbour_in_and_mixes_labels_as_the_areas_are():
  count = 4000
  images = tf.reshape(tf.range(count, dtype=tf.float32), [-1, 1, 1, 1]) * tf.ones([count, 8, 12, 1])
  labels = tf.one_hot(tf.range(count) % 4, 4)
  seed = tf.constant([1, 2], tf.int64)
  mixed, mixed_labels = (np.asarray(part) for part in mixup(images, labels, 0.0, seed, None, 1.0))
  own = mixed[..., 0] == np.arange(count)[:, None, None]
  of_neighbour = mixed[..., 0] == ((np.arange(count) - 1) % count)[:, None, None]
  assert (own != of_neighbour).all()
  rows, columns = of_neighbour.any(axis=2), of_neighbour.any(axis=1)
  np.testing.assert_array_equal(of_neighbour, rows[:, :, None] & columns[:, None])
  for along in (rows, columns):  # without gaps
    assert (np.abs(np.diff(along.astype(int), axis=1)).sum(axis=1) <= 2).all()
  share = own.mean(axis=(1, 2))
  np.testing.assert_allclose(mixed_labels[np.arange(count), np.arange(count) % 4], share, atol=1e-6)
  np.testing.assert_allclose(mixed_labels.sum(axis=1), 1.0, rtol=1e-6)
  assert share.min() < 0.2 and share.max() == 1.0
  assert of_neighbour.any(axis=0).all() and not of_neighbour.all(axis=0).any()  # a place of its own for each


@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_cutmix_takes_its_share_of_the_images_and_leaves_the_others_as_they_are(alpha):
  """Of 10,000: the share lies within 5 standard errors of .3, and so not of .25 (it would be 16 from there)."""
  count, seed = 10000, tf.constant([3, 4], tf.int64)
  images, labels = random_images((count, 8, 8, 3)), tf.one_hot(tf.range(count) % 2, 2)
  without, both = mixup(images, labels, alpha, seed), mixup(images, labels, alpha, seed, None, 0.3)
  alone = (np.asarray(both[0]) == np.asarray(without[0])).all(axis=(1, 2, 3))
  if alpha == 0:  # rectangles without a pixel change nothing either
    alone |= (np.asarray(both[1]).max(axis=1) == 1.0)
  empty = (np.asarray(mixup(images, labels, 0.0, seed, None, 1.0)[1]).max(axis=1) == 1.0).mean()
  expected = 1.0 - 0.3 * (1.0 - empty * (alpha == 0))
  assert abs(alone.mean() - expected) < 5 * np.sqrt(0.3 * 0.7 / count)
  if alpha:  # labels of the others are those of mixup as well
    np.testing.assert_allclose(np.asarray(both[1])[alone], np.asarray(without[1])[alone], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_rows_of_a_cutmixed_batch_are_those_of_the_whole_to_the_bit(alpha):
  images, labels, seed = random_images((32, 8, 8, 3)), tf.one_hot(tf.range(32) % 5, 5), tf.constant([5, 6], tf.int64)
  whole = mixup(images, labels, alpha, seed, None, 0.5)
  rows = Rows(31, 9, 32)  # the first eight, and the one before them
  part = mixup(*(tf.gather(values, rows.numbers()) for values in (images, labels)), alpha, seed, rows, 0.5)
  for mine, of_all in zip(part, whole):
    np.testing.assert_array_equal(mine, of_all[:8])
