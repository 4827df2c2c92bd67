"""--mode=sample: what is in the files, and that an image depends on its seed and class alone."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

import stic_tf
from stic_tf import checkpoint

_ROOT = pathlib.Path(__file__).resolve().parents[2]
LABELS = [3, 7, 3, 7, 3, 7]


@pytest.fixture(scope="module")
def sample(main, trained_run, tmp_path_factory):
  """Draws into an npz: sample(*flags) -> its arrays."""
  folder = tmp_path_factory.mktemp("drawings")
  count = iter(range(1000))

  def draw(*flags):
    out = folder / f"{next(count)}.npz"
    outcome = main("--mode=sample", f"--run_dir={trained_run}", f"--out={out}", *flags)
    assert outcome.code == 0, outcome.stderr
    assert not outcome.stderr and str(out) in outcome.stdout
    with np.load(out) as arrays:
      return dict(arrays)

  return draw


@pytest.fixture(scope="module")
def classifier(trained_run):
  return stic_tf.load(trained_run)


@pytest.fixture(scope="module")
def drawn(sample):
  return sample("--classes=3,7", "--num_images=6", "--seed=5")


def test_the_arrays(drawn):
  assert {name: (array.dtype, array.shape) for name, array in drawn.items()} == {
      "images": (np.uint8, (6, 8, 8, 1)), "class_weights": (np.float32, (6, 10)), "seeds": (np.int64, (6, 2)),
      "log_density": (np.float32, (6,)), "probabilities": (np.float32, (6, 10))}
  np.testing.assert_array_equal(drawn["seeds"], [[5, i] for i in range(6)])
  np.testing.assert_array_equal(drawn["class_weights"], np.eye(10)[[3, 7, 3, 7, 3, 7]])
  np.testing.assert_allclose(drawn["probabilities"].sum(1), 1, rtol=1e-5)
  assert np.isfinite(drawn["log_density"]).all()
  assert len(np.unique(drawn["images"], axis=0)) == 6


def test_the_probabilities_are_the_answers_to_the_images(drawn, classifier):
  np.testing.assert_allclose(classifier.classify(drawn["images"]), drawn["probabilities"], atol=1e-6)


def test_three_lines_of_python_draw_the_same(drawn, classifier):
  drawings = classifier.draw(LABELS, seeds=5)
  np.testing.assert_array_equal(drawings.images, drawn["images"])
  np.testing.assert_array_equal(drawings.seeds, drawn["seeds"])
  np.testing.assert_array_equal(drawings.log_density, drawn["log_density"])


def test_an_image_does_not_depend_on_how_many_there_are(sample, drawn):
  others = sample("--classes=3,7", "--num_images=9", "--seed=5")
  for name in drawn:
    np.testing.assert_array_equal(others[name][:6], drawn[name])


def test_one_image_alone(sample, drawn):
  alone = sample("--classes=3", "--num_images=1", "--seed=5")
  np.testing.assert_array_equal(alone["images"], drawn["images"][:1])


def test_another_seed_is_another_image(drawn, classifier):
  others = classifier.draw(LABELS, seeds=6).images
  assert all((ours != theirs).any() for ours, theirs in zip(drawn["images"], others))


def test_a_hard_class_is_a_soft_one_with_all_the_weight(drawn, classifier):
  np.testing.assert_array_equal(classifier.draw(np.eye(10)[LABELS], seeds=5).images, drawn["images"])


def test_a_soft_class(sample):
  drawn = sample("--class_weights=0:0.25,8:0.75", "--num_images=2")
  np.testing.assert_array_equal(drawn["class_weights"], np.tile(0.25 * np.eye(10)[0] + 0.75 * np.eye(10)[8], [2, 1]))
  np.testing.assert_array_equal(drawn["seeds"], [[0, 0], [0, 1]])


def test_all_classes_in_turn_without_a_choice(sample):
  np.testing.assert_array_equal(sample("--num_images=12")["class_weights"].argmax(1), [*range(10), 0, 1])


def test_a_flagfile_of_the_run_changes_nothing(sample, drawn, trained_run):
  """Also where it names the step size that training began with."""
  again = sample(f"--flagfile={trained_run}/flags.txt", "--classes=3,7", "--num_images=6", "--seed=5")
  np.testing.assert_array_equal(again["images"], drawn["images"])


@pytest.mark.parametrize("flag", ["width=9", "dataset=mnist", "model=score"])
def test_what_the_run_was_made_with_cannot_be(main, trained_run, tmp_path, flag):
  outcome = main("--mode=sample", f"--run_dir={trained_run}", f"--out={tmp_path / 'x.png'}", f"--{flag}")
  assert f"--{flag}: must be " in outcome.error() and "as the run was made" in outcome.error()
  assert not (tmp_path / "x.png").exists()


def test_what_only_training_reads_is_said_to_change_nothing(main, trained_run, tmp_path):
  outcome = main("--mode=sample", f"--run_dir={trained_run}", f"--out={tmp_path / 'x.png'}", "--num_images=1",
                 "--train_images=100", "--network=small")
  assert outcome.code == 0 and "warning: --train_images=100 changes nothing here" in outcome.stderr
  assert "--network" not in outcome.stderr  # what it is by its size anyway


def test_a_number_of_drawings_by_another_name_is_warned_of(main, trained_run, tmp_path):
  outcome = main("--mode=sample", f"--run_dir={trained_run}", f"--out={tmp_path / 'x.png'}", "--num_samples=64")
  assert outcome.code == 0 and "warning: --num_samples=64 changes nothing here" in outcome.stderr


def test_a_film_that_cannot_be_written_is_told_of_before_anything_is_drawn(main, trained_run, tmp_path):
  (tmp_path / "file").write_text("mine")
  outcome = main("--mode=sample", f"--run_dir={trained_run}", f"--out={tmp_path / 'x.png'}",
                 f"--record_drawing={tmp_path / 'file' / 'x.gif'}")
  assert "--record_drawing" in outcome.error() and not (tmp_path / "x.png").exists()


def test_settings_of_the_chain_can_be_given(sample, drawn, classifier):
  settings = {"num_steps": 9, "temperature": 0.5, "step_size": 0.01}
  for name, value in settings.items():
    assert (classifier.draw(LABELS, seeds=5, **{name: value}).images != drawn["images"]).any()
  flags = (f"--{name}={value}" for name, value in settings.items())
  np.testing.assert_array_equal(sample("--classes=3,7", "--num_images=6", "--seed=5", *flags)["images"],
                                classifier.draw(LABELS, seeds=5, **settings).images)


def test_a_picture_has_a_row_a_class(main, trained_run, tmp_path, drawn):
  outcome = main("--mode=sample", f"--run_dir={trained_run}", f"--out={tmp_path / 'new' / 'x.png'}", "--classes=3,7",
                 "--num_images=6", "--seed=5")
  assert outcome.code == 0, outcome.stderr
  picture = np.asarray(PIL.Image.open(tmp_path / "new" / "x.png"))
  assert picture.shape == (2 * 34, 3 * 34)
  np.testing.assert_array_equal(picture[1:33:4, 35:67:4], drawn["images"][2, :, :, 0])


def test_a_picture_of_another_scale(main, trained_run, tmp_path, drawn):
  outcome = main("--mode=sample", f"--run_dir={trained_run}", f"--out={tmp_path / 'x.png'}", "--classes=3,7",
                 "--num_images=6", "--seed=5", "--scale=2")
  assert outcome.code == 0, outcome.stderr
  picture = np.asarray(PIL.Image.open(tmp_path / "x.png"))
  assert picture.shape == (2 * 18, 3 * 18)
  np.testing.assert_array_equal(picture[1:17:2, 19:35:2], drawn["images"][2, :, :, 0])
  assert "--scale=65: must lie in 0..64" in main("--mode=sample", "--out=x.png", "--scale=65").error()


@pytest.mark.parametrize("mode, says", [
    ("train", "the same command resumes from the last checkpoint"), ("evaluate", "the same command starts over"),
    ("sample", "nothing was written")])
def test_what_an_interrupted_command_says(tmp_path, mode, says):
  """Each mode its own: there is no checkpoint in the making where drawings are."""
  code = """
import sys, types
def interrupted(*unused):
  raise KeyboardInterrupt
sys.modules["trainers." + sys.argv[1][7:]] = types.SimpleNamespace(run=interrupted)
from trainers import main
main.command_line()
"""
  ended = subprocess.run([sys.executable, "-c", code, f"--mode={mode}", f"--run_dir={tmp_path}"], cwd=_ROOT,
                         capture_output=True, text=True, timeout=120)
  assert (ended.returncode, ended.stderr) == (1, f"error: interrupted; {says}\n")


def test_classes_by_name(main, trained_run, tmp_path):
  # The digits' names are their numbers, so these get others.
  names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
  _, arrays, description, _ = checkpoint.read_newest(os.path.join(trained_run, "checkpoints"))
  checkpoint.write(checkpoint.path_of(str(tmp_path / "checkpoints"), 2), arrays, {**description, "class_names": names})
  out = tmp_path / "x.npz"
  flags = ("--mode=sample", f"--run_dir={tmp_path}", f"--out={out}", "--num_images=3")
  assert main(*flags, "--classes=eight,0,three").code == 0
  with np.load(out) as drawn:
    np.testing.assert_array_equal(drawn["class_weights"].argmax(1), [8, 0, 3])
  assert "--classes=ten: must be numbers in 0..9 or class names" in main(*flags, "--classes=ten").error()
