"""Energy and input gradient in one pass of the network, and the denoising step that renders: once, for all systems."""

from typing import Callable

import tensorflow as tf

from stic_tf import rounding


def energy_and_gradient(energy: Callable, images: tf.Tensor) -> tuple:
  """(f [B], what else `energy` gave, ∇_x f [B, H, W, C]) of a function images -> (f [B], anything)."""
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(images)
    value, others = energy(images)
  return value, others, tape.gradient(value, images)


def denoise(rows: tf.Tensor, score: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
  """The mean of the clean image given a noisy one: x + σ²·∇log p(x) (Tweedie; the jump of Saremi & Hyvärinen 2019).

  Args:
    rows, score: float32, of one shape.
    variance: σ², of a shape that broadcasts with theirs.
  """
  return rounding.add_product(rows, variance, score)
