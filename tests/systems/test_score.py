"""Score-STIC's passes: what it learns, its fakes, the level it answers at, and a state that can be taken back."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

import stic_tf
from stic_tf import config as config_lib
from stic_tf.datasets import pixel_range
from stic_tf.networks import build
from stic_tf.networks import precond
from stic_tf.systems import score as score_lib
from stic_tf.training import passes
from stic_tf.training import randomness as randomness_lib
from tests.systems import tiny

CHAINS = tiny.KINDS["score"]["chains"]


@pytest.fixture(scope="module")
def two_passes():
  """(a system after two passes, its states and its logs after each)."""
  return tiny.two_passes("score")


@pytest.fixture(scope="module")
def another():
  """A system that has done nothing yet, to be given states."""
  return tiny.build_system("score")


def test_a_state_taken_back_continues_identically(two_passes, another):
  _, states, logs = two_passes
  resumed = another
  assert (resumed.state()["network/stem/kernel"] != states[0]["network/stem/kernel"]).any()
  resumed.load_state(states[0])
  tiny.assert_same_state(resumed.state(), states[0])
  assert tiny.run_pass(resumed) == logs[1]
  resumed.choose_answer(*tiny.validation())
  tiny.assert_same_state(resumed.state(), states[1])


def test_fakes_are_there_from_the_second_pass_on(two_passes):
  system, states, logs = two_passes
  names = {"loss_denoising", "loss_classification", "loss_mixup"}
  assert names <= set(logs[0]) and logs[0]["loss_generative"] == 0.0
  assert names | {"loss_generative"} <= set(logs[1]) and logs[1]["loss_generative"] > 0.1
  # Without fakes the first pass teaches the head nothing.
  fresh = tiny.build_system("score").state()
  head = [name for name in fresh if name.startswith("network/evidence_")]
  assert len(head) == 4 and all((states[0][name] == fresh[name]).all() for name in head)
  assert all((states[1][name] != fresh[name]).any() for name in head)
  assert set(states[1]["pool/passes"]) == {0, 1} and len(system.pool) == 2 * CHAINS
  # Every chain is drawn anew at the end of a pass: three levels, so 3 + 2 evaluations and a corrector step at each.
  assert (states[0]["chains/images"] != states[1]["chains/images"]).reshape(CHAINS, -1).any(axis=1).all()
  assert np.abs(states[1]["chains/images"]).max() <= 1.0
  assert int(system.network_evaluations) == 2 * CHAINS * (5 + 3)
  assert float(system.step_size) != system.config.sampler.step_size


def test_acceptance_and_step_size_of_each_noise_level(two_passes):
  classifier = two_passes[0].classifier
  assert classifier.corrects and not classifier.walks
  levels, acceptance, sizes = np.moveaxis(classifier.trace_levels([0, 1, 2], seeds=4), 1, 0)
  steps, score = classifier.config.sampler.num_steps, classifier.config.score
  assert levels.shape == (steps, 3)
  np.testing.assert_allclose(levels[[0, -1], 0], [score.sigma_max, score.sigma_min], rtol=1e-4)
  drawn = classifier.draw([0, 1, 2], seeds=4)
  np.testing.assert_allclose(acceptance.mean(0), drawn.acceptance_rate, rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(sizes[0], classifier.step_size, rtol=1e-5)
  assert (sizes[1:] != sizes[:-1]).all()
  plain = classifier.with_settings(corrector_steps=0)
  with pytest.raises(config_lib.ConfigError, match="not drawn for by a chain at each"):
    plain.trace_levels([0], seeds=4)


def _randomness(update=0):
  return randomness_lib.Randomness(0, tf.constant(0, tf.int64), tf.constant(update, tf.int64))


@pytest.mark.parametrize("share, alone", [(score_lib._HEADS_SHARE, True), (1.0, False)])
def test_the_real_fake_head_leaves_the_features_alone(two_passes, monkeypatch, share, alone):
  """An update with fakes and one without differ in the head only, though gradients are clipped in common.

  The negative control is a head whose gradient counts in the clipping as the body's does.
  """
  monkeypatch.setattr(score_lib, "_HEADS_SHARE", share)
  after, streams = [], {name: tf.constant(value) for name, value in tiny.batch(3).items()}
  streams["generative_labels"] = tf.one_hot(streams["generative_labels"], tiny.NUM_CLASSES)
  for weight in (1.0, 0.0):
    system = tiny.build_system("score", clip_norm=0.05, fake_weight=weight)
    system.load_state({name: value for name, value in two_passes[1][0].items() if name != "scalars/log_sums"}
                      | {"scalars/log_sums": np.zeros(system.log_sums.shape, np.float32)})
    fakes, _, _ = system.make_fakes(streams, _randomness())
    assert bool(fakes) == (weight > 0)
    system.learn({**streams, **fakes}, _randomness())
    after.append({variable.name: variable.numpy() for variable in system.network.trainable_variables})
  differing = {name for name, value in after[0].items() if not np.allclose(value, after[1][name], atol=1e-6)}
  assert differing and all("evidence" in name for name in differing) == alone, differing


def test_training_denoises_and_classifies_without_fakes_too():
  system = tiny.build_system("score", fakes_from="none", updates_per_pass=60, num_passes=2, steps_per_execution=20)
  first, second = tiny.run_pass(system), tiny.run_pass(system)
  assert second["loss_denoising"] < 0.9 * first["loss_denoising"] < 1.0
  images, labels = tiny.validation(60)
  system.choose_answer(images, labels)
  answers = system.logits(pixel_range.from_uint8(images)).numpy()
  assert np.mean(answers.argmax(1) == labels) > 0.9
  assert "loss_generative" not in second and len(system.pool) == 0 and int(system.network_evaluations) == 0


def test_the_answer_is_the_best_of_one_level_and_the_mixture_on_validation(two_passes):
  system, _, _ = two_passes
  images, labels = tiny.validation(60)
  levels = system.average.answer_levels.numpy()
  answers = np.exp([system._log_probabilities_at(images, level) for level in levels])
  merits = [(np.mean(answer.argmax(1) == labels), np.mean(np.log(answer[np.arange(60), labels])))
            for answer in (*answers, answers.mean(0))]
  system.choose_answer(images, labels)
  weights = system.average.answer_weights.numpy()
  chosen = len(levels) if weights.max() < 1 else int(weights.argmax())
  np.testing.assert_allclose(merits[chosen], max(merits), rtol=1e-5)
  assert system.noise_level.numpy() == pytest.approx(np.exp(weights @ np.log(levels)), rel=1e-5)


@pytest.mark.parametrize("mixed", [[3], [0, 7], range(8)])
def test_an_answer_mixes_probabilities_and_averages_log_densities(two_passes, mixed):
  system, _, _ = two_passes
  weights = np.zeros(8, np.float32)
  weights[list(mixed)] = 1.0 / len(mixed)
  system._answer_with(weights)
  images = pixel_range.from_uint8(tiny.validation(12)[0])
  energies = _energies_of_levels(system, images, mixed)
  logits = system.logits(images).numpy()
  np.testing.assert_allclose(special.softmax(logits, axis=1), special.softmax(energies, axis=2).mean(0), atol=2e-5)
  np.testing.assert_allclose(special.logsumexp(logits, axis=1), special.logsumexp(energies, axis=2).mean(0), rtol=1e-4)


def _energies_of_levels(system, images, chosen):
  levels = system.average.answer_levels.numpy()[list(chosen)]
  return np.stack([system.average.level_energies(images, tf.fill([len(images)], level))[0] for level in levels])


@pytest.mark.parametrize("mixed", [[3], [0, 7]])
def test_a_mirrored_answer_is_that_of_an_image_and_its_mirror_image(mixed):
  system = tiny.build_system("score", fakes_from="none", mirrored_answer=True)
  tiny.run_pass(system)
  images, labels = tiny.validation(60)
  mirrored = images[:, :, ::-1]
  for level in system.average.answer_levels.numpy():  # what chooses sees what will answer
    np.testing.assert_allclose(system._log_probabilities_at(images, level),
                               system._log_probabilities_at(mirrored, level), atol=1e-5)
  weights = np.zeros(8, np.float32)
  weights[mixed] = 1.0 / len(mixed)
  system._answer_with(weights)
  views = [pixel_range.from_uint8(view) for view in (images, mirrored)]
  energies = np.concatenate([_energies_of_levels(system, view, mixed) for view in views])
  logits = system.logits(views[0]).numpy()
  np.testing.assert_allclose(special.softmax(logits, axis=1), special.softmax(energies, axis=2).mean(0), atol=2e-5)
  np.testing.assert_allclose(special.logsumexp(logits, axis=1), special.logsumexp(energies, axis=2).mean(0), rtol=1e-4)
  np.testing.assert_allclose(logits, system.logits(views[1]), atol=1e-3, rtol=1e-5)
  # Without, the two differ.
  assert np.abs(system.average.answer(views[0]) - system.average.answer(views[1])).max() > 0.01


def test_training_levels_stay_in_the_schedules_range(two_passes):
  images = tf.zeros([20000, 1, 1, 1])
  noisy, levels = tiny_noisy(two_passes[0], images)
  assert levels.min() >= 0.02 * (1 - 1e-6) and levels.max() <= 20.0
  quartiles = np.quantile(np.log(levels), [0.25, 0.5, 0.75])
  np.testing.assert_allclose(quartiles, -1.2 + 1.2 * np.array([-0.6745, 0.0, 0.6745]), atol=0.05)
  # And an image is noised at its own: of 20,000 the standard error of the deviation is 0.005.
  assert (noisy[:, 0, 0, 0] / levels).std() == pytest.approx(1.0, abs=0.03)


def tiny_noisy(system, images):
  """`_noisy` of 1×1 images."""
  kept, system.image_shape = system.image_shape, (1, 1, 1)
  try:
    noisy, levels = system._noisy(images, _randomness(), randomness_lib.LEVELS, randomness_lib.NOISE)
  finally:
    system.image_shape = kept
  return noisy.numpy(), levels.numpy()


def test_a_network_with_another_gaussian_is_refused():
  trunk = build.build(config_lib.RunConfig.of({"model": "score", "width": 8, "blocks": 1}), (8, 8, 1), 10, 0, True)
  network = precond.EnergyPrecond(trunk, (8, 8, 1), 10, "cosine")
  with pytest.raises(config_lib.ConfigError, match="gaussian.*must be cosine, which the network has"):
    stic_tf.ScoreSTIC(network, 10, average=network, image_shape=(8, 8, 1))
  assert stic_tf.ScoreSTIC(network, 10, average=network, image_shape=(8, 8, 1), gaussian="cosine").network is network


def test_weights_beside_another_gaussian_are_of_another_network():
  """Its trunk was given other inputs, and corrected another density."""
  trunk = build.build(config_lib.RunConfig.of({"model": "score", "width": 8, "blocks": 1}), (8, 8, 1), 10, 0, True)
  isotropic, cosine, point = (stic_tf.ScoreSTIC(trunk, 10, gaussian=name) for name in ("isotropic", "cosine", "point"))
  isotropic.begin_with({f"average/{value.name[:-2]}": value.numpy() for value in isotropic.average.variables})
  for theirs, own in ((cosine, isotropic), (isotropic, cosine), (point, isotropic), (isotropic, point)):
    with pytest.raises(ValueError, match="only one of them has (colours|spectrum|data_scale)"):
      own.begin_with({f"average/{value.name[:-2]}": value.numpy() for value in theirs.average.variables})


def test_what_is_learnt_beside_a_point_is_what_the_trunk_says():
  trunk = build.build(config_lib.RunConfig.of({"model": "score", "width": 8, "blocks": 1}), (8, 8, 1), 10, 0, True)
  system = stic_tf.ScoreSTIC(trunk, 10, gaussian="point")
  images, levels = tf.constant(np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 1)), tf.float32), tf.fill([4], 0.4)
  said = trunk(system.network._of_trunk(images, levels))[0]
  learnt = system.learnt(images, levels, system.network.level_energies(images, levels)[0])
  np.testing.assert_allclose(learnt, said, rtol=1e-3, atol=1e-4)
  assert np.abs(said).max() > 1e-3


def test_divergence_is_of_what_is_learnt_not_of_the_canvas(monkeypatch):
  """At σ = 20 the Gaussian part of f alone is beyond 1e4 σ_d/σ on 28×28 pixels, before anything has been learnt."""
  trunk = build.build(config_lib.RunConfig.of({"model": "score", "width": 8, "blocks": 1}), (28, 28, 1), 10, 0, True)
  system = stic_tf.ScoreSTIC(trunk, 10, fake_weight=0.0, preconditioner="identity")
  system.network.gaussian.data_scale.assign(0.3)
  system.compile(system.make_optimizer())
  rng = np.random.default_rng(0)
  images, levels = tf.zeros([4, 28, 28, 1]), tf.fill([4], 20.0)
  noisy = images + 20 * rng.standard_normal(images.shape, np.float32)
  labels = tf.eye(10)[:4]
  energies, _ = system.network.level_energies(noisy, levels)
  assert np.abs(energies).max() * 20 / 0.3 > 1e4
  monkeypatch.setattr(system, "_noisy", lambda clean, randomness, *uses: (
      noisy if uses[0] == randomness_lib.LEVELS else clean, levels))
  logs = system.learn({"generative_images": images, "generative_labels": labels, "mixup_images": images,
                       "mixup_labels": labels}, _randomness())
  assert float(logs["energy_bound"]) < 100


def test_divergence_is_found(two_passes, another):
  another.load_state(two_passes[1][0])
  broken = tiny.stream(3, lambda batch: {**batch, "generative_images": batch["generative_images"] * np.float32(np.nan)})
  with pytest.raises(passes.DivergenceError, match="nan"):
    tiny.run_pass(another, broken)


# ---- passes of the head alone ----

def _moved(system, variables):
  """What a pass moves of variables, by more than the last bits to which an average is rounded."""
  before = [variable.numpy() for variable in variables]
  logs = tiny.run_pass(system)
  return {variable.ref() for variable, value in zip(variables, before)
          if not np.allclose(variable.numpy(), value, rtol=1e-4, atol=1e-7)}, logs


def test_in_the_last_pass_the_head_alone_learns_of_a_network_that_stands_still():
  system = tiny.build_system("score", fakes_from="previous_pass", head_passes=1, past_fraction=0.5)
  variables = [*system.network.trainable_variables, *(
      mean for mean, value in zip(system.average.variables, system.network.variables) if value.trainable)]
  head = {variable.ref() for variable in variables if variable.name.startswith("evidence_")}
  body = {variable.ref() for variable in variables} - head
  assert len(head) == 8
  for number in range(2):
    moved, logs = _moved(system, variables)
    assert moved == body and logs["loss_generative"] == 0.0 < logs["loss_denoising"]
    assert len(system.pool) == number * CHAINS  # those of the network as it will stand, and no others
  before = system.state()
  averaged = {mean.ref() for mean in system.average.variables}
  moved, logs = _moved(system, variables)
  assert head <= moved and not moved & averaged - head
  assert logs["loss_generative"] > 0.1 and logs["loss_denoising"] == 0.0
  for mean, value in zip(system.average.variables, system.network.variables):
    if value.trainable and value.ref() not in head:
      np.testing.assert_allclose(mean, value, rtol=1e-5, atol=1e-7)
  resumed = tiny.build_system("score", fakes_from="previous_pass", head_passes=1, past_fraction=0.5)
  resumed.load_state(before)
  assert tiny.run_pass(resumed) == logs
  tiny.assert_same_state(resumed.state(), system.state())


@pytest.mark.parametrize("settings, says", [
    ({"head_passes": 3}, "head_passes=3: must be below num_passes=3"),
    ({"head_passes": 1, "fakes_from": "none"}, "head_passes=1: needs fakes to learn from, fakes_from=previous_pass"),
    ({"head_passes": -1}, "head_passes=-1: must be a finite number of at least 0"),
    ({"head_passes": 1, "network": "attentive", "tile_grid": 2},
     "head_passes=1: must be 0 with a network without real/fake logits")])
def test_passes_of_the_head_that_cannot_be_are_refused_in_one_line(settings, says):
  with pytest.raises(config_lib.ConfigError) as error:
    tiny.build_system("score", **settings)
  assert str(error.value) == says
