"""STIC's passes: chains, pool and noise, divergence, and a state that can be handed out and taken back."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import seed_pairs
from stic_tf.preconditioners import build as preconditioners
from stic_tf.training import passes
from stic_tf.training import randomness
from tests.systems import tiny


@pytest.fixture(scope="module")
def two_passes():
  """(a system after two passes, its states and its logs after each)."""
  return tiny.two_passes("stic")


@pytest.fixture(scope="module")
def another():
  """Another system of the same seed, (after one pass, its state, its logs)."""
  system = tiny.build_system("stic")
  logs = tiny.run_pass(system)
  return system, system.state(), logs


@pytest.fixture
def resumed(two_passes, another):
  """A system that has done something else and then took back the state after one pass."""
  another[0].load_state(two_passes[1][0])
  return another[0]


def test_a_pass_counts_what_it_did(two_passes):
  system, _, logs = two_passes
  assert (int(system.passes_done), int(system.updates_done), int(system.pass_updates)) == (2, 6, 0)
  # Each of 6 updates moves 6 chains by 2 steps, with one evaluation to begin with.
  assert int(system.network_evaluations) == 6 * tiny.BATCH * (2 + 1)
  assert set(logs[0]) >= {"loss_classification", "loss_mixup", "loss_generative", "acceptance_rate"}
  assert all(np.isfinite(value) for row in logs for value in row.values())
  noise = passes.noise_schedule(system.config.walk, 3)
  assert float(system.noise_level.numpy()) == pytest.approx(noise[1])
  rates = passes.learning_rates(system.config.training)
  assert float(system.optimizer.learning_rate) == pytest.approx(rates[1], rel=1e-6)


def test_the_pool_holds_what_the_chains_drew_in_each_pass(two_passes):
  system, states, _ = two_passes
  assert set(states[1]["pool/passes"]) == {0, 1} and len(system.pool) <= 20
  begun = states[0]["chains/begun"]
  # A chain that no update has picked yet is no fake.
  assert tiny.BATCH <= begun.sum() < 12
  np.testing.assert_array_equal(begun, states[0]["chains/images"].reshape(12, -1).any(1))
  for name in ("labels", "shares"):
    np.testing.assert_array_equal(states[0][f"pool/{name}"], states[0][f"chains/{name}"][begun])


def test_the_pool_holds_them_without_the_noise_of_their_pass(two_passes, resumed):
  state, noise_level = two_passes[1][0], float(resumed.noise_level)
  begun = state["chains/begun"]
  walk = tf.constant(state["chains/images"][begun])
  weights = tf.gather(resumed.chains.class_weights(tf.range(12), tiny.NUM_CLASSES), np.flatnonzero(begun))
  target = resumed.targets["network"]
  with tf.GradientTape() as tape:
    tape.watch(walk)
    logits = tf.nest.flatten(resumed.network(walk))[0]
    log_density = (tf.reduce_sum(weights * logits, axis=1) / resumed.config.sampler.temperature
                   + target.log_reference(target.to_whitened(walk)))
  jumped = walk + noise_level ** 2 * tape.gradient(log_density, walk)
  np.testing.assert_allclose(state["pool/images"], np.clip(jumped, -1, 1), atol=1e-4)
  assert np.abs(jumped - walk).mean() > 0.2 * noise_level


def test_past_fakes_get_the_noise_of_today(resumed, monkeypatch):
  """A past fake that an update sees lies about its rendering by s, another one each time."""
  monkeypatch.setattr(resumed, "config", resumed.config.replace(past_fraction=1.0))
  streams = {name: tf.constant(value) for name, value in tiny.batch(0).items()}
  resumed.pool.images.assign(tf.zeros_like(resumed.pool.images))
  seen = np.stack([resumed.make_fakes(streams, randomness.Randomness(0, tf.constant(0, tf.int64),
                                                                     tf.constant(update, tf.int64)))[0]["fake_images"]
                   for update in range(4)])
  assert seen.std() == pytest.approx(float(resumed.noise_level), rel=0.05)  # 1536 numbers: 2.7 standard errors
  assert abs(np.corrcoef(seen[0].ravel(), seen[1].ravel())[0, 1]) < 0.2


def test_fakes_of_the_previous_pass_are_its_drawings_from_blank_canvases():
  system = tiny.build_system("stic", fakes_from="previous_pass", num_steps=3)
  logs = tiny.run_pass(system)
  assert logs["loss_generative"] == 0.0 and "acceptance_rate" not in logs  # nothing is drawn yet
  drawn = system.chains.images.numpy()
  weights = system.chains.class_weights(tf.range(12), tiny.NUM_CLASSES).numpy()
  pairs = [[0, seed_pairs.second_word(seed_pairs.FAKES, row, update=3)] for row in range(12)]
  adapted = float(system.step_size)
  system.step_size.assign(system.config.sampler.step_size)  # which they began with
  np.testing.assert_allclose(np.round((drawn + 1) * 127.5), system.draw(weights, pairs).images)
  system.step_size.assign(adapted)
  np.testing.assert_array_equal(system.pool.images.numpy()[:12], drawn)
  before = [np.array(value) for value in system.average.get_weights()]
  assert tiny.run_pass(system)["loss_generative"] != 0.0
  # Frozen while the next pass learnt from them, and drawn anew by what that ended with.
  assert any((old != new).any() for old, new in zip(before, system.average.get_weights()))
  assert (system.chains.images.numpy() != drawn).any() and set(system.pool.passes.numpy()[:20]) == {0, 1}


def test_canvas_fakes_forget_where_their_chains_were():
  ends = []
  for value in (-0.5, 0.5):
    system = tiny.build_system("stic", fakes_from="canvas")
    system.chains.put(tf.range(12), tf.fill([12, *tiny.SHAPE], value))
    tiny.run_pass(system)
    moved = (system.chains.images.numpy() != value).any(axis=(1, 2, 3))
    ends.append(system.chains.images.numpy()[moved])
  assert len(ends[0]) >= tiny.BATCH
  np.testing.assert_array_equal(*ends)


def test_sources_that_a_system_has_not_are_refused():
  with pytest.raises(config_lib.ConfigError, match="fakes_from=current: must be previous_pass or none with"):
    tiny.build_system("score", fakes_from="current")
  with pytest.raises(config_lib.ConfigError, match="fakes_from=canvases: must be one of"):
    config_lib.TrainingConfig(fakes_from="canvases")


def test_the_preconditioner_follows_the_noise(two_passes):
  system, _, _ = two_passes
  fresh = preconditioners.build("gram", tiny.SHAPE)
  fresh.fit(system.statistics, passes.noise_schedule(system.config.walk, 3)[1])
  theirs = fresh.named_variables()
  assert theirs and all((system.preconditioner.named_variables()[name].numpy() == theirs[name].numpy()).all()
                        for name in theirs)


def test_another_preconditioner_leaves_the_blank_canvas_as_it_is():
  gram, identity = (tiny.build_system("stic", preconditioner=name) for name in ("gram", "identity"))
  for system in (gram, identity):
    system.on_pass(0)
  seeds = tf.constant([[0, row] for row in range(8)], tf.int64)
  draws = gram._kernel(None, gram.preconditioner.size).blank(seeds)
  canvases = [system.targets["network"].to_images(system.targets["network"].blank(draws)).numpy()
              for system in (gram, identity)]
  np.testing.assert_allclose(*canvases, atol=1e-4)
  assert np.abs(identity.targets["network"].to_images(draws).numpy() - canvases[0]).max() > 0.1
  # What the canvas is drawn from is kept with the weights.
  state, fresh = identity.state(), tiny.build_system("stic", preconditioner="identity")
  assert any(name.startswith("reference/") for name in state)
  assert not any(name.startswith("reference/") for name in gram.state())
  fresh.load_state(state)
  tiny.assert_same_state(fresh.state(), state)


def test_the_same_seed_is_the_same_training(two_passes, another):
  assert another[2] == two_passes[2][0]
  tiny.assert_same_state(another[1], two_passes[1][0])


def test_another_seed_is_another_training(resumed):
  other = tiny.build_system("stic", seed=1)
  state, ours = other.state(), resumed.state()
  kernels = [name for name in state if name.startswith("network/") and name.endswith("kernel")]
  assert kernels and all((state[name] != ours[name]).any() for name in kernels)
  assert (state["chains/shares"] != ours["chains/shares"]).any()
  rows = tf.range(4)
  assert (other._chain_seeds(rows).numpy() != resumed._chain_seeds(rows).numpy()).any()


def test_a_state_taken_back_continues_identically(two_passes, resumed):
  _, states, logs = two_passes
  tiny.assert_same_state(resumed.state(), states[0])
  assert tiny.run_pass(resumed) == logs[1]
  tiny.assert_same_state(resumed.state(), states[1])


def test_a_state_within_a_pass_taken_back_continues_identically(two_passes, resumed):
  """The state after one of a pass's three updates; the logs are those of the whole pass, too."""
  _, states, logs = two_passes
  held = []

  class Hold(keras.callbacks.Callback):

    def on_train_batch_end(self, batch, logs=None):
      held.append(self.model.state())

  tiny.run_pass(resumed, callbacks=[Hold()])
  resumed.load_state(held[0])
  assert int(resumed.pass_updates) == 1
  history = resumed.fit(tiny.stream(4), initial_epoch=1, epochs=2, steps_per_epoch=2, num_passes=3, verbose=0)
  assert {name: values[0] for name, values in history.history.items()} == logs[1]
  tiny.assert_same_state(resumed.state(), states[1])


def test_a_state_handed_out_is_not_changed_by_going_on(resumed):
  state = resumed.state()
  kept = {name: np.array(value) for name, value in state.items()}
  tiny.run_pass(resumed)
  tiny.assert_same_state(state, kept)


def test_a_state_of_another_network_is_refused(two_passes, resumed):
  state = dict(two_passes[1][0])
  state["network/stem/kernel"] = state["network/stem/kernel"][..., :1]
  with pytest.raises(ValueError, match="network/stem/kernel"):
    resumed.load_state(state)
  del state["network/stem/kernel"]
  with pytest.raises(ValueError, match="network/stem/kernel"):
    resumed.load_state(state)


def test_without_fakes_nothing_is_drawn():
  system = tiny.build_system("stic", fakes_from="none")
  logs = tiny.run_pass(system)
  assert "acceptance_rate" not in logs and "loss_generative" not in logs
  assert len(system.pool) == 0 and int(system.network_evaluations) == 0


@pytest.mark.parametrize("settings", [
    {"gram_weight": 0.5}, {"preconditioner": "spectral"},
    {"sampler": "jem_sgld", "preconditioner": "pixels", "reference": "flat"}], ids=str)
def test_the_other_samplers_train_and_resume(settings):
  system = tiny.build_system("stic", updates_per_pass=2, **settings)
  tiny.run_pass(system)
  state = system.state()
  logs = tiny.run_pass(system)
  after = system.state()
  system.load_state(state)
  assert tiny.run_pass(system) == logs
  tiny.assert_same_state(system.state(), after)
  assert ("class_grams/gram_0" in state) == ("gram_weight" in settings)
  assert "gram_weight" not in settings or state["class_grams/gram_0"].any()


def test_a_logit_beyond_the_bound_is_divergence(resumed, monkeypatch):
  training = dataclasses.replace(resumed.config.training, divergence_bound=1e-6)
  monkeypatch.setattr(resumed, "config", dataclasses.replace(resumed.config, training=training))
  with pytest.raises(passes.DivergenceError, match="--divergence_bound=1e-06 at update 4"):
    tiny.run_pass(resumed)


def test_a_loss_that_is_not_finite_is_divergence(resumed):
  broken = tiny.stream(3, lambda batch: {**batch, "real_images": batch["real_images"] * np.float32(np.nan)})
  with pytest.raises(passes.DivergenceError, match="nan at update 4"):
    tiny.run_pass(resumed, broken)


def test_weights_that_break_in_the_last_update_are_divergence(resumed):
  """Their loss was still finite: without a look at them they would be saved as the last good state."""

  class Break(keras.callbacks.Callback):

    def on_train_batch_end(self, batch, logs=None):
      assert np.isfinite(logs["loss_classification"])
      if batch == 2:
        kernel = self.model.network.trainable_variables[0]
        kernel.assign(kernel * np.inf)

  with pytest.raises(passes.DivergenceError, match="weight is not finite after update 6"):
    tiny.run_pass(resumed, callbacks=[Break()])
  assert int(resumed.passes_done) == 1


def test_a_new_attempt_has_other_seeds_and_smaller_steps(resumed):
  rows = tf.range(4)
  seeds, step_size = resumed._chain_seeds(rows).numpy(), float(resumed.step_size)
  resumed.start_new_attempt(1, 0.5)
  assert (int(resumed.attempt), float(resumed.learning_rate_scale)) == (1, 0.5)
  assert float(resumed.step_size) == 0.5 * step_size
  again = resumed._chain_seeds(rows).numpy()
  assert not {tuple(pair) for pair in seeds} & {tuple(pair) for pair in again}
  usual = passes.learning_rates(resumed.config.training)[1]
  tiny.run_pass(resumed)
  assert float(resumed.optimizer.learning_rate) == pytest.approx(0.5 * usual, rel=1e-6)


def test_a_chain_has_a_seed_of_its_own_in_every_update(resumed):
  seen = set()
  for attempt in range(2):
    for update in range(3):
      resumed.attempt.assign(attempt)
      resumed.updates_done.assign(update)
      seen |= {tuple(pair) for pair in resumed._chain_seeds(tf.range(5)).numpy()}
  assert len(seen) == 2 * 3 * 5


def test_h_moves_towards_the_acceptance_that_is_aimed_at():
  """Up where more is accepted, down where less, by as much as the gain says."""
  system = tiny.build_system("stic", updates_per_pass=1)
  target = system.config.sampler.target_acceptance
  for acceptance, gain in ((0.9, 0.1), (0.2, 2.0)):
    before = float(system.step_size)
    system.adapt_step_size(tf.constant(acceptance), gain)
    assert float(system.step_size) == pytest.approx(before * np.exp(gain * (acceptance - target)), rel=1e-5)
  before = float(system.step_size)
  acceptance = tiny.run_pass(system)["acceptance_rate"]
  assert float(system.step_size) == pytest.approx(before * np.exp(0.1 * (acceptance - target)), rel=1e-5)


def test_a_drawing_starts_at_the_step_size_that_training_arrived_at(two_passes):
  system, _, _ = two_passes
  assert float(system.step_size) != system.config.sampler.step_size
  assert system.classifier.step_size == float(system.step_size)
  # Unless the drawing's own settings say another.
  assert system.classifier.with_settings(step_size=0.25).step_size == 0.25


def test_a_drawing_can_ask_for_the_step_size_that_training_began_with(two_passes):
  """Of all numbers the one that no flag needs to give: it is taken, and not taken for the adapted one."""
  system, _, _ = two_passes
  first = system.config.sampler.step_size
  classifier = system.classifier.with_settings(step_size=first)
  # It stays asked for, and settings of another kind ask for none.
  others = {"num_steps": 2, "burn_in_fraction": 0.0}
  further, own = classifier.with_settings(**others), system.classifier.with_settings(**others)
  assert classifier.step_size == further.step_size == first != own.step_size == float(system.step_size)
  np.testing.assert_array_equal(further.draw([0, 1]).step_size, np.float32([first, first]))  # as nothing adapts it


@pytest.mark.parametrize("name, value", [("preconditioner", "identity"), ("width", 9), ("learning_rate", 1.0)])
def test_what_a_model_was_made_with_is_no_setting_of_a_drawing(two_passes, name, value):
  with pytest.raises(config_lib.ConfigError, match=f"{name}={value}: is what the model was made with"):
    two_passes[0].classifier.with_settings(**{name: value})


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_has_a_drawing_at_least(two_passes, batch_size):
  with pytest.raises(config_lib.ConfigError, match=f"batch_size={batch_size}: must be at least 1"):
    two_passes[0].classifier.draw([0], batch_size=batch_size)


def test_a_run_with_the_accept_test_is_drawn_from_without_it(two_passes):
  adjusted = two_passes[0].classifier.with_settings(num_steps=20, burn_in_fraction=0.0, step_size=0.5)
  bare = adjusted.with_settings(sampler="unadjusted")
  assert adjusted.walks and not bare.walks
  labels, seeds = np.arange(8) % 3, np.stack([np.arange(8), np.zeros(8, np.int64)], 1)
  one, other = (classifier.draw(labels, seeds) for classifier in (adjusted, bare))
  assert one.acceptance_rate.min() < 1.0  # something was refused: the two are not the same chain
  assert (one.images != other.images).any()


def test_the_bound_is_the_largest_of_the_pass_and_the_others_are_means(resumed):
  rows = []

  class Rows(keras.callbacks.Callback):

    def on_train_batch_end(self, batch, logs=None):
      rows.append(dict(logs))

  logs = tiny.run_pass(resumed, callbacks=[Rows()])
  assert len(rows) == 3 and {name: pytest.approx(value) for name, value in rows[-1].items()} == logs
  bounds = [row["energy_bound"] for row in rows]
  assert bounds == sorted(bounds)


@pytest.mark.parametrize("settings, moves", [
    ({"fakes_from": "none"}, False), ({"fakes_from": "none", "denoising_weight": 1.0}, True), ({}, True)])
def test_what_classes_share_learns_of_what_it_changes_alone(settings, moves):
  """The decoder of a U-Net tells no class from another, and is not run to classify."""
  system = tiny.build_system("stic", network="unet", updates_per_pass=1, **settings)
  weights = {variable.name: variable.numpy() for variable in system.network.trainable_variables}
  batch = tiny.batch(0)
  whole = tf.nest.flatten(system.network(batch["real_images"]))[0]
  logs = tiny.run_pass(system)
  expected = keras.losses.categorical_crossentropy(batch["real_labels"], whole, from_logits=True)
  assert logs["loss_classification"] == pytest.approx(float(tf.reduce_mean(expected)), abs=1e-4)
  moved = {variable.name: bool((variable.numpy() != weights[variable.name]).any())
           for variable in system.network.trainable_variables}
  decoder = [name for name in moved if name.startswith(("up", "decoded"))]
  assert len(decoder) > 3 and any(moved[name] for name in decoder) == moves
  assert any(moved[name] for name in moved if name not in decoder)
