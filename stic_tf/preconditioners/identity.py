"""M as a multiple of the unit matrix: for ablation, and JEM's walk in pixels."""

from typing import Sequence

import numpy as np
import tensorflow as tf

from stic_tf.preconditioners import base


class Identity(base.Preconditioner):
  """M = scale²·I; scale² is the mean variance of a pixel plus noise². Not fitted: pixels as they are."""

  of_images = False

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    self.scale = tf.Variable(1.0, trainable=False, name="scale")

  def fit(self, statistics, noise_level=None):
    self.mean.assign(statistics.mean)
    self.scale.assign(np.sqrt(statistics.mean_variance + noise_level ** 2))

  def color(self, rows, level=None):
    return rows * self.scale

  def whiten(self, rows):
    return rows / self.scale


class Pixels(Identity):
  """M = I and mean 0 whatever the images: JEM's SGLD walks in pixels."""

  def fit(self, statistics, noise_level=None):
    del statistics, noise_level


class IdentityLevels(base.Preconditioner):
  """M_σ = σ²·I."""

  of_images = False

  def fit(self, statistics, noise_level=None):
    self.mean.assign(statistics.mean)

  def color(self, rows, level=None):
    return rows * level[:, tf.newaxis]
