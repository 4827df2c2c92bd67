"""A run of Score-STIC by the same commands as any other."""

import numpy as np
import pytest

import stic_tf
from tests import tiny_run

FLAGS = ("--model=score", "--blocks=1", "--preconditioner=identity", "--corrector_steps=1", "--correction=0.5",
         "--updates_per_pass=4", "--chains=12", "--num_steps=4", "--pass_steps=4", "--classification_ratio=2")


@pytest.fixture(scope="module")
def training(train, tmp_path_factory):
  """(The folder of a finished tiny run, the outcome of the command that trained it.)"""
  folder = tmp_path_factory.mktemp("score") / "run"
  outcome = train(folder, *FLAGS)
  assert outcome.code == 0, outcome.stderr
  return folder, outcome


@pytest.fixture(scope="module")
def score_run(training):
  """A finished tiny run. Not to be written to, but by the one test that evaluates it anew."""
  return training[0]


def test_classes_without_hard_fakes_are_named(training):
  """Of 12 chains a quarter is soft: nine hard ones for ten classes."""
  assert "--chains=12 with --soft_fraction=0.25 leave 1 of 10 classes without hard fakes" in training[1].stderr


def test_a_run_has_what_every_run_has(score_run):
  summary, rows = tiny_run.summary(score_run), tiny_run.metrics(score_run)
  assert summary["model"] == "score" and len(rows) == 2
  # Four levels: an evaluation and a corrector step at each, and Heun's second slope between them.
  assert summary["network_evaluations_per_image"] == 4 + 4 + 3
  assert 0.0 < summary["acceptance_rate"] <= 1.0 and 0.02 <= summary["noise_level"] <= 0.6
  assert all(0.0 <= summary[f"ood_auroc_{name}"] <= 1.0 for name in ("shuffled", "spliced"))
  assert {"loss_denoising", "loss_mixup", "loss_classification"} <= set(rows[0]) and "loss_generative" in rows[1]
  assert (score_run / "samples" / "final.png").exists() and (score_run / "interpolation.png").exists()


def test_evaluating_it_anew_gives_the_same_figures(score_run, main):
  before = tiny_run.without_clocks(tiny_run.summary(score_run))
  assert main("--mode=evaluate", f"--run_dir={score_run}").code == 0
  assert tiny_run.without_clocks(tiny_run.summary(score_run)) == before


def test_sampling_it_is_drawing_it(score_run, main, tmp_path):
  out = tmp_path / "drawings.npz"
  assert main("--mode=sample", f"--run_dir={score_run}", "--num_images=4", "--seed=3", f"--out={out}").code == 0
  classifier = stic_tf.load(str(score_run))
  drawings = classifier.draw(np.arange(4), seeds=3)
  with np.load(out) as arrays:
    for name in ("images", "log_density", "probabilities"):
      np.testing.assert_array_equal(arrays[name], getattr(drawings, name))
  classifier = classifier.with_settings(guidance=2.0, corrector_steps=0)
  guided = tmp_path / "guided.npz"
  assert main("--mode=sample", f"--run_dir={score_run}", "--num_images=4", "--seed=3", "--guidance=2",
              "--corrector_steps=0", f"--out={guided}").code == 0
  with np.load(guided) as arrays:
    np.testing.assert_array_equal(arrays["images"], classifier.draw(np.arange(4), seeds=3).images)
    assert (arrays["images"] != drawings.images).any()
  assert classifier.network_evaluations() == 4 + 3
  # Log densities are the energies at the level of the answer: their softmax is the answer.
  by_class = np.stack([classifier.log_density(drawings.images, [label] * 4) for label in range(10)], axis=1)
  anyone = np.log(np.exp(by_class - by_class.max(1, keepdims=True)).sum(1)) + by_class.max(1)
  np.testing.assert_allclose(classifier.log_density(drawings.images), anyone, rtol=1e-4, atol=1e-3)
  np.testing.assert_allclose(np.exp(by_class - anyone[:, np.newaxis]), classifier.classify(drawings.images), atol=1e-4)


@pytest.mark.parametrize("flag, allowed", [
    ("--sigma_max=40", "trained range [0.02, 20]"), ("--sigma_min=0.001", "trained range [0.02, 20]"),
    ("--guidance=nan", "at least -1"), ("--sigma_max=0.01", "the schedule must decrease")])
def test_a_schedule_that_cannot_be(score_run, main, tmp_path, flag, allowed):
  out = tmp_path / "x.png"
  line = main("--mode=sample", f"--run_dir={score_run}", flag, f"--out={out}").error()
  assert flag.split("=")[0] in line and allowed in line and not out.exists()


def test_an_interval_of_guidance_is_of_the_score_model(trained_run, main, tmp_path):
  out = tmp_path / "x.png"
  line = main("--mode=sample", f"--run_dir={trained_run}", "--guidance_from=1", f"--out={out}").error()
  assert "--guidance_from=1" in line and "--model=score" in line and not out.exists()


def test_settings_that_do_not_go_with_the_model(train, tmp_path):
  line = train(tmp_path / "run", "--model=score", "--gram_weight=1").error()
  assert "--gram_weight=1" in line and not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag, says", [
    ("--sweep_every=4", "is of strokes, which need a network that attends"),
    ("--drawing=strokes", "must be whole with a network that does not attend over tiles")])
def test_strokes_are_of_networks_that_attend(score_run, main, tmp_path, flag, says):
  line = main("--mode=sample", f"--run_dir={score_run}", flag, "--corrector_steps=1",
              f"--out={tmp_path / 'x.png'}").error()
  assert f"{flag}: {says}" in line


@pytest.mark.parametrize("flags, says", [
    (["--network=attentive", "--tile_grid=3"], "--tile_grid=3: must divide the canvas of 8x8 pixels"),
    (["--network=unet", "--blocks=1,2,3"], "--blocks=1,2,3: "),
    (["--guidance=1", "--guidance_from=30", "--guidance_to=40"], "--guidance_from=30.0: must lie within the noise"),
    (["--network=attentive", "--drawing=strokes"], "--corrector_steps=0: must be at least 1, the strokes at a level")])
def test_what_does_not_fit_is_refused_in_one_line(train, tmp_path, flags, says):
  line = train(tmp_path / "run", "--model=score", "--fakes_from=none", *flags).error()
  assert says in line and not (tmp_path / "run").exists()


def test_an_attentive_trunk_knows_the_noise_level(train, tmp_path):
  outcome = train(tmp_path / "run", *(flag for flag in FLAGS if "blocks" not in flag and "correction" not in flag),
                  "--network=attentive", "--predictor=dpm_solver_pp", "--num_passes=1")
  assert outcome.code == 0, outcome.stderr
  assert tiny_run.summary(tmp_path / "run")["network_evaluations_per_image"] == 4 + 4
  drawings = stic_tf.load(str(tmp_path / "run")).draw([3, 7], seeds=1)
  assert drawings.images.shape == (2, 8, 8, 1) and np.isfinite(drawings.log_density).all()
