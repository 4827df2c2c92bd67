"""What changes from pass to pass, and when training is given up."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.training import passes


@pytest.mark.parametrize("num_passes, hold, expected", [
    (3, 0.0, [0.4, 0.2, 0.1]), (5, 0.4, [0.4, 0.2, 0.1, 0.1, 0.1]), (3, 1.0, [0.4, 0.1, 0.1]), (1, 0.4, [0.4])])
def test_noise_falls_geometrically_and_is_held(num_passes, hold, expected):
  walk = config_lib.WalkConfig(noise_start=0.4, noise_end=0.1, noise_hold=hold)
  np.testing.assert_allclose(passes.noise_schedule(walk, num_passes), expected)


def test_the_learning_rate_falls_as_a_half_cosine():
  rates = passes.learning_rates(config_lib.TrainingConfig(learning_rate=1e-2, num_passes=4))
  assert rates[0] == pytest.approx(1e-2)
  assert rates[2] == pytest.approx(0.525e-2)
  assert (np.diff(rates) < 0).all() and rates[-1] > 0.05e-2
  held = config_lib.TrainingConfig(learning_rate=1e-2, num_passes=4, learning_rate_end=1.0)
  np.testing.assert_allclose(passes.learning_rates(held), 1e-2)


@pytest.mark.parametrize("logs, says", [
    ({"loss": np.nan, "energy_bound": 1.0}, "loss is nan at update 7"),
    ({"loss": np.inf, "energy_bound": 1.0}, "loss is inf at update 7"),
    ({"loss": 1.0, "energy_bound": np.nan}, "energy_bound is nan at update 7"),
    ({"loss": 1.0, "energy_bound": 10.5}, r"\|f\| = 10.5 is beyond --divergence_bound=10 at update 7")])
def test_divergence_is_named(logs, says):
  with pytest.raises(passes.DivergenceError, match=says):
    passes.check(logs, 10.0, tf.Variable(7, dtype=tf.int64))


def test_what_is_within_the_bound_goes_on():
  passes.check({"loss": -3.0, "energy_bound": 10.0}, 10.0, 7)


class _Recorder:
  """A system as far as `Passes` knows one."""

  def __init__(self):
    self.config, self.updates_done, self.calls = config_lib.RunConfig(), 3, []

  def begin_pass(self, number):
    self.calls.append(("begin", number))

  def end_pass(self):
    self.calls.append(("end",))


def test_an_epoch_is_a_pass():
  recorder = _Recorder()
  callback = passes.Passes(recorder)
  callback.on_epoch_begin(4)
  callback.on_train_batch_end(0, {"loss": 1.0, "energy_bound": 5.0})
  assert recorder.calls == [("begin", 4)]
  callback.on_epoch_end(4, {"loss": 1.0})
  assert recorder.calls == [("begin", 4), ("end",)]
  with pytest.raises(passes.DivergenceError, match="update 3"):
    callback.on_train_batch_end(1, {"loss": 1.0, "energy_bound": 1e5})
