"""benchmarks/outliers.py: what counts as outside, and areas under curves where they are known."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import outliers
from tests.systems import command


def _images(count=60, seed=0):
  """Stripes of three classes with little noise."""
  rng = np.random.default_rng(seed)
  labels = np.arange(count) % 3
  images = np.full([count, 6, 6, 1], 60) + rng.integers(0, 20, [count, 6, 6, 1])
  images[np.arange(count), 2 * labels] += 150
  return images.astype(np.uint8), labels


@pytest.fixture(autouse=True)
def threads(monkeypatch):
  """This process has run TensorFlow already, and is to know no further systems."""
  monkeypatch.setattr(outliers, "register_systems", lambda: None)
  monkeypatch.setattr(outliers.measure, "pin_threads", lambda threads: None)


class _Classifier:
  """Its density is the brightness of the second row, its confidence is that of a coin, its energy says nothing."""

  image_shape = (6, 6, 1)

  def log_density(self, images):
    return images[:, 1].mean(axis=(1, 2)).astype(np.float32)

  def classify(self, images):
    return np.random.default_rng(len(images)).dirichlet([1, 1, 1], len(images))

  def classify_tensors(self, images):
    return {"energy": tf.zeros([tf.shape(images)[0]])}


def test_outsiders_are_others_and_of_the_shape_of_the_images():
  images, labels = _images()
  colour = np.random.default_rng(1).integers(0, 256, [90, 12, 12, 3]).astype(np.uint8)
  small = np.random.default_rng(1).integers(0, 256, [90, 3, 3, 1]).astype(np.uint8)
  kinds = outliers.outsiders(images, labels, {"colour": colour, "small": small})
  assert set(kinds) == {"shuffled", "spliced", "inverted", "grey", "noise", "colour", "small"}
  for other in kinds.values():
    assert other.shape == images.shape and other.dtype == np.uint8 and (other != images).any(axis=(1, 2, 3)).all()
  assert len(np.unique(kinds["grey"])) > 20 and (kinds["grey"].std(axis=(1, 2, 3)) == 0).all()
  assert outliers.resized(small, (6, 6, 3)).shape == (90, 6, 6, 3)


def test_areas_are_those_of_the_scores_and_leads_are_paired():
  images, _ = _images()
  scores = outliers.Scores(_Classifier(), images)
  darker = images - np.uint8(60) * (np.arange(6) == 1)[np.newaxis, :, np.newaxis, np.newaxis]
  found = outliers.compare(scores(images), scores(darker.astype(np.uint8)))
  assert found["areas"]["density"]["auroc"] == 1.0 and found["areas"]["density"]["interval"] == [1.0, 1.0]
  assert found["areas"]["logits"]["auroc"] == 0.5  # ties count half
  low, high = found["areas"]["confidence"]["interval"]
  assert low < 0.5 < high and high - low < 0.4
  assert found["areas"]["gaussian"]["auroc"] > 0.95
  assert found["lead"]["logits"] == {"difference": 0.5, "interval": [0.5, 0.5]}
  # Negative control: of images of the same kind no score tells anything.
  same = outliers.compare(scores(images), scores(_images(seed=1)[0]))
  assert all(one["interval"][0] < 0.5 < one["interval"][1] for name, one in same["areas"].items()
             if name in ("density", "confidence"))


def test_a_run_is_measured(tmp_path, monkeypatch, capsys):
  images, labels = _images()
  dataset = types.SimpleNamespace(sizes={"test": 60, "train": 60}, arrays=lambda split, limit: (images[:limit],
                                                                                                labels[:limit]))
  asked = []
  dataset.learnt = lambda count, seed: asked.append((count, seed)) or dataset
  (tmp_path / "settings.json").write_text(json.dumps({"dataset": "mnist", "seed": 4, "train_images": 30}))
  monkeypatch.setattr(outliers.loading, "load", lambda run_dir: _Classifier())
  monkeypatch.setattr(outliers.dataset_lib, "load", lambda name, data_dir: dataset)
  out = tmp_path / "out.json"
  command.run(monkeypatch, outliers, f"--run_dir={tmp_path}", f"--out={out}", "--images=40")
  kinds = json.loads(out.read_text())["runs"][str(tmp_path)]
  assert set(kinds) == {"shuffled", "spliced", "inverted", "grey", "noise", "digits"}
  assert set(kinds["noise"]["areas"]) == {"density", *outliers.BASELINES}
  assert asked == [(30, 4)]  # the Gaussian knows no more images than the run
  assert "inverted: density" in capsys.readouterr().out


@pytest.mark.parametrize("flags, said", [
    (["--images=3"], "--images=3: must be at least 20"), (["--others=cats"], "--others=cats: must be of "),
    ([], "is neither a folder nor a model of the zoo")])
def test_bad_input_is_one_line(flags, said, tmp_path, monkeypatch):
  line = command.refusal(monkeypatch, outliers, "--run_dir=no_such", f"--out={tmp_path / 'out.json'}", *flags)
  assert line.startswith("error: ") and said in line and "\n" not in line


def test_densities_are_compared_over_runs():
  def run(lead):
    areas = {name: {"auroc": 0.7 + lead * (name == "density")} for name in ("density", *outliers.BASELINES)}
    return {"spliced": {"areas": areas}}

  arms, claims = outliers.tabled({"one": run(0.1), "two": run(0.12)})
  assert arms["density"] == {"AUROC, spliced": pytest.approx([0.8, 0.82])} and len(claims) == 3
  assert all(claim["difference"]["mean"] == pytest.approx(0.11) for claim in claims)
