"""Passes of self-analysis as Keras callbacks: what happens around an epoch, and when training is given up."""

from typing import Dict

import keras
import numpy as np

from stic_tf import config as config_lib


class DivergenceError(RuntimeError):
  """A loss is not finite, or a logit is beyond --divergence_bound."""


class Passes(keras.callbacks.Callback):
  """Makes an epoch a pass: `begin_pass` before it, `end_pass` after it, and no update beyond one that diverged.

  Args:
    system: a systems.base.System.
  """

  def __init__(self, system):
    super().__init__()
    self.system = system

  def on_epoch_begin(self, epoch, logs=None):
    del logs
    self.system.begin_pass(epoch)

  def on_train_batch_end(self, batch, logs=None):
    del batch
    check(logs, self.system.config.training.divergence_bound, self.system.updates_done)

  def on_epoch_end(self, epoch, logs=None):
    del epoch, logs
    self.system.end_pass()


def check(logs: Dict[str, float], bound: float, updates_done) -> None:
  """Raises DivergenceError unless all logs are finite and the largest |f|, energy_bound, is within `bound`."""
  for name, value in logs.items():
    if not np.isfinite(value):
      raise DivergenceError(f"{name} is {value} at update {int(updates_done)}")
  if logs["energy_bound"] > bound:
    raise DivergenceError(f"|f| = {logs['energy_bound']:.3g} is beyond --divergence_bound={bound:g} "
                          f"at update {int(updates_done)}")


def noise_schedule(walk: config_lib.WalkConfig, num_passes: int) -> np.ndarray:
  """Smoothing noise s of each pass: geometric from `noise_start` to `noise_end`, then held. float [num_passes].

  It is held while the learning rate goes to its end: a network that is still handed new noise levels at the smallest
  learning rates cannot follow.
  """
  falling = max(1, num_passes - int(round(walk.noise_hold * num_passes)))
  levels = np.full([num_passes], walk.noise_end)
  levels[:falling] = np.geomspace(walk.noise_start, walk.noise_end, falling)
  return levels


def learning_rates(training: config_lib.TrainingConfig) -> np.ndarray:
  """Learning rate of each pass: a half cosine from `learning_rate` towards its share `learning_rate_end`."""
  phase, end = np.arange(training.num_passes) / training.num_passes, training.learning_rate_end
  return training.learning_rate * (end + (1.0 - end) * 0.5 * (1.0 + np.cos(np.pi * phase)))
