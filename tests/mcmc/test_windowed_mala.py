"""Strokes: windows, the choice of a tile, exactness with power and negative controls, what a stroke leaves alone."""

import types

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.mcmc import kernel as kernel_lib
from stic_tf.mcmc import mala
from stic_tf.mcmc import recording
from stic_tf.mcmc import run as run_lib
from stic_tf.mcmc import windowed_mala
from stic_tf.targets import density as density_lib
from tests import statistical
from tests.mcmc import densities

COUNT, STROKES = 20000, 30


# ---- windows ----

@pytest.mark.parametrize("shape, tile_grid", [((8, 8, 1), 4), ((28, 28, 1), 7), ((12, 8, 3), 2), ((8, 8, 1), 1)])
def test_windows_are_smooth_and_share_every_pixel(shape, tile_grid):
  windows = windowed_mala.tile_windows(shape, tile_grid).reshape(-1, *shape)
  assert windows.shape[0] == tile_grid ** 2 and windows.min() >= 0
  np.testing.assert_allclose(windows.sum(0), 1.0, atol=1e-6)
  for axis, size in ((1, shape[0]), (2, shape[1])):
    # cos² over one tile has the slope π/2 a tile at most.
    steps = np.abs(np.diff(windows, axis=axis))
    assert steps.max() <= 0.5 * np.pi * tile_grid / size + 1e-6
  centre = windows[0, :shape[0] // (2 * tile_grid) + 1, :shape[1] // (2 * tile_grid) + 1]
  assert centre.min() > 0.2 and (tile_grid == 1 or windows[0, -1, -1].max() == 0)


def test_a_grid_that_does_not_divide_the_canvas_is_refused():
  with pytest.raises(ValueError, match="3 tiles a side do not divide 8x8"):
    windowed_mala.tile_windows((8, 8, 1), 3)


# ---- the choice ----

def test_tiles_are_chosen_with_their_probabilities():
  """50,000 choices; a probability off by 0.02 is found."""
  probabilities = np.array([0.05, 0.5, 0.15, 0.3])
  uniforms = np.random.default_rng(0).uniform(size=50000).astype(np.float32)
  logarithms = tf.math.log(tf.constant(probabilities[np.newaxis], tf.float32))
  tiles = windowed_mala.choose_tile(tf.tile(logarithms, [50000, 1]),
                              tf.constant(uniforms)).numpy()
  assert statistical.z_power(0.02 / 0.5, 50000, hypotheses=4) > 0.99
  statistical.assert_plausible(statistical.mean_p_value(np.eye(4)[tiles], probabilities))
  statistical.assert_refused(statistical.mean_p_value(np.eye(4)[tiles], probabilities + [0.02, -0.02, 0, 0]))


def test_the_last_tile_is_the_last_whatever_the_rounding():
  assert windowed_mala.choose_tile(tf.math.log(tf.constant([[0.3, 0.3]])), tf.constant([0.99])).numpy() == [1]


def test_every_tile_can_be_chosen():
  log_choice = density_lib.log_choice_of(tf.constant([[1.0, 0.0, 0.0, 0.0]])).numpy()
  np.testing.assert_allclose(np.exp(log_choice), [[0.925, 0.025, 0.025, 0.025]], rtol=1e-5)


# ---- exactness ----

GAUSSIAN = densities.Gaussian()
MIXTURE = densities.Mixture()


class Easel:
  """A density, windows that overlap and leave pixels out, a preconditioner, and a choice that depends on the canvas."""

  def __init__(self, density, windows, slopes, factor):
    self.density, self.windows = density, tf.constant(windows, tf.float32)
    self._slopes, self._factor = tf.constant(slopes, tf.float32), tf.constant(factor, tf.float32)

  def target(self, position):
    log_density, gradient = self.density(position)
    attention = tf.nn.softmax(tf.matmul(position, self._slopes, transpose_b=True))
    return log_density, gradient, density_lib.log_choice_of(attention)

  def color(self, rows):
    return tf.matmul(rows, self._factor, transpose_b=True)

  def color_transpose(self, rows):
    return tf.matmul(rows, self._factor)


def _kernel(easel, seeds, num_steps, sweep_every=0, kind=windowed_mala.WindowedMala):
  return kind(easel.target, easel.windows.shape[1], mala.Factor(easel.color, easel.color_transpose), easel.windows,
              windowed_mala.tile_uniforms(seeds, tf.convert_to_tensor(num_steps)), sweep_every)


def gaussian_easel(density=GAUSSIAN):
  rng = np.random.default_rng(3)
  windows = [[1, 1, 0.5, 0, 0, 0], [0, 0.5, 1, 1, 0.3, 0], [0.2, 0, 0, 0.6, 1, 1]]
  return Easel(density, windows, rng.normal(size=(3, 6)), np.eye(6) + 0.3 * rng.normal(size=(6, 6)))


def mixture_easel(density=MIXTURE):
  return Easel(density, [[1.0, 0.0], [0.3, 1.0]], [[1.5, -1.0], [-1.0, 1.5]], [[1.0, 0.0], [0.5, 0.8]])


def _moved(easel, exact, step_size, seed, sweep_every=0):
  """Exact samples of `exact` after STROKES strokes of the easel, and the acceptance."""
  seeds = tf.stack([tf.fill([COUNT], tf.constant(seed, tf.int64)), tf.range(COUNT, dtype=tf.int64)], axis=1)

  @tf.function(autograph=False)
  def run(start):
    result = run_lib.run(_kernel(easel, seeds, STROKES, sweep_every), start, seeds, STROKES, step_size)
    return result.state, result.acceptance_rate

  state, acceptance = run(tf.constant(exact.sample(COUNT, seed)))
  return state, acceptance.numpy().mean()


def _gaussian_p_value(state):
  return statistical.standard_normal_p_value(GAUSSIAN.whiten(state.position.numpy()))


def _mixture_p_value(state):
  samples, exact = state.position.numpy(), MIXTURE.sample(10 * COUNT, seed=99)
  log_density = [MIXTURE.log_density(tf.constant(rows, tf.float32)).numpy() for rows in (samples, exact)]
  p_values = [statistical.mean_p_value(MIXTURE.responsibilities(samples)[:, :2], MIXTURE.weights[:2]),
              statistical.same_mean_p_value(*log_density), statistical.same_distribution_p_value(samples, exact)]
  return min(1.0, len(p_values) * min(p_values))


@pytest.mark.parametrize("sweep_every", [0, 1, 2])
def test_invariance_on_a_correlated_gaussian(sweep_every):
  """20,000 canvases of 30 strokes: half the shift of the mean energy under 1.1·log p is found, as in test_invariance.
  """
  assert statistical.z_power(0.5 * (3 - 3 / 1.1) / np.sqrt(3), COUNT, hypotheses=40) > 0.99
  state, acceptance = _moved(gaussian_easel(), GAUSSIAN, 0.15, 1, sweep_every)
  assert 0.4 < acceptance < 0.95
  assert state.strokes.numpy().mean(0).min() > 1  # each tile moved
  statistical.assert_plausible(_gaussian_p_value(state))


@pytest.mark.parametrize("sweep_every", [0, 2])
def test_invariance_on_a_mixture(sweep_every):
  """The shift of the mean log density under 1.1·log p, 0.09, is found."""
  assert statistical.z_power(1 - 1 / 1.1, COUNT, hypotheses=6) > 0.99
  state, acceptance = _moved(mixture_easel(), MIXTURE, 0.3, 2, sweep_every)
  assert 0.4 < acceptance < 0.95
  statistical.assert_plausible(_mixture_p_value(state))


@pytest.mark.parametrize("easel, exact, step_size, p_value", [
    (gaussian_easel, GAUSSIAN, 0.15, _gaussian_p_value), (mixture_easel, MIXTURE, 0.3, _mixture_p_value)])
def test_strokes_without_the_choice_ratio_are_found(monkeypatch, easel, exact, step_size, p_value):
  monkeypatch.setattr(windowed_mala, "log_choice_ratio", lambda log_choice, *_: tf.zeros_like(log_choice[:, 0]))
  state, _ = _moved(easel(), exact, step_size, 1)
  statistical.assert_refused(p_value(state))


@pytest.mark.parametrize("easel, exact, step_size, p_value", [
    (gaussian_easel, GAUSSIAN, 0.15, _gaussian_p_value), (mixture_easel, MIXTURE, 0.3, _mixture_p_value)])
def test_strokes_aimed_elsewhere_are_found(easel, exact, step_size, p_value):
  state, _ = _moved(easel(densities.sharpened(exact)), exact, step_size, 1)
  statistical.assert_refused(p_value(state))


def test_a_choice_ratio_for_a_tile_that_was_not_chosen_is_found(monkeypatch):
  """What a sweep must not have: a tile fixed beforehand, and the ratio as if it had been chosen."""
  monkeypatch.setattr(windowed_mala, "choose_tile", lambda _, uniform: tf.zeros_like(uniform, tf.int32))
  state, _ = _moved(gaussian_easel(), GAUSSIAN, 0.15, 1)
  statistical.assert_refused(_gaussian_p_value(state))


# ---- one stroke against the formula, and what it leaves alone ----

def _one_stroke(tile, chosen=True, seed=0):
  rng, easel = np.random.default_rng(seed), gaussian_easel()
  position = tf.constant(GAUSSIAN.sample(len(tile), seed))

  class Aimed(windowed_mala.WindowedMala):

    def aim(self, state, inputs):
      return tf.constant(tile), tf.constant(chosen)

  kernel = _kernel(easel, tf.zeros([len(tile), 2], tf.int64), 1, kind=Aimed)
  state = kernel.init(position)
  noise = rng.normal(size=position.shape).astype(np.float32)
  inputs = kernel_lib.StepInputs(tf.constant(0), tf.constant(noise), tf.fill([len(tile)], -1e9),
                                 tf.fill([len(tile)], 0.1))
  proposal = kernel.propose(state, inputs)
  moved, info = kernel.finish(state, proposal, easel.target(proposal.position), inputs)
  return easel, state, moved, info, noise


@pytest.mark.parametrize("chosen", [True, False])
def test_the_ratio_is_that_of_the_proposals_densities(chosen):
  """Against the Gaussian density on the window's pixels, with its covariance 2h·A Aᵀ inverted; float64."""
  tile = np.array([0, 1, 2, 0, 1, 2])
  easel, state, moved, info, _ = _one_stroke(tile, chosen)
  target = [value.numpy().astype(np.float64) for value in easel.target(moved.position)]
  for row, number in enumerate(tile):
    window = easel.windows.numpy()[number].astype(np.float64)
    inside = window > 0
    matrix = (window[:, np.newaxis] * easel._factor.numpy())[inside].astype(np.float64)
    covariance = matrix @ matrix.T

    def log_q(to, start, gradient, inside=inside, covariance=covariance):
      residual = (to - start)[inside] - 0.1 * covariance @ gradient[inside]
      return -residual @ np.linalg.solve(covariance, residual) / 0.4

    x, y = state.position.numpy()[row].astype(np.float64), moved.position.numpy()[row].astype(np.float64)
    ratio = (target[0][row] - state.log_density.numpy()[row] + log_q(x, y, target[1][row])
             - log_q(y, x, state.gradient.numpy()[row]))
    if chosen:
      ratio += target[2][row, number] - state.log_choice.numpy()[row, number]
    assert info.acceptance_probability.numpy()[row] == pytest.approx(min(1.0, np.exp(ratio)), rel=1e-3)


def test_a_stroke_moves_its_window_alone():
  tile = np.array([0, 1, 2] * 5)
  easel, state, moved, _, _ = _one_stroke(tile)
  changed = moved.position.numpy() != state.position.numpy()
  np.testing.assert_array_equal(changed, easel.windows.numpy()[tile] > 0)
  np.testing.assert_array_equal(moved.strokes.numpy(), np.eye(3)[tile])


def test_the_cache_is_what_the_target_says():
  easel = gaussian_easel()
  state, _ = _moved(easel, GAUSSIAN, 0.15, 5)
  for cached, fresh in zip(state[1:4], easel.target(state.position)):
    np.testing.assert_allclose(cached.numpy(), fresh.numpy(), atol=1e-4)


# ---- the loop ----

@tf.function(autograph=False, reduce_retracing=True)
def _recorded(seeds, num_steps, step_size, burn_in_steps):
  easel = gaussian_easel()

  def render(state):
    return tf.cast(tf.reshape(16.0 * (8.0 + state.position), [-1, 2, 3, 1]), tf.uint8)

  start = tf.constant(GAUSSIAN.sample(16, 0))[:tf.shape(seeds)[0]]
  result = run_lib.run(_kernel(easel, seeds, tf.reduce_max(num_steps), 2), start, seeds, num_steps, step_size,
                       burn_in_steps, recorder=recording.Recorder(render, 4, (2, 3, 1)))
  return result, render(result.state)


def _draw(num_steps, rows=slice(None), burn_in_steps=0):
  seeds = tf.constant([[7, row] for row in range(16)], tf.int64)[rows]
  num_steps = tf.constant(np.broadcast_to(num_steps, [16])[rows].astype(np.int32))
  return _recorded(seeds, num_steps, tf.constant(0.2), tf.constant(burn_in_steps))


def test_frames_are_the_canvas_at_the_checkpoints():
  result, last = _draw(10)
  np.testing.assert_array_equal(result.frames[3], last)
  for frame, steps in zip(result.frames, (1, 3, 6, 10)):
    np.testing.assert_array_equal(frame, _draw(steps)[1])


def test_each_canvas_has_its_own_number_of_strokes_and_its_own_frames():
  numbers = np.array([10, 3, 1, 7] * 4)
  result, last = _draw(numbers)
  np.testing.assert_array_equal(result.frames[3], last)
  for steps in (10, 3, 1, 7):
    alone, rows = _draw(steps)[0], numbers == steps
    np.testing.assert_array_equal(result.frames.numpy()[:, rows], alone.frames.numpy()[:, rows])
    np.testing.assert_array_equal(result.state.position.numpy()[rows], alone.state.position.numpy()[rows])


def test_burn_in_adapts_and_then_rests():
  adapted = _draw(40, burn_in_steps=40)[0].step_size.numpy()
  assert len(np.unique(adapted)) > 1
  np.testing.assert_array_equal(_draw(60, burn_in_steps=40)[0].step_size.numpy(), adapted)


def test_other_settings_do_not_retrace():
  _draw(5)
  traces = _recorded.experimental_get_tracing_count()
  _draw(9, burn_in_steps=3)
  _draw(np.arange(1, 17))
  assert _recorded.experimental_get_tracing_count() == traces


def test_a_sweep_goes_to_all_tiles_in_turn():
  """With every second stroke of it and an even number of tiles too."""
  uniforms = tf.fill([16, 2], 0.5)
  kernel = windowed_mala.WindowedMala(None, 4, None, tf.eye(4), uniforms, sweep_every=2)
  state = types.SimpleNamespace(log_choice=tf.math.log(tf.constant([[0.0, 0.0, 1.0, 0.0]] * 2)))
  aimed = [kernel.aim(state, types.SimpleNamespace(number=tf.constant(number))) for number in range(16)]
  assert [bool(chosen) for _, chosen in aimed] == [True, False] * 8
  assert [int(tile[0]) for tile, _ in aimed[1::2]] == [0, 1, 2, 3, 0, 1, 2, 3]
  assert {int(tile[0]) for tile, _ in aimed[::2]} == {2}
