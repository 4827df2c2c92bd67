"""Score-STIC's passes: what it learns, its fakes, the level it answers at, and a state that can be taken back."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from stic_tf import config as config_lib
from stic_tf.datasets import pixel_range
from stic_tf.models import build
from stic_tf.sampler import gram
from stic_tf.self_analysis import losses
from stic_tf.self_analysis import score_learner
from stic_tf.self_analysis import systems
from tests.self_analysis import test_recurrence as plain

CHAINS = 9


def _recurrence(seed=0, score=None, **settings):
  configs = {
      "model": config_lib.ModelConfig(model="score", width=8, blocks=1),
      "sampler": config_lib.SamplerConfig(num_steps=3, preconditioner="identity"),
      "recurrence": config_lib.RecurrenceConfig(
          **{**plain.RECURRENCE, "chains": CHAINS, "learning_rate": 5e-3, "ema_decay": 0.9, **settings}),
      "score": config_lib.ScoreConfig(**{"corrector_steps": 1, "cross_entropy_weight": 0.1, **(score or {})})}
  return systems.make_recurrence(configs, plain.SHAPE, plain.NUM_CLASSES, gram.ImageStatistics.fit(
      plain._images(200)[0]), seed, tf.distribute.get_strategy())


@pytest.fixture(scope="module")
def two_passes():
  """(a recurrence after two passes, its states and its logs after each)."""
  recurrence, states, logs = _recurrence(), [], []
  for _ in range(2):
    logs.append(plain._run_pass(recurrence))
    recurrence.choose_answer(*_validation())
    states.append(recurrence.state())
  return recurrence, states, logs


def _validation(count=20):
  images, labels = plain._images(count, seed=5)
  return np.clip(127.5 * (images + 1), 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def another():
  """A recurrence that has done nothing yet, to be given states."""
  return _recurrence()


def test_a_state_taken_back_continues_identically(two_passes, another):
  _, states, logs = two_passes
  resumed = another
  assert (resumed.state()["network/000"] != states[0]["network/000"]).any()
  resumed.load_state(states[0])
  plain._assert_same_state(resumed.state(), states[0])
  assert plain._run_pass(resumed) == logs[1]
  resumed.choose_answer(*_validation())
  plain._assert_same_state(resumed.state(), states[1])


def test_fakes_are_there_from_the_second_pass_on(two_passes):
  recurrence, states, logs = two_passes
  names = {"loss_denoising", "loss_classification", "loss_mixup"}
  assert names <= set(logs[0]) and "loss_generative" not in logs[0]
  assert names | {"loss_generative"} <= set(logs[1])
  assert set(recurrence.pool.passes) == {0, 1} and len(recurrence.pool) == 2 * CHAINS
  # Every chain is drawn anew at the end of a pass: three levels, so 3 + 2 evaluations and a corrector step at each.
  assert (states[0]["chains/images"] != states[1]["chains/images"]).reshape(CHAINS, -1).any(axis=1).all()
  assert np.abs(states[1]["chains/images"]).max() <= 1.0
  assert recurrence.network_evaluations == 2 * CHAINS * (5 + 3)
  assert recurrence.step_size != recurrence.sampler.step_size


def test_the_real_fake_head_leaves_the_features_alone(two_passes):
  """An update with fakes and one without differ in the head only; clipping, which would join them, is far away."""
  after = []
  for with_fakes in (True, False):
    recurrence = _recurrence(score={"clip_norm": 1e9}) if with_fakes else after[0][0]
    recurrence.load_state(two_passes[1][0])
    data = {name: np.asarray(value) for name, value in next(plain._streams(3)[0]).items()}
    recurrence._add_generative_streams(data, plain._streams(3)[1], np.random.default_rng(0))
    kept = {name: tf.constant(value) for name, value in data.items() if with_fakes or not name.startswith("fake")}
    recurrence.learner.train_step(kept)
    after.append((recurrence, {variable.name: variable.numpy() for variable in recurrence.network.trainable_variables}))
  differing = {name for name, value in after[0][1].items() if not np.allclose(value, after[1][1][name], atol=1e-6)}
  assert differing and all("evidence" in name for name in differing), differing


def test_training_denoises_and_classifies_without_fakes_too():
  recurrence = _recurrence(fakes=False, updates_per_pass=60, num_passes=2)
  first, second = plain._run_pass(recurrence), plain._run_pass(recurrence)
  assert second["loss_denoising"] < 0.9 * first["loss_denoising"] < 1.0
  images, labels = _validation(60)
  recurrence.choose_answer(images, labels)
  answers = build.logits(recurrence.average, pixel_range.from_uint8(images)).numpy()
  assert np.mean(answers.argmax(1) == labels) > 0.9
  assert "loss_generative" not in second and len(recurrence.pool) == 0 and recurrence.network_evaluations == 0


def test_the_answer_is_the_best_of_one_level_and_the_mixture_on_validation(two_passes):
  recurrence, _, _ = two_passes
  images, labels = _validation(60)
  levels = recurrence.average.answer_levels.numpy()
  energies = np.stack([recurrence._logits(images, level) for level in levels])
  answers = special.softmax(energies, axis=2)
  merits = [(np.mean(answer.argmax(1) == labels), np.mean(np.log(answer[np.arange(60), labels])))
            for answer in (*answers, answers.mean(0))]
  recurrence.choose_answer(images, labels)
  weights = recurrence.average.answer_weights.numpy()
  chosen = len(levels) if weights.max() < 1 else int(weights.argmax())
  np.testing.assert_allclose(merits[chosen], max(merits), rtol=1e-5)
  assert recurrence.noise_level.numpy() == pytest.approx(np.exp(weights @ np.log(levels)), rel=1e-5)


@pytest.mark.parametrize("mixed", [[3], [0, 7], range(8)])
def test_an_answer_mixes_probabilities_and_averages_log_densities(two_passes, mixed):
  recurrence, _, _ = two_passes
  weights = np.zeros(8, np.float32)
  weights[list(mixed)] = 1.0 / len(mixed)
  recurrence._answer_with(weights)
  images = _validation(12)[0]
  energies = np.stack([recurrence._logits(images, recurrence.average.answer_levels.numpy()[level]) for level in mixed])
  logits = build.logits(recurrence.average, pixel_range.from_uint8(images)).numpy()
  np.testing.assert_allclose(special.softmax(logits, axis=1), special.softmax(energies, axis=2).mean(0), atol=2e-5)
  np.testing.assert_allclose(special.logsumexp(logits, axis=1), special.logsumexp(energies, axis=2).mean(0), rtol=1e-4)


def test_training_levels_stay_in_the_schedules_range(two_passes):
  levels = two_passes[0]._levels(20000, np.random.default_rng(0))
  assert levels.min() >= 0.02 * (1 - 1e-6) and levels.max() <= 20.0
  quartiles = np.quantile(np.log(levels), [0.25, 0.5, 0.75])
  np.testing.assert_allclose(quartiles, -1.2 + 1.2 * np.array([-0.6745, 0.0, 0.6745]), atol=0.05)


def test_the_denoising_loss_weighs_levels_as_edm():
  """A network that answers with the linear denoiser of N(0, σ_d²) pays σ²-weighted the same at all levels: 1."""
  rng = np.random.default_rng(0)
  clean = 0.5 * rng.normal(size=(4000, 4, 4, 1)).astype(np.float32)
  for level in (0.05, 0.5, 5.0):
    noisy = clean + level * rng.normal(size=clean.shape).astype(np.float32)
    loss = losses.denoising(noisy * 0.25 / (level ** 2 + 0.25), clean, tf.fill([4000], level), 0.5)
    assert float(loss) == pytest.approx(1.0, rel=0.03)


def test_divergence_is_of_what_is_learnt_not_of_the_canvas():
  """At σ = 20 the Gaussian part of f alone is beyond 1e4 σ_d/σ on 28×28 pixels, before anything has been learnt."""
  network = build.build_network(config_lib.ModelConfig(model="score", width=8, blocks=1), (28, 28, 1), 10, 0)
  network.set_moments(np.zeros([28, 28, 1], np.float32), 0.3)
  learner = score_learner.ScoreLearner(network, network, 0.0, 0.005, 0.9)
  learner.compile(optimizer=keras.optimizers.Adam(1e-3, jit_compile=False))
  rng = np.random.default_rng(0)
  images, levels = np.zeros([4, 28, 28, 1], np.float32), np.full([4], 20.0, np.float32)
  noise = rng.standard_normal(images.shape, np.float32)
  labels = np.eye(10, dtype=np.float32)[:4]
  energies, _ = build.level_energies(network, images + 20 * noise, levels)
  assert np.abs(energies).max() * 20 / 0.3 > 1e4
  logs = learner.train_step({
      "clean_images": images, "clean_labels": labels, "noise": noise, "clean_levels": tf.constant(levels),
      "mixup_images": images, "mixup_labels": labels, "mixup_levels": tf.constant(levels)})
  assert float(logs["energy_bound"]) < 100


def test_divergence_is_found(two_passes, another):
  another.load_state(two_passes[1][0])
  classification, generation = plain._streams(3)
  with pytest.raises(plain.recurrence_lib.DivergenceError, match="nan"):
    another.run_pass(classification, ((images * np.float32(np.nan), labels) for images, labels in generation))
