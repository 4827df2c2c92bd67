"""--model=attentive from the command line: the same trainer and run folder, strokes to watch, and its own bad input."""

import os
import shutil

import numpy as np
import PIL.Image
import pytest

import stic_tf
from stic_tf import config as config_lib
from stic_tf import seed_pairs
from tests import tiny_run

FLAGS = ("--model=attentive", "--gram_weight=0.5", "--gram_rank=4")
FRAMES = 48


@pytest.fixture(scope="module")
def run_dir(train, tmp_path_factory):
  folder = tmp_path_factory.mktemp("attentive") / "run"
  outcome = train(folder, *FLAGS)
  assert outcome.code == 0, outcome.stderr
  return folder


@pytest.fixture(scope="module")
def classifier(run_dir):
  return stic_tf.load(str(run_dir))


def _gif_frames(path):
  with PIL.Image.open(path) as animation:
    frames = []
    for number in range(animation.n_frames):
      animation.seek(number)
      frames.append(np.asarray(animation.convert("L")))
  return frames


def test_the_files_of_a_run(run_dir):
  assert sorted(os.listdir(run_dir)) == [
      "attention.png", "checkpoints", "drawing.gif", "flags.txt", "interpolation.png", "metrics.jsonl", "samples",
      "settings.json", "summary.json", "tensorboard"]
  summary = tiny_run.summary(run_dir)
  assert (summary["model"], summary["drawing"]) == ("attentive", "strokes")
  # A row a class: the drawing, the strokes taken, the attention; cells of 34 pixels.
  assert np.asarray(PIL.Image.open(run_dir / "attention.png")).shape == (10 * 34, 3 * 34)


def test_the_animation_ends_with_the_drawings(run_dir, classifier):
  frames = _gif_frames(run_dir / "drawing.gif")
  assert len(frames) <= FRAMES and frames[0].shape == (10 * 34, 4 * 34)
  drawings = classifier.draw(np.repeat(np.arange(10), 4), seed_pairs.of_use(seed_pairs.WATCHED, 0, 40))
  cells = frames[-1].reshape(10, 34, 4, 34).swapaxes(1, 2)[:, :, 1:-1:4, 1:-1:4].reshape(40, 8, 8)
  np.testing.assert_array_equal(cells, drawings.images[..., 0])
  assert (frames[0] != frames[-1]).any()


def test_frames_do_not_change_the_drawing(classifier):
  plain, recorded = (classifier.draw([3, 7, 3], 5, num_frames=number) for number in (0, 4))
  assert plain.frames is None and recorded.frames.shape == (3, 4, 8, 8, 1) and recorded.frames.dtype == np.uint8
  np.testing.assert_array_equal(recorded.images, plain.images)
  np.testing.assert_array_equal(recorded.frames[:, -1], plain.images)
  assert plain.strokes.shape == plain.attention.shape == (3, 16)
  np.testing.assert_allclose(plain.attention.sum(1), 1.0, atol=1e-5)
  assert (plain.strokes.sum(1) <= 6).all()


def test_the_in_graph_drawing_is_the_same(classifier):
  drawings = classifier.draw([3, 7, 3], 5, num_frames=4)
  drawn = classifier.draw_tensors(drawings.class_weights, drawings.seeds, np.array([6, 6, 6], np.int32),
                                  np.ones(3, np.float32), num_frames=4)
  np.testing.assert_array_equal(drawn["frames"], drawings.frames)
  np.testing.assert_array_equal(drawn["images"], drawings.images)


def test_a_drawing_is_recorded(main, run_dir, tmp_path):
  outcome = main("--mode=sample", f"--run_dir={run_dir}", "--classes=3,7", "--num_images=4",
                 f"--out={tmp_path / 'x.png'}",
                 f"--record_drawing={tmp_path / 'x.gif'}", "--num_steps=20")
  assert outcome.code == 0, outcome.stderr
  np.testing.assert_array_equal(_gif_frames(tmp_path / "x.gif")[-1], np.asarray(PIL.Image.open(tmp_path / "x.png")))


def test_whole_image_steps_of_the_same_run(main, run_dir, tmp_path):
  """Their figures stand apart from the run's own."""
  shutil.copytree(run_dir, tmp_path / "run")
  outcome = main("--mode=evaluate", "--drawing=whole", f"--run_dir={tmp_path / 'run'}")
  assert outcome.code == 0, outcome.stderr
  apart = outcome.stdout.splitlines()[-1].removeprefix("run folder: ")
  whole, strokes = (tiny_run.summary(folder) for folder in (os.path.join(main.folder, apart), run_dir))
  assert whole["drawn_with"] == {"drawing": "whole"} and tiny_run.summary(tmp_path / "run") == strokes
  assert whole["drawing"] == "whole" and whole["test_accuracy"] == strokes["test_accuracy"]
  assert whole["fid"] != strokes["fid"]


def test_too_many_classes_mixed(classifier, monkeypatch):
  monkeypatch.setattr(classifier._drawer, "most_classes", 3)
  with pytest.raises(config_lib.ConfigError, match="at most 3 classes"):
    classifier.draw(np.full([1, 10], 0.1))


@pytest.mark.parametrize("flags, named, allowed", [
    (["--tile_grid=3"], "--tile_grid=3", "must divide the canvas of 8x8 pixels"),
    (["--tile_grid=0"], "--tile_grid=0", "at least 1"),
    (["--pool_capacity=9"], "--pool_capacity=9", "must be at least 10"),
    (["--drawing=tiles"], "--drawing=tiles", "must be one of auto, whole, strokes"),
    (["--model=stic", "--drawing=strokes"], "--drawing=strokes",
     "is not read by --model=stic; --model=attentive and score read it"),
    (["--sweep_every=-1"], "--sweep_every=-1", "at least 0"),
    (["--gram_rank=-1"], "--gram_rank=-1", "at least 0"),
])
def test_bad_input(train, tmp_path, flags, named, allowed):
  line = train(tmp_path / "run", *FLAGS, *flags).error()
  assert named in line and allowed in line
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flags, named", [(["--record_drawing=x.png"], "--record_drawing=x.png: must end in .gif"),
                                          (["--record_drawing=x.gif", "--num_images=2000"], "--num_images=2000")])
def test_a_recording_that_cannot_be(main, run_dir, tmp_path, flags, named):
  line = main("--mode=sample", f"--run_dir={run_dir}", f"--out={tmp_path / 'x.png'}", *flags).error()
  assert named in line and not list(tmp_path.iterdir())
