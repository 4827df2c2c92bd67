"""The zoo: a run is published as weights, card and checksums; a model is found by name; what is wrong is one line."""

import copy
import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from absl import flags

import stic_tf
from stic_tf import checkpoint
from stic_tf import zoo
from trainers import evaluate
from trainers import publish


def _publish(run_dir, zoo_dir, judge_cache, *others):
  values = copy.deepcopy(flags.FLAGS)
  values(["publish.py", f"--run_dir={run_dir}", f"--zoo_dir={zoo_dir}", f"--cache_dir={judge_cache}",
          "--about=Made by a test.", *others])
  return publish.publish(values)


@pytest.fixture(scope="module")
def published(trained_run, judge_cache, tmp_path_factory):
  folder = tmp_path_factory.mktemp("zoo") / "tiny"
  assert _publish(trained_run, folder, judge_cache, "--num_steps=5", "--step_size=0.9",
                  "--num_samples=30") == str(folder)
  return folder


@pytest.fixture
def home(published, tmp_path, monkeypatch):
  """A zoo of one copy, which may be damaged."""
  shutil.copytree(published, tmp_path / "tiny")
  monkeypatch.setattr(zoo, "_HOME", tmp_path)
  return tmp_path


def test_it_is_the_weights_that_draw_a_card_and_hashes(published, trained_run):
  names = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
  assert names == {"checkpoints/pass_0002.npz", "settings.json", "flags.txt", "summary.json", "card.md", "SHA256SUMS",
                   "interpolation.png", "samples/final.png"}
  with np.load(published / "checkpoints/pass_0002.npz") as arrays:
    groups = {name.split("/")[0] for name in arrays.files}
    assert {"average", "preconditioner", "scalars"} <= groups and not {"network", "optimizer", "chains"} & groups
    assert arrays["average/stem/kernel"].dtype == np.float16
  assert stic_tf.load(str(published)).step_size == pytest.approx(0.9)
  card = (published / "card.md").read_text()
  assert card.startswith("# tiny\n\nMade by a test.") and "Alpaydin" in card and "test accuracy" in card
  assert "30 fresh drawings" in card and json.loads((published / "settings.json").read_text())["num_samples"] == 30
  assert not list(published.parent.glob(".publish-*"))
  subprocess.run(["sha256sum", "--check", "--quiet", zoo.SUMS], cwd=published, check=True)


@pytest.mark.parametrize("floor", [0.0, 1e-9])
def test_the_card_has_a_dash_for_a_figure_that_there_is_not(published, trained_run, judge_cache, tmp_path, monkeypatch,
                                                            floor):
  """As of one class, of a judge of other classes, and of real images that are one set, be it within rounding."""
  figures = json.loads((published / "summary.json").read_text())
  rows = "| FID | {} × the floor (real|| CAS | {}; the judge reads the class asked for in {} of the drawings |"
  shares = [f"{figures[name]:.4f}" for name in ("cas", "judge_agreement")]
  known = rows.format(f"{figures['fid'] / figures['fid_floor']:.2f}", *shares).split("||")
  card = (published / "card.md").read_text()
  assert known[0] in card and known[1] in card
  monkeypatch.setattr(evaluate, "finish", lambda *arguments, **noted: {
      **figures, **noted, "fid_floor": floor, "cas": None, "judge_agreement": None})
  _publish(trained_run, tmp_path / "tiny", judge_cache)
  card = (tmp_path / "tiny" / "card.md").read_text()
  unknown = rows.format("–", "–", "–").split("||")
  assert unknown[0] in card and unknown[1] in card


def test_it_answers_and_draws_as_the_run_does(published, trained_run):
  run, model = stic_tf.load(trained_run), stic_tf.load(str(published))
  images = run.draw([3, 7] * 8, seeds=1).images
  np.testing.assert_allclose(model.classify(images), run.classify(images), atol=5e-3)
  assert model.config.sampler.num_steps == 5  # as the flags of publish.py say
  moments = {name: value.numpy() for name, value in model.system.drawing_variables().items()
             if name.startswith("preconditioner/")}
  own = run.system.drawing_variables()
  assert moments and all(np.array_equal(value, own[name].numpy()) for name, value in moments.items())


def test_a_model_is_found_by_name(home, main):
  assert zoo.names() == ["tiny"]
  assert zoo.find("tiny") == zoo.find("zoo/tiny") == str(home / "tiny")
  assert zoo.find(str(home / "tiny")) == str(home / "tiny") and zoo.find("runs/own") == "runs/own"
  out = home / "drawn.npz"
  outcome = main("--mode=sample", f"--run_dir={home / 'tiny'}", f"--out={out}", "--classes=3", "--num_images=2")
  assert outcome.code == 0, outcome.stderr
  with np.load(out) as arrays:
    np.testing.assert_array_equal(arrays["images"], stic_tf.load("tiny").draw([3, 3], seeds=0).images)


@pytest.mark.parametrize("name", ["tinny", "zoo/tinny"])
def test_a_name_that_is_not_there_lists_those_that_are(home, name):
  with pytest.raises(stic_tf.ConfigError, match=f"run_dir={name}: is neither a folder nor a model .* which has tiny"):
    stic_tf.load(name)


@pytest.mark.parametrize("name", ["checkpoints/pass_0002.npz", "settings.json"])
def test_a_damaged_file_is_named(home, name):
  path = home / "tiny" / name
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  with pytest.raises(stic_tf.ConfigError, match=f"{name} is damaged"):
    stic_tf.load("tiny")
  path.unlink()
  with pytest.raises(stic_tf.ConfigError, match=f"{name} is missing"):
    stic_tf.load("tiny")


def test_nothing_is_left_of_a_model_that_is_too_large(trained_run, judge_cache, tmp_path, monkeypatch):
  monkeypatch.setattr(publish, "MOST_BYTES", 1000)
  with pytest.raises(stic_tf.ConfigError, match="at most 1000"):
    _publish(trained_run, tmp_path / "tiny", judge_cache)
  assert not list(tmp_path.iterdir())
  (tmp_path / "tiny").mkdir()
  with pytest.raises(stic_tf.ConfigError, match="is there already"):
    _publish(trained_run, tmp_path / "tiny", judge_cache)


def test_the_models_that_are_kept_are_whole():
  """Those of this checkout: found by name, with a checksum of each file."""
  cards = sorted((pathlib.Path(__file__).resolve().parents[2] / "zoo").glob("*/card.md"))
  assert [card.parent.name for card in cards] == sorted(zoo.names()) != []
  for card in cards:
    zoo.check_sums(str(card.parent))
    named = {line.split(maxsplit=1)[1].lstrip("*") for line in
             (card.parent / "SHA256SUMS").read_text("utf-8").splitlines()}
    there = {str(path.relative_to(card.parent)) for path in card.parent.rglob("*") if path.is_file()}
    assert there - named == {"SHA256SUMS"} and named <= there
    assert sum(path.stat().st_size for path in card.parent.rglob("*")) < publish.MOST_BYTES + 500_000


@pytest.mark.parametrize("flag, message", [
    ("--sampler=unadjusted", "sampler=unadjusted: is not what the run was trained with"),
    ("--seed=1", "seed=1: is not read: figures are the run's own"),
    ("--inception_weights=weights.h5", "inception_weights=weights.h5: is not read: figures are the run's own"),
])
def test_a_flag_that_would_make_it_another_run_is_refused(trained_run, tmp_path, judge_cache, flag, message):
  with pytest.raises(stic_tf.ConfigError, match=message):
    _publish(trained_run, tmp_path / "other", judge_cache, flag)
  assert not (tmp_path / "other").exists()


def test_it_is_not_trained_on(published, train):
  assert "is a model of the zoo, weights alone" in train(published).error()


def test_a_training_begins_with_its_weights(published, train, tmp_path):
  run = tmp_path / "run"
  first = run / "checkpoints" / "pass_0000.npz"
  outcome = train(run, f"--init_from={published}", kill_when=first.exists)
  assert outcome.code == -9 and f"begins with the weights of {published}" in outcome.stdout
  model, _ = checkpoint.read(str(published / "checkpoints" / "pass_0002.npz"))
  begun, description = checkpoint.read(str(first))
  learnt = [name for name in model if name.startswith("average/")]
  assert learnt and all(np.array_equal(begun[name], model[name]) for name in learnt)
  assert all(np.array_equal(begun[name.replace("average/", "network/")], model[name]) for name in learnt)
  moments = [array for name, array in begun.items() if name.startswith("optimizer/") and array.ndim > 1]
  assert moments and not any(array.any() for array in moments)
  # Its clock goes on from theirs; its updates do not.
  summary = json.loads((published / "summary.json").read_text())
  assert description["seconds"] == summary["seconds_training"] > 0 and begun["scalars/updates_done"] == 0
  assert f"--init_from={published}" in (run / "flags.txt").read_text()


@pytest.mark.parametrize("flags, said", [
    (["--init_from=no_such"], "error: --init_from=no_such: is neither a folder nor a model of the zoo"),
    (["--init_from={}", "--width=16"], "error: --init_from={}: is of another network (checkpoint entry "),
    (["--init_from={}/samples"], "error: --init_from={}/samples: must be the folder of a run (no checkpoint in ")])
def test_weights_that_a_training_cannot_begin_with(published, train, tmp_path, flags, said):
  outcome = train(tmp_path / "run", *(flag.format(published) for flag in flags))
  assert outcome.error().startswith(said.format(published))
  assert not (tmp_path / "run").exists()
