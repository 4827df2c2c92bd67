"""M as its leading components and one variance for all the others, which are small beside noise²."""

from typing import Sequence

import numpy as np
import tensorflow as tf

from stic_tf import rounding
from stic_tf.preconditioners import base
from stic_tf.preconditioners import statistics as statistics_lib

_RANK = statistics_lib.RANK


class LowRank(base.Preconditioner):
  """M = V (Λ + noise²) Vᵀ + (λ̄ + noise²)(I - V Vᵀ): probabilistic PCA (Tipping & Bishop 1999) plus smoothing noise.

  V are the leading directions, λ̄ is the mean variance of the others. L is its symmetric root, c·I + V D Vᵀ.
  """

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    # Both orders are held: a product with a transposed factor is several times slower.
    self.directions = tf.Variable(tf.zeros([self.size, _RANK]), trainable=False, name="directions")
    self.directions_transposed = tf.Variable(tf.zeros([_RANK, self.size]), trainable=False,
                                             name="directions_transposed")
    # D / c and c of the root, then of its inverse.
    self.scales = tf.Variable(tf.zeros([2, _RANK]), trainable=False, name="scales")
    self.rest = tf.Variable(tf.ones([2]), trainable=False, name="rest")

  def fit(self, statistics, noise_level=None):
    self.mean.assign(statistics.mean)
    values, vectors, rest = statistics.leading_components
    self.directions.assign(vectors)
    self.directions_transposed.assign(vectors.T)
    roots, rest_root = np.sqrt(values + noise_level ** 2), np.sqrt(rest + noise_level ** 2)
    self.scales.assign([roots / rest_root - 1.0, rest_root / roots - 1.0])
    self.rest.assign([rest_root, 1.0 / rest_root])

  def _apply(self, which, rows):
    inner = rounding.product(rows, self.directions) * self.scales[which]
    # The scale last: a sum is added to this, and a sum of three may be regrouped (stic_tf/rounding.py).
    return self.rest[which] * (rows + rounding.product(inner, self.directions_transposed))

  def color(self, rows, level=None):
    return self._apply(0, rows)

  def whiten(self, rows):
    return self._apply(1, rows)
