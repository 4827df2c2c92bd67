"""benchmarks/claims.py: intervals, verdicts, what is refused, and the systems that only it has."""

import functools
import json
import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from benchmarks import claims
from benchmarks import claims_page
from benchmarks import claims_systems
from benchmarks import verdicts
from stic_tf import registries
from stic_tf.config import ConfigError
from stic_tf.networks import build
from tests.systems import command
from tests.systems import tiny


def _runs(folder, figure, commit="abc", seeds=5):
  """Summaries of all arms of E1_few: `figure` (arm, seed) -> its accuracy."""
  for arm in claims.EXPERIMENTS["E1_few"].arms:
    for seed in range(seeds):
      path = folder / "E1_few" / arm / f"seed{seed}"
      path.mkdir(parents=True, exist_ok=True)
      (path / "summary.json").write_text(json.dumps(
          {"test_accuracy": figure(arm, seed), "ece": 0.1, "fid": 2.0, "git_commit": commit}))


def test_an_interval_is_that_of_the_paired_test():
  rng = np.random.default_rng(0)
  common = rng.normal(size=6)  # of a seed, in both arms
  one, other = common + 0.3 + 0.1 * rng.normal(size=6), common + 0.1 * rng.normal(size=6)
  found, expected = verdicts.paired(one, other), stats.ttest_rel(one, other).confidence_interval(0.95)
  assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
  assert verdicts.verdict(found, 1) == "holds" and verdicts.verdict(found, -1).startswith("does not hold")
  assert found["high"] - found["low"] < 0.5 < 2 * common.std()  # unpaired it would not be seen


def test_a_difference_of_rounding_alone_is_none():
  found = verdicts.paired([0.3, 0.1, 0.2], [0.1, 0.2, 0.3])
  assert verdicts.verdict({**found, "mean": 1e-17}, 1) == verdicts.verdict(found, 1) == "undecided: no difference seen"


def test_intervals_cover_what_is_true_and_verdicts_are_wrong_as_often_as_they_say():
  """Of 2000 experiments without effect 5 % find one: within 4 standard errors, .0305 to .0695."""
  rng = np.random.default_rng(1)
  said = [verdicts.verdict(verdicts.paired(*rng.normal(size=(2, 5))), 1) for _ in range(2000)]
  assert abs(np.mean([not one.startswith("undecided") for one in said]) - 0.05) < 0.0195
  seen = [verdicts.verdict(verdicts.paired(2.0 + rng.normal(size=5), rng.normal(size=5)), 1) for _ in range(200)]
  assert np.mean([one == "holds" for one in seen]) > 0.5  # power against an effect of 1.4 deviations of a difference


def test_the_page_says_what_the_runs_say(tmp_path):
  lead = {"E": 0.05, "B": 0.02}
  _runs(tmp_path, lambda arm, seed: 0.8 + lead.get(arm, 0.0) + 0.001 * ((7 * seed + len(arm)) % 5))
  report = claims.judge("E1_few", range(5), str(tmp_path))
  verdicts = {claim["text"]: claim["verdict"] for claim in report["claims"]}
  assert verdicts["Noise on labelled images helps accuracy"] == "holds"
  assert verdicts["Current chains help accuracy, against drawings of the pass before"].startswith("does not hold")
  assert "undecided" in verdicts["Self-analysis on the pass before lowers the calibration error, against noise alone"]
  text = claims_page.text_of({"E1_few": report})
  assert "| Noise on labelled images helps accuracy | B − A | test_accuracy | +0.0200" in text and "Commit abc" in text


def test_some_arms_alone(tmp_path):
  _runs(tmp_path, lambda arm, seed: 0.8 + 0.01 * (arm == "F") + 0.001 * seed)
  report = claims.judge("E1_few", range(5), str(tmp_path), ["B", "F"])
  assert [claim["text"] for claim in report["claims"]] == [
      "Self-analysis on current chains helps accuracy, against noise alone"]
  assert set(report["arms"]) == {"B", "F"} and report["claims"][0]["difference"]["mean"] == pytest.approx(0.01)


def test_of_an_arm_with_a_run_that_gave_up_nothing_is_claimed(tmp_path):
  _runs(tmp_path, lambda arm, seed: 0.8 + 0.01 * (arm == "F") + 0.001 * seed)
  (tmp_path / "E1_few" / "F" / "seed3" / "summary.json").unlink()
  (tmp_path / "E1_few" / "F" / "seed3.log").write_text("error: training diverged 4 times, the last time in pass 2\n")
  (tmp_path / "E1_few" / "E" / "seed0" / "metrics.jsonl").write_text('{"attempt": 0}\n{"attempt": 2}\n')
  report = claims.judge("E1_few", range(5), str(tmp_path), ["B", "E", "F"])
  verdicts = {(claim["better"], claim["than"]): claim["verdict"] for claim in report["claims"]}
  assert verdicts["F", "B"] == verdicts["F", "E"] == "none: 1 runs diverged for good"
  assert verdicts["E", "B"].startswith("undecided")
  text = claims_page.text_of({"E1_few": report})
  assert " (0.8100 – 0.8140), 1 gave up |" in text and "| 2 |" in text


def test_a_run_without_a_figure_is_named(tmp_path):
  _runs(tmp_path, lambda arm, seed: float("nan") if (arm, seed) == ("E", 2) else 0.8)
  with pytest.raises(ConfigError, match="holds a run of E1_few's E without a finite test_accuracy"):
    claims.judge("E1_few", range(5), str(tmp_path), ["B", "E"])


def test_claims_are_of_arms_that_there_are():
  for name, experiment in claims.EXPERIMENTS.items():
    assert experiment.claims and experiment.claims_about([*experiment.arms]) == [*experiment.claims], name


def test_runs_are_trained_with_their_flags_side_by_side_and_a_checkout_that_moves_ends_it(tmp_path, monkeypatch):
  commands, commits = [], ["abc", "abc", "def"]

  def run(command, **settings):
    commands.append(command)
    folder = pathlib.Path(command[-1].partition("=")[2])
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text('{"test_accuracy": 0.5}')
    return types.SimpleNamespace(returncode=0)

  monkeypatch.setattr(claims.training_runs.subprocess, "run", run)
  monkeypatch.setattr(claims.provenance, "git_commit", lambda: commits.pop(0))
  arguments = types.SimpleNamespace(runs=str(tmp_path), flags=["--width=8"], commit="abc")
  train = functools.partial(claims.train, "E1_few", arguments=arguments)
  claims.training_runs.side_by_side(lambda run: train(*run), [("A", 0), ("B", 0)], 2)
  assert {command[-2] for command in commands} == {"--width=8"} and len(commands) == 2
  train("A", 0)  # is there
  with pytest.raises(ConfigError, match="several commits, or of no clean one: abc, def"):
    train("A", 1)
  arguments.flags = []
  with pytest.raises(ConfigError, match="holds a run of other flags"):
    train("A", 0)


def test_other_experiments_of_a_page_stay_as_they_were_written(tmp_path, monkeypatch):
  _runs(tmp_path, lambda arm, seed: 0.8 + 0.001 * seed)
  out = tmp_path / "claims.md"
  older = claims.judge("E1_few", range(5), str(tmp_path), ["B", "F"])
  older.update(command="trainers/main.py --flagfile=as_it_was", commit="older", versions={"tensorflow": "2"})
  (tmp_path / "claims.json").write_text(json.dumps({"experiments": {"E0": older, "E1_few": older}}))
  monkeypatch.setattr(claims, "train", lambda *args: None)
  command.run(monkeypatch, claims, f"--runs={tmp_path}", "--experiments=E1_few", f"--out={out}")
  text = out.read_text()
  assert text.index("## E0") < text.index("## E1_few") and text.count("--flagfile=as_it_was") == 1
  assert text.count("Commit older") == text.count("Commit abc") == 1
  assert list(json.loads((tmp_path / "claims.json").read_text())["experiments"]) == ["E0", "E1_few"]


@pytest.mark.parametrize("text", ["{", '{"experiments": {"E0": {"commit": "abc"}}}', "[]"])
def test_a_page_that_is_none_is_refused_before_anything_is_trained(tmp_path, text, monkeypatch):
  (tmp_path / "claims.json").write_text(text)
  monkeypatch.setattr(claims, "train", lambda *args: pytest.fail("trained"))
  line = command.refusal(monkeypatch, claims, f"--out={tmp_path / 'claims.md'}", f"--runs={tmp_path}")
  assert "is not what this command writes" in line and "\n" not in line


def test_runs_of_several_commits_are_not_mixed(tmp_path):
  _runs(tmp_path, lambda arm, seed: 0.8)
  path = tmp_path / "E1_few" / "E" / "seed3" / "summary.json"
  path.write_text(path.read_text().replace("abc", "def"))
  with pytest.raises(ConfigError, match="E1_few: holds runs of several commits, or of no clean one: abc, def"):
    claims.judge("E1_few", range(5), str(tmp_path))


@pytest.mark.parametrize("flags, said", [
    (["--experiments=E11"], "--experiments=E11: must be of E1_few"),
    (["--seeds=3"], "--seeds=3: must be two or more"), (["--seeds=3,3"], "--seeds=3,3: must be different ones"),
    (["--seeds=a,b"], "--seeds=a,b: must be numbers and ranges"),
    (["--arms=B,B"], "--arms=B,B: must be different ones"), (["--arms=A,C"], "two of which E1_few compares"),
    (["--arms=B,Z"], "--arms=Z: E1_few has A, A_long, A_wall, B"),
    (["--flag=--seed=7"], "--flag=--seed=7: is not for all runs alike"),
    (["--jobs=0"], "--jobs=0: must be at least 1"), (["--out=x.json"], "--out=x.json: must be a file that ends in")])
def test_bad_input_is_one_line(flags, said, monkeypatch):
  line = command.refusal(monkeypatch, claims, "--out=none.md", *flags)
  assert line.startswith("error: ") and said in line and "\n" not in line


@pytest.fixture
def own_systems():
  before = dict(registries.SYSTEMS)
  claims_systems.register_systems()
  yield
  registries.SYSTEMS.clear()
  registries.SYSTEMS.update(before)


def test_frozen_fakes_are_those_of_the_first_pass(own_systems):
  system = tiny.build_system("stic", model="frozen_fakes", fakes_from="previous_pass", num_steps=2)
  tiny.run_pass(system)
  drawn = system.chains.images.numpy()
  assert drawn.any()
  tiny.run_pass(system)
  np.testing.assert_array_equal(system.chains.images.numpy(), drawn)
  assert len(system.pool) == 12 and not system.pool.passes.numpy().any()


def test_jems_own_objective_is_of_all_classes_and_its_drawings_are_of_one(own_systems):
  system = tiny.build_system("stic", model="log_sum_exp")
  images = tf.constant(np.random.default_rng(0).uniform(-1, 1, (4, *system.image_shape)), tf.float32)
  hard, other = np.eye(tiny.NUM_CLASSES, dtype=np.float32)[[0, 1]][:, np.newaxis].repeat(4, 1)
  logits = build.logits_and_features(system.network, images)[0]
  sums = tf.reduce_logsumexp(logits, 1)
  for weights in (hard, other):
    energy = system.targets["network"].energy
    np.testing.assert_allclose(energy(images, energy.condition(weights))[0], sums, rtol=1e-5)
    np.testing.assert_array_equal(system.energy_of_logits(logits, weights), sums)
  energy = system.targets["average"].energy
  one, two = (energy(images, energy.condition(weights))[0] for weights in (hard, other))
  assert np.abs(one - two).max() > 0
  logs = tiny.run_pass(system)
  assert {"loss_generative", "acceptance_rate"} <= set(logs) and np.isfinite(list(logs.values())).all()


@pytest.mark.parametrize("flag", ["gram_weight", "denoising_weight"])
def test_jems_own_objective_has_no_part_of_stics(own_systems, flag):
  with pytest.raises(ConfigError, match=f"{flag}=0.5: is not of this objective"):
    tiny.build_system("stic", model="log_sum_exp", **{flag: 0.5})


def test_canvas_fakes_are_draws_of_the_canvas_whatever_the_network(own_systems):
  fakes = []
  for seed in (0, 0):
    system = tiny.build_system("stic", model="canvas_fakes", seed=seed)
    if fakes:
      for variable in system.network.variables:
        variable.assign(3.0 * variable)
    system.updates_done.assign(5)
    images, _ = system._move(None, tf.range(12), system.chains.class_weights(tf.range(12), tiny.NUM_CLASSES), None)
    fakes.append(images.numpy())
  np.testing.assert_array_equal(*fakes)
  assert np.abs(fakes[0][0] - fakes[0][1]).max() > 0.1
  tiny.run_pass(system)
  assert not len(system.pool)


def test_energies_learn_from_fakes_once_there_are_some(own_systems):
  settings = dict(tiny.KINDS["score"], fakes_from="previous_pass", updates_per_pass=2)
  plain, *others = (tiny.build_system("score", model=kind, **settings)
                    for kind in ("score", "negatives", "class_of_fakes"))

  def same(other):
    return all((one.numpy() == two.numpy()).all() for one, two in zip(plain.network.variables, other.network.variables))

  for system in (plain, *others):
    tiny.run_pass(system)
  assert all(same(other) for other in others)  # in the first pass there are none
  logs = [tiny.run_pass(system) for system in (plain, *others)]
  assert not any(same(other) for other in others) and all(np.isfinite(list(one.values())).all() for one in logs)


@pytest.mark.parametrize("model", ["negatives", "class_of_fakes"])
def test_what_fakes_teach_lowers_their_energies_and_raises_real_ones(own_systems, model):
  system, weights = tiny.build_system("score", model=model), tf.eye(tiny.NUM_CLASSES)
  rng, levels = np.random.default_rng(0), tf.constant([0.1, 0.2, 5.0])
  images = [tf.constant(rng.uniform(-1, 1, (3, *tiny.SHAPE)), tf.float32) for _ in range(2)]
  learnt = [tf.constant(rng.normal(size=(3, 3)), tf.float32) for _ in range(2)]
  with tf.GradientTape() as tape:
    tape.watch(learnt)
    loss = system.loss_of_fakes(*(
        (of, levels, weights, system.network.in_common(of, levels)[:, tf.newaxis]
         + one * system.network.gaussian.gain(levels)[:, tf.newaxis]) for of, one in zip(images, learnt)))
  of_real, of_fake = (gradient.numpy() for gradient in tape.gradient(loss, learnt))
  rows = np.diag_indices(3)
  assert (of_real[rows][:2] < 0).all() and (of_fake[rows][:2] > 0).all()
  # Where there is much noise negatives say nothing; a class of fakes speaks at all levels, and of all classes.
  assert ((of_fake[2] == 0).all() and of_real[2, 2] == 0) == (model == "negatives")
  assert (of_fake > 0).all() == (model == "class_of_fakes")


def test_of_a_run_without_a_figure_nothing_is_claimed_of_it_alone(tmp_path):
  _runs(tmp_path, lambda arm, seed: 0.8 + 0.01 * (arm == "F") + 0.001 * seed)
  path = tmp_path / "E1_few" / "E" / "seed3" / "summary.json"
  path.write_text(path.read_text().replace('"fid": 2.0', '"fid": null'))
  report = claims.judge("E1_few", range(5), str(tmp_path), ["B", "E"])
  said = {claim["figure"]: claim["verdict"] for claim in report["claims"]}
  assert said["fid"] == "none: 1 runs have no such figure" and said["ece"].startswith("undecided")
  assert " 2.0000 (2.0000 – 2.0000), 1 without |" in claims_page.text_of({"E1_few": report})
