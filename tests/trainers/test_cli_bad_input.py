"""Bad input: one line on stderr that names the flag and what is allowed, exit code 2, nothing written."""

import json
import os
import pathlib
import shutil
import time

import numpy as np
import pytest

from tests import tiny_run


def _checkpoints(run_dir):
  return sorted(path.name for path in pathlib.Path(run_dir, "checkpoints").iterdir())


def _out(mode, folder):
  """The flag that a mode which draws needs, and which others refuse."""
  return [f"--out={folder / 'x.npz'}"] * (mode == "sample")


def _truncate(path):
  os.truncate(path, os.path.getsize(path) // 2)


@pytest.mark.parametrize("flag, allowed", [
    ("--dataset=digit", "must be one of digits, mnist"),
    ("--mode=draw", "must be one of train, evaluate, sample"),
    ("--model=jem", "must be one of stic"),
    ("--loss=hinge", "must be one of contrastive, logistic"),
    ("--step_size=0", "above 0"),
    ("--step_size=-0.1", "above 0"),
    ("--step_size=nan", "above 0"),
    ("--step_size=inf", "above 0"),
    ("--temperature=0", "above 0"),
    ("--temperature=-1", "above 0"),
    ("--temperature=nan", "above 0"),
    ("--num_passes=0", "at least 1"),
    ("--num_steps=0", "at least 1"),
    ("--batch_size=0", "at least 1"),
    ("--soft_fraction=1.5", "[0, 1]"),
    ("--depth=11", "6n + 4"),
    ("--seed=-1", "[0, 2^31)"),
    ("--num_samples=5", "at least 20"),
    ("--pass_samples=5", "--pass_samples=5: must be at least 20, or 0"),
    ("--profile_steps=6,3", "two rising numbers"),
    ("--profile_steps=0,3", "from 1 on"),
    ("--num_replicas=-1", "at least 0"),
    ("--sigma_max=0.01", "the schedule must decrease"),
    ("--guidance=nan", "at least -1"),
    ("--weight_decay=1000", "below 1 / --learning_rate"),
    ("--rho=-7", "above 0"),
    # absl's own words from here on.
    ("--num_passes=ten", "invalid literal for int()"),
    ("--step_size=small", "could not convert string to float"),
])
def test_a_value_out_of_range(train, tmp_path, flag, allowed):
  line = train(tmp_path / "run", flag).error()
  assert flag.split("=")[0] in line and flag.split("=")[1] in line and allowed in line
  assert not (tmp_path / "run").exists()


def test_digits_are_not_to_be_mirrored(train, tmp_path):
  line = train(tmp_path / "run", "--model=score", "--mirrored_answer").error()
  assert "--mirrored_answer=True: must be off with --dataset=digits, where a mirror image shows another thing" in line


def test_a_forgotten_mode_does_not_train(train, tmp_path):
  line = train(tmp_path / "run", "--classes=3", f"--out={tmp_path / 'd.png'}").error()
  assert "--classes=3: is of --mode=sample, and this is --mode=train" in line


def test_fakes_that_a_system_has_not_are_refused_before_a_judge_is_trained(train, tmp_path):
  line = train(tmp_path / "run", "--model=score", "--fakes_from=current", f"--cache_dir={tmp_path / 'judges'}").error()
  assert "--fakes_from=current: must be previous_pass or none" in line and not list(tmp_path.iterdir())


def test_the_batch_must_split_over_the_replicas(train, tmp_path):
  line = train(tmp_path / "run", "--num_replicas=3").error()
  assert "--batch_size=16" in line and "multiple of --num_replicas=3" in line
  assert not (tmp_path / "run").exists()


def test_an_unknown_flag(train, tmp_path):
  assert "tempreature" in train(tmp_path / "run", "--tempreature=1").error()
  assert not (tmp_path / "run").exists()


def test_an_unexpected_argument(train, tmp_path):
  line = train(tmp_path / "run", "digits").error()
  assert "unexpected argument 'digits'" in line and "--flag" in line
  assert not (tmp_path / "run").exists()


def test_a_flagfile_that_is_not_there(train, tmp_path):
  assert "absent.flags" in train(tmp_path / "run", "--flagfile=absent.flags").error()
  assert not (tmp_path / "run").exists()


def test_a_dataset_that_is_absent_and_unreachable(train, tmp_path):
  began = time.monotonic()
  line = train(tmp_path / "run", "--dataset=imagenet2012", "--pool_capacity=2000", "--network=small",
               f"--data_dir={tmp_path / 'data'}").error()
  # The limit is the promise itself (plain TFDS takes minutes), not a measurement.
  assert time.monotonic() - began < 20
  assert "imagenet2012" in line and f"--data_dir={tmp_path / 'data'}" in line and "run again" in line
  assert not (tmp_path / "run").exists() and not (tmp_path / "data").exists()


def test_inception_weights_that_are_not(train, tmp_path):
  (tmp_path / "weights.h5").write_text("no HDF5")
  line = train(tmp_path / "run", f"--inception_weights={tmp_path / 'weights.h5'}").error()
  assert f"--inception_weights={tmp_path / 'weights.h5'}" in line
  assert not (tmp_path / "run").exists()


def test_a_folder_made_with_other_settings(train, trained_run):
  before = sorted(os.listdir(trained_run))
  line = train(trained_run, "--temperature=2", "--noaugment").error()
  assert "--temperature was 1.0, now 2.0" in line and "--augment was True, now False" in line
  assert "--batch_size" not in line
  assert sorted(os.listdir(trained_run)) == before


def test_a_folder_that_is_not_of_a_run(train, tmp_path):
  (tmp_path / "letter.txt").write_text("mine")
  line = train(tmp_path).error()
  assert f"--run_dir={tmp_path}" in line and "must be an empty folder" in line
  assert os.listdir(tmp_path) == ["letter.txt"]


def test_a_run_dir_that_is_a_file(train, tmp_path):
  (tmp_path / "run").write_text("mine")
  assert "must be an empty folder" in train(tmp_path / "run").error()
  assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize("flags, named, allowed", [
    (["--classes=3,12"], "--classes=12", "0..9"),
    (["--classes=three"], "--classes=three", "0..9"),
    (["--classes=3,"], "--classes=", "0..9"),
    (["--classes=²"], "--classes=²", "0..9"),
    (["--class_weights=0:0.5,8:0.6"], "--class_weights=0:0.5,8:0.6", "sum to 1"),
    (["--class_weights=0:1.5,8:-0.5"], "--class_weights", "non-negative"),
    (["--class_weights=0:nan,8:0.5"], "--class_weights", "non-negative and sum to 1"),
    (["--class_weights=0:0.5;8:0.5"], "--class_weights", "class:weight"),
    (["--class_weights=0,8"], "--class_weights", "class:weight"),
    (["--class_weights=0:0.5,10:0.5"], "--class_weights", "0..9"),
    (["--class_weights=0:0.5,0:0.5"], "--class_weights", "twice"),
    (["--class_weights=0:1", "--classes=3"], "--class_weights", "together with --classes"),
    (["--num_images=0"], "--num_images=0", "1.."),
    (["--temperature=0"], "--temperature=0.0", "above 0"),
    (["--out=drawings.jpg"], "--out=drawings.jpg", ".png or .npz"),
    (["--out="], "--out=", ".png or .npz"),
])
def test_a_drawing_that_cannot_be(main, trained_run, tmp_path, flags, named, allowed):
  line = main("--mode=sample", f"--run_dir={trained_run}", f"--out={tmp_path / 'deep' / 'x.npz'}", *flags).error()
  assert named in line and allowed in line
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["sample", "evaluate"])
@pytest.mark.parametrize("run_dir", ["", "absent"])
def test_a_run_that_is_not_there(main, tmp_path, mode, run_dir):
  run_dir = run_dir and str(tmp_path / run_dir)
  line = main(f"--mode={mode}", f"--run_dir={run_dir}", *_out(mode, tmp_path)).error()
  assert f"--run_dir={run_dir}: must" in line
  assert not list(tmp_path.iterdir())


def test_evaluating_with_another_dataset(main, trained_run):
  before = tiny_run.summary(trained_run)
  line = main("--mode=evaluate", f"--run_dir={trained_run}", "--dataset=mnist").error()
  assert "--dataset=mnist: must be digits" in line
  assert tiny_run.summary(trained_run) == before


_IS_NO_RUN = "must be the folder of a run"  # which is found out once the flags are right


@pytest.mark.parametrize("mode, settings, flag, answer", [
    ("sample", {"sigma_max": 80.0}, "--guidance_to=50", _IS_NO_RUN),
    ("sample", {}, "--guidance_to=50", "must lie within the noise levels [0.02, 20]"),
    ("evaluate", {"sigma_min": 0.001}, "--sigma_max=0.01", _IS_NO_RUN),
    ("evaluate", {"sigma_min": 0.02}, "--sigma_max=0.01", "the schedule must decrease"),
    ("sample", {"corrector_steps": 3}, "--predictor=none", _IS_NO_RUN),
    ("sample", {}, "--predictor=none", "must be at least 1 with --predictor=none"),
    ("sample", {"predictor": "none", "corrector_steps": 3}, "--corrector_steps=0",
     "--corrector_steps=0: must be at least 1 with --predictor=none"),
    ("evaluate", {"model": "attentive", "drawing": "strokes"}, "--sampler=unadjusted",
     "--drawing=strokes: goes with --sampler=grmala")])
def test_a_flag_is_right_or_wrong_beside_what_the_run_was_made_with(main, tmp_path, mode, settings, flag, answer):
  command = (f"--mode={mode}", f"--run_dir={tmp_path}", flag, *_out(mode, tmp_path))
  assert _IS_NO_RUN in main(*command).error()  # the weights alone could tell
  (tmp_path / "settings.json").write_text(json.dumps({"model": "score", **settings}))
  assert answer in main(*command).error()
  assert os.listdir(tmp_path) == ["settings.json"]


@pytest.mark.parametrize("text, answer", [('{"sigma_max": "wide"}', "its settings.json is damaged"), ("5", _IS_NO_RUN)])
def test_settings_of_a_run_that_are_none(main, tmp_path, text, answer):
  (tmp_path / "settings.json").write_text(text)
  assert answer in main("--mode=evaluate", f"--run_dir={tmp_path}").error()


def test_settings_beside_the_command_are_of_no_run(main, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "settings.json").write_text('{"model": "score", "sigma_max": 0.5}')
  assert "--run_dir=: must" in main("--mode=sample", "--sigma_min=1", "--out=x.npz").error()


def test_a_truncated_checkpoint_falls_back_to_the_one_before(train, main, trained_run, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(trained_run, run)
  newest = run / "checkpoints" / f"pass_{tiny_run.NUM_PASSES:04d}.npz"
  _truncate(newest)
  flags = ["--mode=sample", "--num_images=2", f"--out={tmp_path / 'x.npz'}"]
  drawn = main(f"--run_dir={run}", *flags)
  assert drawn.code == 0 and f"{newest} is truncated or damaged" in drawn.stderr and "falling back" in drawn.stderr
  assert newest.name.replace("2", "1") in drawn.stderr
  # Training goes on from there, and ends where it would have ended.
  trained = train(run)
  assert trained.code == 0, trained.stderr
  assert f"{newest} is truncated or damaged" in trained.stderr
  tiny_run.assert_same_run(run, trained_run)


def test_without_a_readable_checkpoint_there_is_nothing_to_draw(main, trained_run, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(trained_run, run)
  for name in _checkpoints(run):
    _truncate(run / "checkpoints" / name)
  line = main("--mode=sample", f"--run_dir={run}", f"--out={tmp_path / 'x.npz'}").error()
  assert f"--run_dir={run}" in line and all(name in line for name in _checkpoints(run))
  assert not (tmp_path / "x.npz").exists()


def test_a_full_disk_leaves_the_previous_checkpoint(train, trained_run, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(trained_run, run)
  # As if the run had been stopped after pass 1; its next checkpoint, with a fuller pool, does not fit.
  (run / "checkpoints" / "pass_0002.npz").unlink()
  previous = run / "checkpoints" / "pass_0001.npz"
  stored = previous.read_bytes()
  failed = train(run, largest_file=len(stored) - 1)
  assert failed.code == 2 and "Traceback" not in failed.stderr
  assert failed.stderr.splitlines()[-1].startswith("error: --run_dir: the disk is full")
  assert failed.stderr.count("error:") == 1 and "pass_0002.npz was not written" in failed.stderr
  assert _checkpoints(run) == ["pass_0001.npz"] and previous.read_bytes() == stored
  assert not list(run.rglob("*.tmp"))


@pytest.mark.parametrize("mode, flag", [("train", "run_dir"), ("sample", "out")])
def test_a_path_through_a_file(main, trained_run, tmp_path, mode, flag):
  (tmp_path / "file").write_text("mine")
  path = tmp_path / "file" / "x.npz"
  flags = [f"--run_dir={trained_run}", f"--out={path}", "--num_images=2"] if mode == "sample" else [
      *tiny_run.flags(), f"--run_dir={path}"]
  line = main(f"--mode={mode}", *flags).error()
  assert f"--{flag}" in line and "cannot be written" in line and str(tmp_path / "file") in line
  assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_while_drawing(main, trained_run, tmp_path):
  line = main("--mode=sample", f"--run_dir={trained_run}", "--num_images=20", f"--out={tmp_path / 'x.npz'}",
              largest_file=500).error()
  assert "--out: the disk is full" in line
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flags, line", [
    (["--depth=16"], "--depth=16: is not read by --network=small; --network=wide_resnet reads it"),
    (["--correction=1"], "--correction=1.0: is not read by --model=stic; --model=score reads it"),
    (["--model=score", "--noise_start=0.4"],
     "--noise_start=0.4: is not read by --model=score; --model=stic and attentive read it"),
    (["--jit"], "--jit=True: needs a GPU"),
    (["--updates_per_call=0"], "--updates_per_call=0: must be at least 1"),
    (["--checkpoint_minutes=-1"], "--checkpoint_minutes=-1.0: must be at least 0"),
    (["--cutout=1"], "--cutout=1.0: must lie in [0, 1)"),
    (["--cutout=0.25", "--noaugment"], "--cutout=0.25: needs --augment"),
    (["--cutmix=1.5"], "--cutmix=1.5: must lie in [0, 1]"),
])
def test_a_setting_that_nothing_reads(train, tmp_path, flags, line):
  assert line in train(tmp_path / "run", *flags).error()
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mode", ["train", "sample", "evaluate"])
def test_a_checkpoint_of_another_format(train, main, trained_run, tmp_path, mode):
  """The run folder of an earlier version is not trained over, and what it is is said."""
  run = tmp_path / "run"
  shutil.copytree(trained_run, run)
  newest = run / "checkpoints" / "pass_0002.npz"
  with np.load(newest) as arrays:
    entries = dict(arrays)
  description = json.loads(str(entries.pop("description")))
  del description["format"]
  np.savez(newest, description=np.array(json.dumps(description)), **entries)
  before = newest.read_bytes()
  if mode == "train":
    line = train(run).error()
  else:
    line = main(f"--mode={mode}", f"--run_dir={run}", *_out(mode, tmp_path)).error()
  assert f"{newest} has checkpoint format 1, and this version reads format 2" in line and "train again" in line
  assert newest.read_bytes() == before and not (tmp_path / "x.npz").exists()


def test_a_file_that_is_no_checkpoint(main, trained_run, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(trained_run, run)
  np.savez(run / "checkpoints" / "pass_0003.npz", weights=np.zeros(3))
  line = main("--mode=evaluate", f"--run_dir={run}").error()
  assert "pass_0003.npz is no checkpoint of this project" in line
