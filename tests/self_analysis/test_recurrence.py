"""The passes: schedules, divergence, and a state that can be handed out and taken back."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.sampler import gram
from stic_tf.self_analysis import recurrence as recurrence_lib

SHAPE, NUM_CLASSES, BATCH = (8, 8, 1), 3, 6
RECURRENCE = {"num_passes": 3, "updates_per_pass": 3, "batch_size": BATCH, "chains": 12, "pool_capacity": 20}
SAMPLER = {"training_steps": 2}


def _images(count, seed=0):
  """Images in [-1, 1] with a bright row a class, and their labels."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, NUM_CLASSES, count)
  images = rng.uniform(-1, -0.5, [count, *SHAPE])
  images[np.arange(count), 2 * labels] += 1.2
  return images.astype(np.float32), labels


def _streams(start=0):
  """Endless streams; batch n is the same whatever `start`."""

  def classification(number):
    while True:
      images, labels = _images(BATCH, 2 * number)
      one_hot = np.eye(NUM_CLASSES, dtype=np.float32)[labels]
      yield {"real_images": images, "real_labels": one_hot, "mixup_images": images[::-1] * 0.3 + images * 0.7,
             "mixup_labels": one_hot[::-1] * np.float32(0.3) + one_hot * np.float32(0.7)}
      number += 1

  def generation(number):
    while True:
      images, labels = _images(BATCH, 2 * number + 1)
      yield images, labels.astype(np.int32)
      number += 1

  return classification(start), generation(start)


def _recurrence(seed=0, sampler=None, **settings):
  return recurrence_lib.Recurrence(
      config_lib.ModelConfig(width=8), config_lib.SamplerConfig(**{**SAMPLER, **(sampler or {})}),
      config_lib.RecurrenceConfig(**{**RECURRENCE, **settings}), SHAPE, NUM_CLASSES,
      gram.ImageStatistics.fit(_images(200)[0]), seed, tf.distribute.get_strategy())


def _run_pass(recurrence):
  return recurrence.run_pass(*_streams(recurrence.updates_done))


def _assert_same_state(state, other):
  assert set(state) == set(other)
  differing = [name for name in state if not np.array_equal(state[name], other[name])]
  assert not differing


@pytest.fixture(scope="module")
def two_passes():
  """(a recurrence after two passes, its states and its logs after each)."""
  recurrence, states, logs = _recurrence(), [], []
  for _ in range(2):
    logs.append(_run_pass(recurrence))
    states.append(recurrence.state())
  return recurrence, states, logs


@pytest.fixture(scope="module")
def another():
  """Another recurrence of the same seed, (after one pass, its state, its logs)."""
  recurrence = _recurrence()
  logs = _run_pass(recurrence)
  return recurrence, recurrence.state(), logs


@pytest.fixture
def resumed(two_passes, another):
  """A recurrence that has done something else and then took back the state after one pass."""
  another[0].load_state(two_passes[1][0])
  return another[0]


@pytest.mark.parametrize("num_passes, hold, expected", [
    (3, 0.0, [0.4, 0.2, 0.1]), (5, 0.4, [0.4, 0.2, 0.1, 0.1, 0.1]), (3, 1.0, [0.4, 0.1, 0.1]), (1, 0.4, [0.4])])
def test_noise_falls_geometrically_and_is_held(num_passes, hold, expected):
  config = config_lib.RecurrenceConfig(num_passes=num_passes, noise_start=0.4, noise_end=0.1, noise_hold=hold)
  np.testing.assert_allclose(recurrence_lib.noise_schedule(config), expected)


def test_the_learning_rate_falls_as_a_half_cosine():
  rates = recurrence_lib.learning_rates(config_lib.RecurrenceConfig(num_passes=4, learning_rate=1e-2))
  assert rates[0] == pytest.approx(1e-2)
  assert rates[2] == pytest.approx(0.525e-2)
  assert (np.diff(rates) < 0).all() and rates[-1] > 0.05e-2


def test_a_pass_counts_what_it_did(two_passes):
  recurrence, _, logs = two_passes
  assert (recurrence.passes_done, recurrence.updates_done) == (2, 6)
  # Each of 6 updates moves 6 chains by 2 steps, with one evaluation to begin with.
  assert recurrence.network_evaluations == 6 * BATCH * (2 + 1)
  assert set(logs[0]) >= {"loss_classification", "loss_mixup", "loss_generative", "acceptance_rate", "learning_rate"}
  assert all(np.isfinite(value) for row in logs for value in row.values())
  assert float(recurrence.noise_level.numpy()) == pytest.approx(recurrence.noise_levels[1])
  assert logs[1]["learning_rate"] == pytest.approx(recurrence_lib.learning_rates(recurrence.recurrence)[1], rel=1e-6)


def test_the_pool_holds_what_the_chains_drew_in_each_pass(two_passes):
  recurrence, states, _ = two_passes
  assert set(recurrence.pool.passes) == {0, 1} and len(recurrence.pool) <= 20
  begun = states[0]["chains/images"].reshape(12, -1).any(1)
  # A chain that no update has picked yet is no fake.
  assert BATCH <= begun.sum() < 12
  np.testing.assert_array_equal(states[0]["pool/images"], states[0]["chains/images"][begun])
  np.testing.assert_array_equal(states[0]["pool/labels"], states[0]["chains/labels"][begun])
  np.testing.assert_array_equal(states[0]["pool/shares"], states[0]["chains/shares"][begun])


def test_the_preconditioner_follows_the_noise(two_passes):
  recurrence, _, _ = two_passes
  fresh = gram.build_preconditioner("gram", SHAPE)
  fresh.update(recurrence.statistics, recurrence.noise_levels[1])
  np.testing.assert_allclose(recurrence.preconditioner.variables()[1], fresh.variables()[1])


def test_the_same_seed_is_the_same_training(two_passes, another):
  assert another[2] == two_passes[2][0]
  _assert_same_state(another[1], two_passes[1][0])


def test_another_seed_is_another_training(resumed):
  other = _recurrence(seed=1)
  state, ours = other.state(), resumed.state()
  assert (state["network/000"] != ours["network/000"]).any()
  assert (state["chains/shares"] != ours["chains/shares"]).any()
  assert (other._chain_seeds(np.arange(4)) != resumed._chain_seeds(np.arange(4))).any()


def test_a_state_taken_back_continues_identically(two_passes, resumed):
  _, states, logs = two_passes
  _assert_same_state(resumed.state(), states[0])
  assert _run_pass(resumed) == logs[1]
  _assert_same_state(resumed.state(), states[1])


def test_a_state_handed_out_is_not_changed_by_going_on(resumed):
  state = resumed.state()
  kept = {name: np.array(value) for name, value in state.items()}
  _run_pass(resumed)
  _assert_same_state(state, kept)


def test_a_state_of_another_network_is_refused(two_passes, resumed):
  state = dict(two_passes[1][0])
  state["network/000"] = state["network/000"][..., :1]
  with pytest.raises(ValueError, match="network/000"):
    resumed.load_state(state)
  del state["network/000"]
  with pytest.raises(ValueError, match="network/000"):
    resumed.load_state(state)


def test_without_fakes_nothing_is_drawn():
  recurrence = _recurrence(fakes=False)
  logs = _run_pass(recurrence)
  assert "acceptance_rate" not in logs and "loss_generative" not in logs
  assert len(recurrence.pool) == 0 and recurrence.network_evaluations == 0


@pytest.mark.parametrize("sampler", [
    {"gram_weight": 0.5}, {"preconditioner": "spectral"}, {"sampler": "jem_sgld", "preconditioner": "pixels"}], ids=str)
def test_the_other_samplers_train_and_resume(sampler):
  recurrence = _recurrence(sampler=sampler, updates_per_pass=2)
  _run_pass(recurrence)
  state = recurrence.state()
  logs = _run_pass(recurrence)
  after = recurrence.state()
  recurrence.load_state(state)
  assert _run_pass(recurrence) == logs
  _assert_same_state(recurrence.state(), after)
  assert ("class_grams/001" in state) == ("gram_weight" in sampler)


def test_a_logit_beyond_the_bound_is_divergence(resumed, monkeypatch):
  monkeypatch.setattr(resumed, "recurrence", dataclasses.replace(resumed.recurrence, divergence_bound=1e-6))
  with pytest.raises(recurrence_lib.DivergenceError, match="--divergence_bound=1e-06 at update 4"):
    _run_pass(resumed)


def test_a_loss_that_is_not_finite_is_divergence(resumed):
  classification, generation = _streams()
  broken = ({**batch, "real_images": batch["real_images"] * np.float32(np.nan)} for batch in classification)
  with pytest.raises(recurrence_lib.DivergenceError, match="nan at update 4"):
    resumed.run_pass(broken, generation)


def test_weights_that_break_in_the_last_update_are_divergence(resumed):
  """Their loss was still finite: without a look at them they would be saved as the last good state."""

  def break_weights(update, logs):
    assert np.isfinite(logs["loss_classification"])
    if update == 2:
      kernel = resumed.network.trainable_variables[0]
      kernel.assign(kernel * np.inf)

  with pytest.raises(recurrence_lib.DivergenceError, match="weight is not finite after update 6"):
    resumed.run_pass(*_streams(), on_update=break_weights)
  assert resumed.passes_done == 1


def test_a_new_attempt_has_other_seeds_and_smaller_steps(resumed):
  seeds, step_size = resumed._chain_seeds(np.arange(4)), resumed.step_size
  resumed.start_new_attempt()
  assert (resumed.attempt, resumed.learning_rate_scale, resumed.step_size) == (1, 0.5, 0.5 * step_size)
  again = resumed._chain_seeds(np.arange(4))
  assert not {tuple(pair) for pair in seeds} & {tuple(pair) for pair in again}
  usual = recurrence_lib.learning_rates(resumed.recurrence)[1]
  assert _run_pass(resumed)["learning_rate"] == pytest.approx(0.5 * usual, rel=1e-6)


def test_a_chain_has_a_seed_of_its_own_in_every_update(resumed):
  seen = set()
  for attempt in range(2):
    for update in range(3):
      resumed.attempt, resumed.updates_done = attempt, update
      seen |= {tuple(pair) for pair in resumed._chain_seeds(np.arange(5))}
  assert len(seen) == 2 * 3 * 5


def test_a_drawing_starts_at_the_step_size_that_training_arrived_at(two_passes):
  recurrence, _, _ = two_passes
  assert recurrence.step_size != recurrence.sampler.step_size
  assert recurrence.drawing_sampler().step_size == recurrence.step_size
