"""benchmarks/robustness.py against a linear classifier, whose nearest other class is known."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import claims_page
from benchmarks import robustness
from tests.systems import command

_SHAPE = (3, 3, 1)
_NORMAL = np.random.default_rng(0).normal(size=9).astype(np.float32)


@pytest.fixture(autouse=True)
def no_further_systems(monkeypatch):
  monkeypatch.setattr(robustness, "register_systems", lambda: None)


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
  assert arms["A"] == {"accuracy, PGD, ε 0.1": pytest.approx([0.5, 0.6, 0.7])} and seeds == [0, 1, 2]


def _folders(tmp_path, *names, commits=("abc",)):
  for place, name in enumerate(names):
    (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / name / "summary.json").write_text(json.dumps({"git_commit": commits[place % len(commits)]}))
  return [str(tmp_path / name) for name in names]


ARMS = "A/seed0", "A/seed1", "B/seed0", "B/seed1"


@pytest.mark.parametrize("names, commits, against, said", [
    (ARMS, ("abc", "def"), "A", "holds runs of several commits, or of no clean one: abc, def"),
    (ARMS, ("abc-dirty",), "A", "or of no clean one: abc-dirty"),
    (ARMS, ("abc",), "C", "against=C: must be of several"),
    (ARMS[:2], ("abc",), "A", "against=A: must be of several"), (ARMS[:3], ("abc",), "A", "of the same seeds"),
    ((ARMS[0], ARMS[2]), ("abc",), "A", "two or more"), (ARMS + ("else/A/seed0",), ("abc",), "A", "is a second one"),
    (ARMS + ("A/other",), ("abc",), "A", "must end in ARM/seedN")])
def test_arms_that_cannot_be_compared_are_refused_before_they_are_attacked(tmp_path, names, commits, against, said,
                                                                          monkeypatch):
  folders = _folders(tmp_path, *names, commits=commits)
  monkeypatch.setattr(robustness, "attack_run", lambda *args: pytest.fail("attacked"))
  line = command.refusal(monkeypatch, robustness, *(f"--run_dir={folder}" for folder in folders),
                         f"--against={against}", f"--out={tmp_path / 'out.json'}")
  assert line.startswith("error: --") and said in line and "\n" not in line


def test_a_table_is_added_to_a_page(tmp_path, monkeypatch):
  folders, page = _folders(tmp_path, *ARMS), tmp_path / "claims.md"
  monkeypatch.setattr(robustness.measure, "pin_threads", lambda threads: None)
  monkeypatch.setattr(robustness, "attack_run", lambda folder, _: {
      "PGD": {"images": 10, "accuracy": {"0.1": [0.5 + 0.1 * int(folder[-1]) + 0.2 * ("B" in folder), 0.0, 1.0]}}})
  command.run(monkeypatch, robustness, *(f"--run_dir={folder}" for folder in folders), "--against=A",
              f"--out={tmp_path / 'out.json'}", f"--page={page}", "--name=E10")
  table = claims_page.held(page)["E10"]
  assert table["command"] == "benchmarks/robustness.py --against=A" and table["seeds"] == [0, 1]
  assert [claim["verdict"] for claim in table["claims"]] == ["holds"]
