"""Augmentation and mixup of a batch: stateless, so that a batch is a function of its keys alone.

For the classification streams only: an augmented image is not a draw from p(x | y), so a generative stream must never
see one (docs/equations.md; SADA-JEM).
"""

import math
from typing import Optional, Sequence, Tuple

import tensorflow as tf
import tensorflow_addons as tfa

from stic_tf.datasets.catalog import DatasetSpec
from stic_tf.datasets.pixel_range import BACKGROUND
from stic_tf.datasets.share import Rows

NUM_KEYS = 4  # how many keys `augment` takes


def augment(images: tf.Tensor, spec: DatasetSpec, keys: Sequence[int], step: tf.Tensor,
            rows: Optional[Rows] = None, cutout: float = 0.0) -> tf.Tensor:
  """The augmentation that suits the dataset, within its `max_shift`, `max_rotation` and `flip`, and cutout.

  Args:
    images: float32 [B, H, W, C] in [-1, 1].
    spec: the dataset they are from.
    keys: NUM_KEYS integers.
    step: int64 scalar, the batch; (keys, step) determine every random number.
    rows: which rows of the batch the images are; None for all.
    cutout: side of the square that is hidden in each, as a share of the image's sides, in [0, 1); 0 for none.

  Returns:
    float32 [B, H, W, C] in [-1, 1].
  """
  shift_seed, rotation_seed, flip_seed, cutout_seed = (tf.stack([tf.constant(key, tf.int64), step]) for key in keys)
  rows = rows or Rows(0, len(images), len(images))
  if spec.max_rotation > 0:
    images = _shift_and_rotate(images, spec.max_shift, spec.max_rotation, shift_seed, rotation_seed, rows)
  else:
    images = _crop_and_flip(images, int(spec.max_shift), spec.flip, shift_seed, flip_seed, rows)
  return _cut_out(images, cutout, cutout_seed, rows) if cutout else images


def mixup(images: tf.Tensor, labels: tf.Tensor, alpha: float, seed: tf.Tensor, rows: Optional[Rows] = None,
          cutmix: float = 0.0) -> Tuple[tf.Tensor, tf.Tensor]:
  """Mixtures of pairs of images and of their labels (Zhang et al. 2018, "mixup", eqn 1).

  Each image is mixed with its neighbour in the batch, which is a random partner in a shuffled batch, by a weight of
  its own, lambda ~ Beta(alpha, alpha). By CutMix (Yun et al. 2019) it gets a rectangle of its neighbour instead, at a
  random place and of a uniform share of its area, and the labels are mixed as the areas are.

  Args:
    images: float32 [B, H, W, C].
    labels: float32 [B, K], class weights.
    alpha: at least 0; 0 leaves the images as they are.
    seed: int64 [2].
    rows: which rows of the batch they are, a neighbour first, which has none itself and is left out; None for all.
    cutmix: share of the images that CutMix takes, in [0, 1].

  Returns:
    images float32 [B, H, W, C] and class weights float32 [B, K].
  """
  whole = rows is None
  if alpha == 0 and cutmix == 0:
    return (images, labels) if whole else (images[1:], labels[1:])
  count = tf.shape(images)[0] if whole else rows.of
  shares = _beta(alpha, count, seed)[:, None, None, None]  # of an image, at each of its positions
  if cutmix:
    shares = _beside_rectangles(shares, images.shape[1:3], cutmix, tf.random.experimental.stateless_fold_in(seed, 1))
  if whole:
    others, other_labels = tf.roll(images, 1, axis=0), tf.roll(labels, 1, axis=0)
  else:
    shares = rows.of_batch(shares)[1:]
    images, others, labels, other_labels = images[1:], images[:-1], labels[1:], labels[:-1]
  label_shares = tf.reduce_mean(shares, axis=[1, 2])
  return shares * images + (1.0 - shares) * others, label_shares * labels + (1.0 - label_shares) * other_labels


def _beta(alpha: float, count, seed: tf.Tensor) -> tf.Tensor:
  """float32 [count] of Beta(alpha, alpha); 1 of alpha = 0."""
  if alpha == 0:
    return tf.ones([count])
  # A ratio of two gammas, in float64: for a small alpha float32 gammas underflow to 0 / 0.
  gammas = tf.random.stateless_gamma([2, count], seed, alpha=tf.constant(alpha, tf.float64), dtype=tf.float64)
  return tf.cast(tf.math.divide_no_nan(gammas[0], gammas[0] + gammas[1]), tf.float32)


def _beside_rectangles(shares: tf.Tensor, sides, cutmix: float, seed: tf.Tensor) -> tf.Tensor:
  """`shares` [B, 1, 1, 1], but for a share `cutmix` of images 0 in a rectangle of theirs and 1 beside: [B, H, W, 1]."""
  chosen, area, *centre = tf.unstack(tf.random.stateless_uniform([4, tf.shape(shares)[0]], seed))

  def inside(side, middle):
    half = 0.5 * tf.sqrt(area) * side
    first, last = (tf.round(side * middle + sign * half)[:, tf.newaxis] for sign in (-1.0, 1.0))
    places = tf.range(side, dtype=tf.float32)
    return tf.logical_and(places >= first, places < last)

  beside = 1.0 - tf.cast(_rectangles(*map(inside, sides, centre)), tf.float32)
  return tf.where((chosen < cutmix)[:, tf.newaxis, tf.newaxis, tf.newaxis], beside, shares)


def _rectangles(down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
  """Which pixels lie in a rectangle of lines [B, H] and columns [B, W]: [B, H, W, 1]."""
  return tf.logical_and(down[:, :, tf.newaxis], right[:, tf.newaxis])[..., tf.newaxis]


def flip(images: tf.Tensor, seed: tf.Tensor, rows: Rows) -> tf.Tensor:
  """Half of the images, `rows` of a batch, mirrored left to right: float32 [B, H, W, C], seed int64 [2]."""
  mirrored = rows.of_batch(tf.random.stateless_uniform([rows.of, 1, 1, 1], seed, 0, 2, tf.int32)) == 1
  return tf.where(mirrored, images[:, :, ::-1], images)


def _shift_and_rotate(images: tf.Tensor, max_shift: float, max_rotation: float, shift_seed: tf.Tensor,
                      rotation_seed: tf.Tensor, rows: Rows) -> tf.Tensor:
  """Sub-pixel shift and rotation about the centre; what moves in from outside is background."""
  _, height, width, _ = images.shape
  shifts = tf.random.stateless_uniform([rows.of, 2], shift_seed, -max_shift, max_shift)
  limit = math.radians(max_rotation)
  angles = tf.random.stateless_uniform([rows.of], rotation_seed, -limit, limit)
  # Composed, so that the images are resampled (and blurred) once.
  transforms = tfa.image.compose_transforms([
      tfa.image.transform_ops.angles_to_projective_transforms(angles, float(height), float(width)),
      tfa.image.translate_ops.translations_to_projective_transforms(shifts)])
  # Of the whole batch: a sine has other last bits among the last few of a tensor than among the others.
  return tfa.image.transform(images, rows.of_batch(transforms), "bilinear", fill_value=BACKGROUND)


def _crop_and_flip(images: tf.Tensor, max_shift: int, flip: bool, shift_seed: tf.Tensor,
                   flip_seed: tf.Tensor, rows: Rows) -> tf.Tensor:
  """A random crop of the image with its border mirrored outwards, and a random mirror image; whole pixels."""
  count, height, width, _ = images.shape
  shifts = rows.of_batch(
      tf.random.stateless_uniform([rows.of, 2], shift_seed, -max_shift, max_shift + 1, tf.int32))
  lines = _mirrored(tf.range(height)[None] + shifts[:, :1], height)
  columns = _mirrored(tf.range(width)[None] + shifts[:, 1:], width)
  if flip:
    flipped = rows.of_batch(tf.random.stateless_uniform([rows.of, 1], flip_seed, 0, 2, tf.int32))
    columns = tf.where(flipped == 1, columns[:, ::-1], columns)
  # Both are one gather of pixels, which is cheaper than padding, cropping and reversing image by image.
  pixels = (tf.range(count)[:, None, None] * height + lines[:, :, None]) * width + columns[:, None, :]
  return tf.gather(tf.reshape(images, [count * height * width, -1]), pixels)


def _cut_out(images: tf.Tensor, share: float, seed: tf.Tensor, rows: Rows) -> tf.Tensor:
  """A square of each image hidden in grey (DeVries & Taylor 2017), partly outside where its centre is near a border."""
  sides = tuple(images.shape[1:3])
  centres = rows.of_batch(tf.random.stateless_uniform([rows.of, 2], seed)) * tf.constant(sides, tf.float32)
  centres = tf.floor(centres) - 0.5  # between pixels, so that an even side is met
  down, right = (tf.abs(tf.range(side, dtype=tf.float32) - centres[:, axis, tf.newaxis]) < 0.5 * share * side
                 for axis, side in enumerate(sides))
  return tf.where(_rectangles(down, right), 0.0, images)


def _mirrored(positions: tf.Tensor, size: int) -> tf.Tensor:
  """Positions up to `size - 1` outside [0, size) folded back into it, the edge pixel not repeated."""
  folded = tf.abs(positions)
  return (size - 1) - tf.abs((size - 1) - folded)
