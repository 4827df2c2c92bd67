"""benchmarks/robustness.py against a linear classifier, whose nearest other class is known."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import robustness
from stic_tf.config import ConfigError
from tests.systems import command

_SHAPE = (3, 3, 1)
_NORMAL = np.random.default_rng(0).normal(size=9).astype(np.float32)


def _plane(images):
  """Class 1 where the pixels, in [-1, 1], lie on the positive side of a plane through grey."""
  side = tf.reshape(images, [-1, 9]) @ tf.constant(_NORMAL[:, np.newaxis])
  return tf.concat([-side, side], axis=1)


@pytest.fixture(scope="module")
def model():
  system = types.SimpleNamespace(logits=_plane)
  return robustness.attacked_model(types.SimpleNamespace(system=system, image_shape=_SHAPE))


def _images_and_distances(order):
  """Images near grey, their class, and how far the plane is from each by the norm that `order` is the dual of."""
  images = np.random.default_rng(1).uniform(0.4, 0.6, [40, *_SHAPE]).astype(np.float32)
  side = (2 * images.reshape(-1, 9) - 1) @ _NORMAL
  return images, (side > 0).astype(np.int64), np.abs(side) / 2 / np.linalg.norm(_NORMAL, order)


@pytest.mark.parametrize("norm, order", [("linf", 1), ("l2", 2)])
def test_descent_finds_the_plane_where_it_is(norm, order, model):
  """Within 5 % of the distance: those further away survive, those nearer do not."""
  images, labels, distances = _images_and_distances(order)
  epsilons = np.quantile(distances, [0.3, 0.7])
  kept = robustness.survivors(model, robustness.attacks(norm, 40, 10)["PGD"], images, labels, epsilons)
  for epsilon, survived in zip(epsilons, kept):
    clear = np.abs(distances / epsilon - 1) > 0.05
    np.testing.assert_array_equal(survived[clear], (distances > epsilon)[clear])


def test_a_classifier_that_is_very_sure_hides_nothing():
  """Logits a thousand times as far apart have no gradient of the cross-entropy left, and the same plane."""
  sure = robustness.attacked_model(types.SimpleNamespace(image_shape=_SHAPE, system=types.SimpleNamespace(
      logits=lambda images: 1000.0 * _plane(images))))
  images, labels, distances = _images_and_distances(2)
  epsilon = float(np.median(distances))
  kept = robustness.survivors(sure, robustness.attacks("l2", 40, 10)["PGD"], images, labels, [epsilon])[0]
  clear = np.abs(distances / epsilon - 1) > 0.05
  np.testing.assert_array_equal(kept[clear], (distances > epsilon)[clear])


def test_the_boundary_attack_needs_no_gradient_and_never_comes_nearer_than_the_plane(model):
  images, labels, distances = _images_and_distances(2)
  epsilons = 0.99 * distances.min(), 10.0
  kept = robustness.survivors(model, robustness.attacks("l2", 1, 100)["boundary"], images, labels, epsilons)
  assert kept[0].all() and not kept[1].any()


def test_arms_are_compared_by_seed():
  def run(share):
    return {"PGD": {"images": 10, "accuracy": {"0.1": [share, 0.0, 1.0]}}}

  found = {f"runs/{arm}/seed{seed}": run(0.5 + 0.1 * seed + lead) for arm, lead in (("A", 0.0), ("F", 0.05))
           for seed in range(3)}
  arms, (claim,), seeds = robustness.compared(found, "A")
  assert claim["difference"]["mean"] == pytest.approx(0.05) and claim["verdict"] == "holds"
  assert arms["A"] == {"accuracy, PGD, ε 0.1": pytest.approx([0.5, 0.6, 0.7])} and seeds == ["seed0", "seed1", "seed2"]
  with pytest.raises(ConfigError, match="against=B: must be of A, F"):
    robustness.compared(found, "B")
  with pytest.raises(ConfigError, match="at least 2"):
    robustness.compared({name: found[name] for name in ("runs/A/seed0", "runs/F/seed0")}, "A")
  with pytest.raises(ConfigError, match="run_dir=other/A/seed0: is a second one of its name"):
    robustness.compared({**found, "other/A/seed0": run(0.5)}, "A")


def test_arms_of_several_commits_are_not_compared(tmp_path, monkeypatch):
  folders = [tmp_path / arm / "seed0" for arm in ("A", "B")]
  for folder, commit in zip(folders, ("abc", "def")):
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"git_commit": commit}))
  assert robustness.commit_of(map(str, folders[:1])) == "abc"
  monkeypatch.setattr(robustness, "attack_run", lambda *args: pytest.fail("attacked"))
  line = command.refusal(monkeypatch, robustness, *(f"--run_dir={folder}" for folder in folders), "--against=A",
                         f"--out={tmp_path / 'out.json'}")
  assert line.startswith("error: --against=abc, def: are the runs' commits") and "\n" not in line
