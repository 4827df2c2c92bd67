"""The claims of the method: arms with the same seeds, paired differences with intervals, a verdict each.

    python benchmarks/claims.py --experiments=E1_few --seeds=0,1,2,3,4 --runs=runs/claims --out=docs/claims.md

An experiment is a flagfile and arms, an arm flags of the trainers after it. Every arm is trained with every seed; what
is in --runs is not trained again, so the command may be killed and given anew. All runs of a table must be of one
commit. A claim compares a figure of two arms: the mean of the differences of runs of the same seed, and its 95 %
interval by Student's t. It holds where the interval lies above 0, does not where it lies below, and is undecided
else; how many seeds would then decide in four of five cases is an estimate from the differences' spread. Of an arm
with a run that diverged for good nothing is claimed. What --out holds of other experiments stays.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import sys
from typing import Dict, List, Optional, Sequence

import numpy as np
from scipy import stats

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks import training_runs  # noqa: E402
from benchmarks.claims_experiments import EXPERIMENTS  # noqa: E402
from stic_tf import atomic_file  # noqa: E402
from stic_tf import provenance  # noqa: E402
from stic_tf import registries  # noqa: E402
from stic_tf.config import ConfigError  # noqa: E402
from stic_tf.config import require  # noqa: E402

_PLACES = ("--cache_dir", "--data_dir")  # where files lie, which changes no figure
# A difference so many standard errors wide is told from none in four of five cases.
_DECIDED = float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))


def register_systems() -> None:
  """Makes the systems that only this benchmark has known by name."""
  for base, names in (("stic", ("canvas_fakes", "frozen_fakes", "log_sum_exp")),
                      ("score", ("negatives", "class_of_fakes", "frozen_body"))):
    for name in names:
      target = f"benchmarks.claims_systems:{name.title().replace('_', '')}"
      registries.SYSTEMS[name] = dataclasses.replace(registries.SYSTEMS[base], target=target)


def paired(one: Sequence[float], other: Sequence[float]) -> dict:
  """Mean of the differences of two arms' figures and its 95 % interval.

  Raises:
    ConfigError: fewer than two seeds.
  """
  require(len(one) >= 2, "seeds", len(one), "must be at least 2 for an interval")
  differences = np.subtract(one, other)
  mean, error = float(differences.mean()), float(differences.std(ddof=1) / math.sqrt(len(differences)))
  half = float(stats.t.ppf(0.975, len(differences) - 1)) * error
  return {"mean": mean, "low": mean - half, "high": mean + half, "deviation": float(differences.std(ddof=1)),
          "seeds": len(differences)}


def verdict(difference: dict, sign: int) -> str:
  """What `paired` says of a claim."""
  low, high = sorted((sign * difference["low"], sign * difference["high"]))
  if low > 0:
    return "holds"
  if high < 0:
    return "does not hold: the opposite does"
  if abs(difference["mean"]) <= 1e-6 * difference["deviation"]:  # nought, but for how sums are rounded
    return "undecided: no difference seen"
  would = math.ceil((_DECIDED * difference["deviation"] / difference["mean"]) ** 2) + 2
  return f"undecided; of a difference like this about {max(would, difference['seeds'] + 1)} seeds would tell"


def _folder(runs: str, experiment: str, arm: str, seed: int) -> pathlib.Path:
  return pathlib.Path(runs).absolute() / experiment / arm / f"seed{seed}"


def train(experiment: str, arm: str, seed: int, arguments) -> None:
  """Trains one run, where it is not there.

  Raises:
    ConfigError: the checkout is not at the commit at which the command began, or has changes.
  """
  flags = [*EXPERIMENTS[experiment].flags, *EXPERIMENTS[experiment].arms[arm][1], f"--seed={seed}", *arguments.flags]
  folder = _folder(arguments.runs, experiment, arm, seed)
  if not (folder / "summary.json").exists():
    now = str(provenance.git_commit())
    require(now == arguments.commit and not now.endswith("-dirty"), "runs", arguments.runs,
            f"would hold runs of several commits, or of no clean one: {arguments.commit}, {now}")
  try:
    if training_runs.train(folder, flags, one_thread=True,
                           script=(str(training_runs.ROOT / "benchmarks" / "claims.py"), "--child")):
      print(experiment, arm, seed, _run(arguments.runs, experiment, arm, seed)["test_accuracy"], flush=True)
  except training_runs.GaveUpError:
    print(experiment, arm, seed, "gave up", flush=True)


def _run(runs: str, experiment: str, arm: str, seed: int) -> Optional[dict]:
  """The summary of a run, and its "rollbacks"; None of one that gave up."""
  folder = _folder(runs, experiment, arm, seed)
  if training_runs.gave_up(folder):
    return None
  summary = json.loads((folder / "summary.json").read_text("utf-8"))
  rows = folder / "metrics.jsonl"
  last = json.loads(rows.read_text("utf-8").splitlines()[-1]) if rows.exists() else {}
  return {**summary, "rollbacks": last.get("attempt", 0)}


def judge(experiment: str, seeds: Sequence[int], runs: str, arms: Sequence[str] = (),
          flags: Sequence[str] = ()) -> dict:
  """The figures of an experiment's arms, and its claims with intervals and verdicts.

  Args:
    experiment: a name of EXPERIMENTS.
    seeds: of the runs, two or more.
    runs: their folder.
    arms: those that were run; none: all. Claims about others are left out.
    flags: with which all of them were run, beside their own.
  Raises:
    ConfigError: runs of several commits, fewer than two seeds, or a figure that a run does not have.
  """
  own = EXPERIMENTS[experiment]
  arms = arms or [*own.arms]
  asked = own.claims_about(arms)
  found = {arm: [_run(runs, experiment, arm, seed) for seed in seeds] for arm in arms}
  require(any(one for of_arm in found.values() for one in of_arm), "runs", runs, f"all runs of {experiment} gave up")
  commits = sorted({str(one.get("git_commit")) for arm in found.values() for one in arm if one})
  require(len(commits) == 1 and not commits[0].endswith("-dirty"), "runs", runs,
          f"holds runs of several commits for {experiment}, or of no clean one: {', '.join(commits)}")
  timed = all(one is None or "seconds_training" in one for of_arm in found.values() for one in of_arm)
  figures = [*sorted({claim.figure for claim in asked}), *["seconds_training"] * timed, "rollbacks"]
  for figure in figures:
    for arm, of_arm in found.items():
      require(all(one is None or isinstance(one.get(figure), (int, float)) and math.isfinite(one[figure])
                  for one in of_arm), "runs", runs, f"holds a run of {experiment}'s {arm} without a finite {figure}")
  claims = []
  for claim in asked:
    pair = [found[arm] for arm in (claim.better, claim.than)]
    gave_up = sum(one is None for of_arm in pair for one in of_arm)
    difference = None if gave_up else paired(*([one[claim.figure] for one in of_arm] for of_arm in pair))
    claims.append({**claim._asdict(), "difference": difference,
                   "verdict": (f"none: {gave_up} runs diverged for good" if gave_up
                               else verdict(difference, claim.sign))})
  told = [*own.flags, *(flag for flag in flags if not flag.startswith(_PLACES))]
  return {"commit": commits[0], "seeds": list(seeds), "flags": told, "versions": provenance.versions(),
          "what": {arm: own.arms[arm] for arm in arms}, "claims": claims,
          "arms": {arm: {figure: [one and one[figure] for one in of_arm] for figure in figures}
                   for arm, of_arm in found.items()}}


def page(report: Dict[str, dict]) -> str:
  """docs/claims.md."""
  lines = ["# Claims", "", "Written by `benchmarks/claims.py`, not by hand. A difference is the mean over seeds of the",
           "first arm less the second, with its paired 95 % interval. That is of one claim: of 40 without any",
           "effect one would be said to hold, and one its opposite. What was chosen on some seeds is for others to",
           "confirm.", ""]
  for experiment, result in report.items():
    flags = " ".join(["trainers/main.py", *result["flags"], "[flags of the arm]"])
    lines += [f"## {experiment}", "", f"    {flags}", "",
              f"Commit {result['commit']}, seeds {', '.join(map(str, result['seeds']))}.", "",
              "| claim | arms | figure | difference (95 %) | verdict |", "|---|---|---|---|---|"]
    for claim in result["claims"]:
      values = claim["difference"]
      difference = values and f"{values['mean']:+.4f} ({values['low']:+.4f} to {values['high']:+.4f})"
      arms = f"{claim['better']} − {claim['than']}"
      lines.append(f"| {claim['text']} | {arms} | {claim['figure']} | {difference or ''} | {claim['verdict']} |")
    lines += ["", "| arm | what it is | " + " | ".join(next(iter(result["arms"].values()))) + " |",
              "|---|---|" + "---|" * len(next(iter(result["arms"].values())))]
    for arm, figures in result["arms"].items():
      cells = [_cell(figure, values) for figure, values in figures.items()]
      what, own = result["what"][arm]
      lines.append(f"| {arm} | {what}: `{' '.join(own)}` | " + " | ".join(cells) + " |")
    lines.append("")
  return "\n".join(lines)


def _cell(figure: str, values: Sequence[Optional[float]]) -> str:
  """A mean and its range; of rollbacks how many in all; and how many runs gave up."""
  ended = [value for value in values if value is not None]
  lost = f", {len(values) - len(ended)} gave up" if len(ended) < len(values) else ""
  if figure == "rollbacks" or not ended:
    return f"{sum(ended)}{lost}"
  return f"{np.mean(ended):.4f} ({min(ended):.4f} – {max(ended):.4f}){lost}"


def _held(out: pathlib.Path) -> Dict[str, dict]:
  """What is in the JSON beside a page, by experiment; nothing where there is none.

  Raises:
    ConfigError: it is no such file.
  """
  beside = out.with_suffix(".json")
  if not beside.exists():
    return {}
  try:
    held = json.loads(beside.read_text("utf-8"))["experiments"]
    page(held)
  except (ValueError, KeyError, TypeError, AttributeError) as problem:
    raise ConfigError(f"--out={out}: {beside} is not what this command writes ({problem!r})") from problem
  return held


def _parse(argv: List[str]):
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--experiments", default="E1_few")
  parser.add_argument("--seeds", default="0,1,2,3,4")
  parser.add_argument("--arms", default="", help="of the experiments, and claims about these alone; otherwise all")
  parser.add_argument("--runs", default="runs/claims", help="folder of the runs")
  parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a thread each")
  parser.add_argument("--flag", action="append", default=[], dest="flags", help="a further one of trainers/main.py")
  parser.add_argument("--out", required=True, help="FILE.md; FILE.json beside it has every figure")
  arguments = parser.parse_args(argv)
  for name in arguments.experiments.split(","):
    require(name in EXPERIMENTS, "experiments", name, "must be of " + ", ".join(EXPERIMENTS))
  arguments.arms = [arm for arm in arguments.arms.split(",") if arm]
  for name in arguments.experiments.split(","):
    for arm in arguments.arms:
      require(arm in EXPERIMENTS[name].arms, "arms", arm, f"{name} has " + ", ".join(EXPERIMENTS[name].arms))
    compared = EXPERIMENTS[name].claims_about(arguments.arms)
    require(not arguments.arms or bool(compared) and len(set(arguments.arms)) == len(arguments.arms), "arms",
            ",".join(arguments.arms), f"must be different ones, two of which {name} compares")
  text, arguments.seeds = arguments.seeds, training_runs.seeds_of(arguments.seeds)
  require(len(arguments.seeds) >= 2, "seeds", text, "must be two or more, for an interval")
  for flag in arguments.flags:
    require(flag.split("=")[0].lstrip("-") not in ("seed", "run_dir"), "flag", flag, "is not for all runs alike")
  require(arguments.jobs >= 1, "jobs", arguments.jobs, "must be at least 1")
  require(arguments.out.endswith(".md"), "out", arguments.out, "must be a file that ends in .md")
  arguments.held = _held(pathlib.Path(arguments.out))
  arguments.commit = str(provenance.git_commit())
  return arguments


def main() -> None:
  try:
    arguments = _parse(sys.argv[1:])
    names = arguments.experiments.split(",")
    training_runs.side_by_side(lambda run: train(*run, arguments), [
        (name, arm, seed) for name in names for seed in arguments.seeds
        for arm in arguments.arms or EXPERIMENTS[name].arms], arguments.jobs)
    report = {**arguments.held, **{name: judge(name, arguments.seeds, arguments.runs, arguments.arms, arguments.flags)
                                   for name in names}}
  except ConfigError as problem:
    sys.exit(f"error: {problem.as_flags}")
  except RuntimeError as problem:
    sys.exit(f"error: {problem}")
  text = page(report)
  atomic_file.write_text(str(pathlib.Path(arguments.out).with_suffix(".json")),
                         json.dumps({"experiments": report}, indent=1))
  atomic_file.write_text(arguments.out, text)
  print(text)


def child() -> None:
  """trainers/main.py with the systems of this benchmark."""
  register_systems()
  import runpy
  sys.argv = [training_runs.MAIN, *sys.argv[2:]]
  runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
  child() if sys.argv[1:2] == ["--child"] else main()
