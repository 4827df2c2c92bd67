"""The loop: burn-in, masks, continuation, replay, no retracing."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.mcmc import adaptation
from stic_tf.mcmc import random as random_lib
from tests import statistical
from tests.mcmc import densities
from tests.mcmc import steps as mala

BATCH, SIZE = 16, 6
GAUSSIAN = densities.Gaussian(SIZE)


def _seeds(count=BATCH, first=0):
  return tf.constant([[first, row] for row in range(count)], tf.int64)


def _start(count=BATCH):
  return tf.constant(GAUSSIAN.sample(count, 0))


@tf.function(reduce_retracing=True, autograph=False)
def _compiled(start, seeds, num_steps, step_size, burn_in_steps):
  return mala.run_chain(GAUSSIAN, start, seeds, num_steps, step_size, burn_in_steps)


def _run(num_steps, step_size=0.3, burn_in_steps=0, count=BATCH):
  return _compiled(_start(count), _seeds(count), tf.constant(num_steps), tf.constant(step_size, tf.float32),
                   tf.constant(burn_in_steps))


def _assert_same(result, other, rows=slice(None)):
  tf.nest.map_structure(
      lambda value, expected: np.testing.assert_array_equal(value.numpy(), expected.numpy()[rows]), result, other)


def test_acceptance_at_the_ends_of_the_step_size():
  assert _run(20, step_size=10.0).acceptance_rate.numpy().mean() < 0.5
  tiny = _run(20, step_size=1e-5)
  assert tiny.acceptance_rate.numpy().min() > 0.9
  assert 0 < np.abs(tiny.state.position.numpy() - _start().numpy()).max() < 0.2


def test_burn_in_arrives_at_the_target_acceptance():
  """Of the fixed kernel, from a step size far above and far below; the mean over chains to 0.03."""
  for step_size in (3.0, 0.01):
    result = _run(700, step_size, burn_in_steps=400, count=256)
    acceptance = result.acceptance_rate.numpy()
    assert abs(acceptance.mean() - adaptation.TARGET_ACCEPTANCE) < 0.03
    # The negative control of that bound: without burn-in it is missed.
    assert abs(_run(20, step_size, count=256).acceptance_rate.numpy().mean() - adaptation.TARGET_ACCEPTANCE) > 0.2


def test_burn_in_aims_at_what_it_is_told():
  result = tf.function(
      lambda: mala.run_chain(GAUSSIAN, _start(64), _seeds(64), 600, 1.0, 300, target_acceptance=0.8),
      autograph=False)()
  assert abs(result.acceptance_rate.numpy().mean() - 0.8) < 0.03


def test_the_step_size_is_fixed_after_burn_in():
  after_burn_in = _run(30, burn_in_steps=30).step_size.numpy()
  assert not (after_burn_in == np.float32(0.3)).any() and len(np.unique(after_burn_in)) > 1  # each chain has its own
  for num_steps in (31, 45, 80):
    np.testing.assert_array_equal(_run(num_steps, burn_in_steps=30).step_size.numpy(), after_burn_in)
  np.testing.assert_allclose(_run(40).step_size.numpy(), 0.3, rtol=1e-6)  # and without burn-in it does not move


def test_burn_in_is_robbins_monro_on_log_h():
  """Step by step against the recursion, from the acceptance probabilities of single steps."""
  seeds, steps = _seeds(), 12
  normals, log_uniforms = random_lib.normals_and_log_uniforms(
      random_lib.image_keys(seeds, random_lib.CHAIN_STREAM), tf.range(steps), SIZE)
  state, log_step_size = mala.initial_state(_start(), GAUSSIAN), np.full(BATCH, np.log(0.3))
  for step in range(steps):
    state, info = mala.one_step(state, GAUSSIAN, normals[step], log_uniforms[step],
                                  tf.constant(np.exp(log_step_size), tf.float32))
    log_step_size += (step + 1) ** -0.6 * (info.acceptance_probability.numpy() - 0.574)
  result = _run(steps, burn_in_steps=steps)
  np.testing.assert_allclose(result.step_size.numpy(), np.exp(log_step_size), rtol=1e-4)
  np.testing.assert_allclose(result.state.position.numpy(), state.position.numpy(), atol=1e-4)


def test_the_acceptance_rate_is_that_after_burn_in():
  seeds, steps, burn_in = _seeds(), 10, 4
  normals, log_uniforms = random_lib.normals_and_log_uniforms(
      random_lib.image_keys(seeds, random_lib.CHAIN_STREAM), tf.range(steps), SIZE)
  result = _run(steps, burn_in_steps=burn_in)
  state = _run(burn_in, burn_in_steps=burn_in).state
  probabilities = []
  for step in range(burn_in, steps):
    state, info = mala.one_step(state, GAUSSIAN, normals[step], log_uniforms[step], result.step_size)
    probabilities.append(info.acceptance_probability.numpy())
  np.testing.assert_allclose(result.acceptance_rate.numpy(), np.mean(probabilities, axis=0), atol=1e-4)


def test_steps_and_burn_in_a_chain():
  """A chain that has done its steps stays; what it reports does not depend on how long its neighbours run."""
  num_steps = np.array([7, 0, 1, 12, 7, 5] + [3] * (BATCH - 6), np.int32)
  burn_in_steps = np.array([3, 0, 1, 6, 7, 9] + [0] * (BATCH - 6), np.int32)
  together = _compiled(_start(), _seeds(), tf.constant(num_steps), tf.constant(0.3), tf.constant(burn_in_steps))
  for row in range(7):
    # All rows run alike: the batch keeps its size, so the numbers must be equal to the last bit.
    alone = _run(int(num_steps[row]), burn_in_steps=int(burn_in_steps[row]))
    tf.nest.map_structure(
        lambda value, expected, row=row: np.testing.assert_array_equal(value.numpy()[row], expected.numpy()[row]),
        together, alone)
  np.testing.assert_array_equal(together.steps.numpy(), num_steps)
  np.testing.assert_array_equal(together.state.position.numpy()[1], _start().numpy()[1])
  # Where nothing follows the burn-in, it is the burn-in's acceptance.
  assert (together.acceptance_rate.numpy()[[2, 4, 5]] > 0).all()


def test_what_tensorflow_knows_of_the_shapes_changes_no_bit():
  """Its optimiser rewrites sums where it knows the shapes: an exported chain must still be the live one."""

  def run(start, seeds):
    return mala.run_chain(GAUSSIAN, start, seeds, 12, 0.3, 5)

  known, unknown = (
      tf.function(run, autograph=False, input_signature=[tf.TensorSpec([batch, SIZE], tf.float32),
                                                         tf.TensorSpec([batch, 2], tf.int64)])
      for batch in (BATCH, None))
  _assert_same(known(_start(), _seeds()), unknown(_start(), _seeds()))


@pytest.mark.parametrize("block_steps", [1, 3, 32])
def test_block_steps_change_no_number(block_steps):
  arguments = (GAUSSIAN, _start(), _seeds(), 20, 0.3, 5)
  _assert_same(mala.run_chain(*arguments, block_steps=block_steps), mala.run_chain(*arguments))


def test_replay_of_rejected_and_accepted_steps_from_the_seed():
  """Any step of any chain can be made again, alone, from its seed pair and number."""
  replayed = {True: 0, False: 0}
  positions = [_run(steps).state.position.numpy() for steps in range(8)]
  for step in range(7):
    for row in range(4):
      seeds = tf.constant([[0, row]], tf.int64)
      normals, log_uniforms = random_lib.normals_and_log_uniforms(
          random_lib.image_keys(seeds, random_lib.CHAIN_STREAM), tf.constant([step]), SIZE)
      before = tf.constant(positions[step][row:row + 1])
      state, info = mala.one_step(mala.initial_state(before, GAUSSIAN), GAUSSIAN, normals[0], log_uniforms[0],
                                    tf.fill([1], 0.3))
      accepted = bool(info.accepted[0])
      assert accepted != np.array_equal(positions[step + 1][row], positions[step][row])
      np.testing.assert_allclose(state.position.numpy()[0], positions[step + 1][row], atol=1e-5)
      # The decision, once more, by the formulas in float64.
      noise, gradient = (value.numpy()[0].astype(np.float64) for value in (normals[0], GAUSSIAN(before)[1]))
      proposal = before.numpy()[0] + 0.3 * gradient + np.sqrt(0.6) * noise
      log_proposed, proposed_gradient = (value.numpy()[0] for value in GAUSSIAN(tf.constant([proposal], tf.float32)))
      backward = before.numpy()[0] - proposal - 0.3 * proposed_gradient
      log_ratio = (log_proposed - GAUSSIAN(before)[0].numpy()[0] - backward @ backward / 1.2 + 0.5 * noise @ noise)
      assert accepted == (log_uniforms.numpy()[0, 0] < log_ratio)
      replayed[accepted] += 1
  assert min(replayed.values()) >= 3


def test_chains_of_other_seeds_are_independent_and_equal_seeds_equal():
  position = mala.run_chain(GAUSSIAN, tf.zeros([1000, SIZE]), _seeds(1000), 60, 0.3).state.position.numpy()
  assert len(np.unique(position, axis=0)) == 1000
  whitened = GAUSSIAN.whiten(position)
  statistical.assert_plausible(statistical.mean_p_value(whitened[1:] * whitened[:-1], 0.0, 1.0))
  twins = tf.constant([[5, 5]] * BATCH, tf.int64)
  position = mala.run_chain(GAUSSIAN, tf.zeros([BATCH, SIZE]), twins, 20, 0.3).state.position.numpy()
  np.testing.assert_array_equal(position, position[:1].repeat(BATCH, axis=0))


def test_a_wall_of_nan_is_never_crossed():
  """log p is NaN where u₁ > 1, its gradient elsewhere pulls towards it."""

  def density(position):
    inside = position[:, 0] <= 1.0
    log_density = tf.where(inside, 2.0 * position[:, 0] - 0.5 * tf.reduce_sum(tf.square(position), axis=1), np.nan)
    gradient = -position + tf.constant([2.0, 0.0])
    return log_density, tf.where(inside[:, tf.newaxis], gradient, np.nan)

  result = mala.run_chain(density, tf.zeros([200, 2]), _seeds(200), 50, 0.4)
  assert all(np.isfinite(value.numpy()).all() for value in result.state)
  assert (result.state.position.numpy()[:, 0] <= 1).all()
  assert 0.1 < result.acceptance_rate.numpy().mean() < 0.8


def test_no_retrace_when_numbers_change():
  traces = []

  @tf.function(autograph=False)
  def run(num_steps, step_size, temperature, burn_in_steps, seeds):
    traces.append(1)

    def tempered(position):
      return tuple(value / temperature for value in GAUSSIAN(position))

    return mala.run_chain(tempered, _start(), seeds, num_steps, step_size, burn_in_steps)

  def call(num_steps=3, step_size=0.1, temperature=1.0, burn_in_steps=0, seeds=0):
    return run(tf.constant(num_steps), tf.constant(step_size), tf.constant(temperature), tf.constant(burn_in_steps),
               _seeds(first=seeds)).state.position.numpy()

  moved = [call(), call(num_steps=11), call(step_size=0.7), call(temperature=0.2), call(num_steps=5, burn_in_steps=4),
           call(seeds=1)]
  assert len(traces) == 1
  assert len({position.tobytes() for position in moved}) == len(moved)  # and each number has its effect
  run(tf.constant(3), tf.fill([BATCH], 0.1), tf.constant(1.0), tf.constant(0), _seeds())
  assert len(traces) == 2  # the counter counts: another shape is another graph


@pytest.mark.parametrize("count", [1, 2])
def test_a_static_batch_of_one(count):
  """A batch whose size the graph knows to be one: shapes broadcast, and no dimension must become unknown."""
  start = _start()[:count]
  graph = tf.function(lambda: mala.run_chain(GAUSSIAN, start, _seeds(count), 3, 0.3), autograph=False)
  np.testing.assert_allclose(graph().state.position.numpy(), _run(3).state.position.numpy()[:count], atol=1e-5)
