"""Solvers on a Gaussian, where the way from level to level is known: their order and cost, and one from elsewhere."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import registries
from stic_tf.diffusion import predictor_corrector
from stic_tf.diffusion import schedule
from stic_tf.diffusion import solver as solver_lib
from stic_tf.mcmc import mala
from stic_tf.mcmc import random as random_lib
from stic_tf.mcmc import recording
from stic_tf.mcmc import windowed_mala
from tests import statistical

COUNT, SIZE, SPREAD = 40, 3, 0.5
SCHEDULE = schedule.Schedule(sigma_min=0.05, sigma_max=5.0, rho=7.0)


def _evaluate(rows, level):
  """log density and score of N(0, SPREAD² + σ²)."""
  variance = (SPREAD ** 2 + tf.square(level))[:, tf.newaxis]
  return -0.5 * tf.reduce_sum(tf.square(rows) / variance, axis=1), -rows / variance


def _run(solver, num_steps, steps=0, rows=None, step_size=0.3, recorder=None, target=None, spread=0.0):
  rows = tf.constant(np.random.default_rng(0).normal(size=(COUNT, SIZE)) * 5.0, tf.float32) if rows is None else rows
  seeds = tf.constant([[0, row] for row in range(COUNT)], tf.int64)
  corrector = predictor_corrector.Corrector(lambda factor: mala.Mala(None, SIZE, factor),
                                            lambda values, level: values * tf.sqrt(level ** 2 + spread ** 2)[:, None],
                                            steps, tf.fill([COUNT], step_size), target)
  run = tf.function(lambda: predictor_corrector.run(
      _evaluate, rows, seeds, tf.fill([COUNT], num_steps), SCHEDULE, solver, corrector, recorder), autograph=False)
  return rows.numpy(), run()


def _error(solver, num_steps):
  """Largest relative error at the last level; the exact flow scales by the ratio of standard deviations."""
  rows, end = _run(solver, num_steps)
  exact = rows * np.sqrt((SPREAD ** 2 + SCHEDULE.sigma_min ** 2) / (SPREAD ** 2 + SCHEDULE.sigma_max ** 2))
  return np.abs(end.state.position.numpy() / exact - 1.0).max()


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


def test_each_correction_of_each_level_has_numbers_of_its_own(monkeypatch):
  """In a flat density every move is made, so they add up: the levels of σ, each with its √(2h)."""
  monkeypatch.setitem(globals(), "_evaluate", lambda rows, level: (tf.zeros_like(rows[:, 0]), tf.zeros_like(rows)))
  rows, end = _run(registries.SOLVERS.load("none")(), 3, steps=2)
  keys = random_lib.image_keys(tf.constant([[0, row] for row in range(COUNT)], tf.int64), random_lib.CHAIN_STREAM)
  noise = random_lib.normals_and_log_uniforms(keys, tf.range(6), SIZE)[0].numpy()
  levels = [float(SCHEDULE.level(tf.constant([place]), tf.constant([3]))[0]) for place in range(3)]
  moved = sum(levels[number // 2] * np.sqrt(2 * 0.3) * noise[number] for number in range(6))
  np.testing.assert_allclose(end.state.position.numpy() - rows, moved, rtol=1e-4, atol=1e-4)


def test_what_they_cost():
  for name, evaluations in (("heun", 35), ("dpm_solver_pp", 18), ("none", 18)):
    assert predictor_corrector.network_evaluations(18, registries.SOLVERS.load(name)(), 0) == evaluations


def test_one_that_stays_leaves_the_movement_to_the_corrector():
  rows, end = _run(registries.SOLVERS.load("none")(), 5)
  np.testing.assert_array_equal(end.state.position.numpy(), rows)
  _, moved = _run(registries.SOLVERS.load("none")(), 5, steps=3)
  assert (moved.state.position.numpy() != rows).any() and 0.3 < moved.acceptance_rate.numpy().mean() <= 1.0


class _Memory(solver_lib.Solver):
  """Stays, and counts the levels since it last began."""

  def init(self, rows):
    return (tf.zeros_like(rows[:, :1]),)

  def state_shape(self, size):
    return (tf.TensorShape([None, 1]),)

  def advance(self, state, rows, score, trial_score, before, level):
    return rows + 1000.0 * state[0], (state[0] + 1.0,)


def test_memory_does_not_outlive_a_move_of_the_corrector():
  """Without a corrector the third level finds what the second left; with one it does only where nothing was accepted.

  At such a step size about half of the single moves are accepted, so both are seen.
  """
  start, without = _run(_Memory(), 3)
  np.testing.assert_allclose(without.state.position.numpy() - start, 1000.0, rtol=1e-3)

  def kept(step_size):
    _, with_moves = _run(_Memory(), 3, steps=1, step_size=step_size)
    return (np.abs(with_moves.state.position.numpy() - start).max(1) > 500).sum()

  assert 3 < kept(2.8) < COUNT - 3
  assert kept(1e-4) == 0 and kept(300.0) == COUNT  # all are accepted, all rejected


@pytest.mark.parametrize("name, steps", [("heun", 0), ("dpm_solver_pp", 1)])
def test_frames_are_levels_and_change_nothing(name, steps):
  solver = registries.SOLVERS.load(name)

  def render(level):
    return tf.cast(100.0 + 20.0 * tf.reshape(level.state.position, [-1, 1, 1, SIZE]), tf.uint8)

  recorder = recording.Recorder(render, 4, (1, 1, SIZE))
  _, plain = _run(solver(), 8, steps)
  _, recorded = _run(solver(), 8, steps, recorder=recorder)
  for one, other in zip(tf.nest.flatten(plain[:-1]), tf.nest.flatten(recorded[:-1])):
    np.testing.assert_array_equal(one.numpy(), other.numpy())
  frames = recorded.frames.numpy()
  assert frames.shape == (4, COUNT, 1, 1, SIZE)
  np.testing.assert_array_equal(frames[-1].reshape(COUNT, SIZE),
                                (100.0 + 20.0 * plain.state.position.numpy()).astype(np.uint8))
  assert (frames[0] != frames[1]).any() and (frames[2] != frames[3]).any()


def test_a_solver_from_elsewhere(monkeypatch):
  """One file and one line: a registry's entry is all that a solver needs."""
  monkeypatch.setitem(registries.SOLVERS, "euler", registries.Entry(FirstOrder))
  _, end = _run(registries.SOLVERS.load("euler")(), 10, steps=1)
  assert np.isfinite(end.state.position.numpy()).all()


@pytest.mark.parametrize("start", [0.003, 4.0])
def test_the_step_size_follows_the_acceptance_from_level_to_level(start):
  """Each image's own h, fixed within a level; the negative control keeps the one it began with."""
  solver, names = registries.SOLVERS.load("none")(), ("noise_level", "acceptance", "step_size")
  followed, kept = (_run(solver, 30, 4, step_size=start, recorder=recording.Trace(30, names), target=target,
                              spread=SPREAD)[1]
                    for target in (0.574, None))
  levels, acceptance, sizes = np.moveaxis(followed.frames.numpy(), 1, 0)
  np.testing.assert_allclose(levels[:, 0], SCHEDULE.level(tf.range(30), tf.fill([30], 30)), rtol=1e-5)
  np.testing.assert_allclose(sizes[0], start, rtol=1e-6)
  expected = np.clip(sizes[:-1] * np.exp(acceptance[:-1] - 0.574), 1e-5, 4.0)
  np.testing.assert_allclose(sizes[1:], expected, rtol=1e-4)
  _, unmoved, same = np.moveaxis(kept.frames.numpy(), 1, 0)
  assert (same == np.float32(start)).all()
  assert abs(acceptance[-8:].mean() - 0.574) < 0.12 < abs(unmoved[-8:].mean() - 0.574)
  np.testing.assert_allclose(acceptance.mean(0), followed.acceptance_rate, rtol=1e-4)


# ---- strokes as corrector ----

STROKES, CANVASES, PIXELS = 30, 20000, 6
WINDOWS = np.array([[1, 1, 0.5, 0, 0, 0], [0, 0.5, 1, 1, 0.3, 0], [0.2, 0, 0, 0.6, 1, 1]], np.float32)


def _stroked(of_gradient=1.0):
  """States of the first level's exact samples after so many strokes there, and that level's standard deviation."""
  rng = np.random.default_rng(5)
  slopes, exact = tf.constant(rng.normal(size=(3, PIXELS)), tf.float32), np.sqrt(SPREAD ** 2 + SCHEDULE.sigma_max ** 2)

  def evaluate(rows, level):
    log_density, score = _evaluate(rows, level)
    attention = tf.nn.softmax(tf.matmul(rows / level[:, tf.newaxis], slopes, transpose_b=True))
    return of_gradient * log_density, of_gradient * score, tf.math.log(0.9 * attention + 0.1 / 3)

  seeds = tf.constant([[3, row] for row in range(CANVASES)], tf.int64)
  corrector = predictor_corrector.Corrector(
      lambda factor: windowed_mala.WindowedMala(None, PIXELS, factor, tf.constant(WINDOWS),
                                                windowed_mala.tile_uniforms(seeds, STROKES), 2),
      lambda values, level: values * level[:, tf.newaxis], STROKES, tf.fill([CANVASES], 0.4))
  rows = tf.constant(rng.normal(size=(CANVASES, PIXELS)) * exact, tf.float32)
  run = tf.function(lambda: predictor_corrector.run(evaluate, rows, seeds, tf.fill([CANVASES], 1), SCHEDULE,
                                                    registries.SOLVERS.load("none")(), corrector), autograph=False)
  return run(), exact


def test_strokes_leave_a_levels_density_as_it_is():
  """20,000 canvases of six pixels: half the shift of the mean energy under 1.1·log p is found."""
  assert statistical.z_power(0.5 * (3 - 3 / 1.1) / np.sqrt(3), CANVASES, hypotheses=40) > 0.99
  end, exact = _stroked()
  acceptance, taken = end.acceptance_rate.numpy().mean(), end.state.strokes.numpy()
  assert 0.3 < acceptance < 0.95 and taken.mean(0).min() > STROKES / 2 / len(WINDOWS) * 0.5
  np.testing.assert_allclose(taken.sum(1).mean(), STROKES * acceptance, rtol=0.02)  # those that were accepted
  statistical.assert_plausible(statistical.standard_normal_p_value(end.state.position.numpy() / exact))


def test_strokes_that_are_not_exact_are_found(monkeypatch):
  end, exact = _stroked(1.1)
  statistical.assert_refused(statistical.standard_normal_p_value(end.state.position.numpy() / exact))
  monkeypatch.setattr(windowed_mala, "log_choice_ratio", lambda log_choice, *_: tf.zeros_like(log_choice[:, 0]))
  end, exact = _stroked()
  statistical.assert_refused(statistical.standard_normal_p_value(end.state.position.numpy() / exact))
