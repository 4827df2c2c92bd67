"""Solvers on a Gaussian, where the way from level to level is known: their order and cost, and one from elsewhere."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import registries
from stic_tf.diffusion import predictor_corrector
from stic_tf.diffusion import schedule
from stic_tf.diffusion import solver as solver_lib
from stic_tf.mcmc import mala

COUNT, SIZE, SPREAD = 40, 3, 0.5
SCHEDULE = schedule.Schedule(sigma_min=0.05, sigma_max=5.0, rho=7.0)


def _evaluate(rows, level):
  """log density and score of N(0, SPREAD² + σ²)."""
  variance = (SPREAD ** 2 + tf.square(level))[:, tf.newaxis]
  return -0.5 * tf.reduce_sum(tf.square(rows) / variance, axis=1), -rows / variance


def _run(solver, num_steps, steps=0, rows=None):
  rows = tf.constant(np.random.default_rng(0).normal(size=(COUNT, SIZE)) * 5.0, tf.float32) if rows is None else rows
  seeds = tf.constant([[0, row] for row in range(COUNT)], tf.int64)
  corrector = predictor_corrector.Corrector(lambda factor: mala.Mala(None, SIZE, factor),
                                            lambda values, level: values * level[:, tf.newaxis], steps,
                                            tf.fill([COUNT], 0.3))
  run = tf.function(lambda: predictor_corrector.run(
      _evaluate, rows, seeds, tf.fill([COUNT], num_steps), SCHEDULE, solver, corrector), autograph=False)
  return rows.numpy(), run()


def _error(solver, num_steps):
  """Largest relative error at the last level; the exact flow scales by the ratio of standard deviations."""
  rows, end = _run(solver, num_steps)
  exact = rows * np.sqrt((SPREAD ** 2 + SCHEDULE.sigma_min ** 2) / (SPREAD ** 2 + SCHEDULE.sigma_max ** 2))
  return np.abs(end.rows.numpy() / exact - 1.0).max()


class FirstOrder(solver_lib.Solver):
  """Euler's step, for the negative control and as a part from elsewhere."""

  def advance(self, state, rows, score, trial_score, before, level):
    return rows - (level - before) * before * score, state


@pytest.mark.parametrize("name", ["heun", "dpm_solver_pp"])
def test_second_order_solvers(name):
  """Twice the levels: a quarter of the error, where a first-order step has half of it."""
  solver = registries.SOLVERS.load(name)
  ratio = _error(solver(), 40) / _error(solver(), 80)
  assert 3.2 < ratio < 5.5
  assert 1.7 < _error(FirstOrder(), 40) / _error(FirstOrder(), 80) < 2.4  # the negative control
  assert _error(solver(), 80) < 0.1 * _error(FirstOrder(), 80)


def test_what_they_cost():
  for name, evaluations in (("heun", 35), ("dpm_solver_pp", 18), ("none", 18)):
    assert predictor_corrector.network_evaluations(18, registries.SOLVERS.load(name)(), 0) == evaluations


def test_one_that_stays_leaves_the_movement_to_the_corrector():
  rows, end = _run(registries.SOLVERS.load("none")(), 5)
  np.testing.assert_array_equal(end.rows.numpy(), rows)
  _, moved = _run(registries.SOLVERS.load("none")(), 5, steps=3)
  assert (moved.rows.numpy() != rows).any() and 0.3 < moved.acceptance_rate.numpy().mean() <= 1.0


def test_a_solver_from_elsewhere(monkeypatch):
  """One file and one line: a registry's entry is all that a solver needs."""
  monkeypatch.setitem(registries.SOLVERS, "euler", registries.Entry(FirstOrder))
  _, end = _run(registries.SOLVERS.load("euler")(), 10, steps=1)
  assert np.isfinite(end.rows.numpy()).all()
