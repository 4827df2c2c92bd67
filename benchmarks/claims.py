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
import importlib
import json
import math
import pathlib
import sys
from typing import List, Optional, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

from benchmarks import claims_page  # noqa: E402
from benchmarks import training_runs  # noqa: E402
from benchmarks import verdicts  # noqa: E402
from benchmarks.claims_experiments import EXPERIMENTS  # noqa: E402
from stic_tf import provenance  # noqa: E402
from stic_tf.config import ConfigError  # noqa: E402
from stic_tf.config import require  # noqa: E402

_PLACES = ("--cache_dir", "--data_dir")  # where files lie, which changes no figure


def _folder(runs: str, experiment: str, arm: str, seed: int) -> pathlib.Path:
  return pathlib.Path(runs).absolute() / experiment / arm / f"seed{seed}"


def train(experiment: str, arm: str, seed: int, arguments) -> None:
  """Trains one run, where it is not there.

  Raises:
    ConfigError: the checkout is not at the commit at which the command began, or has changes.
  """
  flags = [*EXPERIMENTS[experiment].flags, *EXPERIMENTS[experiment].arms[arm][1], f"--seed={seed}", *arguments.flags]
  folder = _folder(arguments.runs, experiment, arm, seed)
  if not training_runs.is_there(folder):
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
  """The summary of a run, its "rollbacks" and the last pass's "validation_fid"; None of one that gave up."""
  folder = _folder(runs, experiment, arm, seed)
  if training_runs.gave_up(folder):
    return None
  summary = json.loads((folder / "summary.json").read_text("utf-8"))
  rows = folder / "metrics.jsonl"
  last = json.loads(rows.read_text("utf-8").splitlines()[-1]) if rows.exists() else {}
  return {**summary, "validation_fid": last.get("fid"), "rollbacks": last.get("attempt", 0)}


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
  ended = [one for of_arm in found.values() for one in of_arm if one]
  require(bool(ended), "runs", runs, f"all runs of {experiment} gave up")
  commit = training_runs.one_commit((one.get("git_commit") for one in ended), "runs", f"{runs}/{experiment}")
  timed = all("seconds_training" in one for one in ended)
  figures = [*sorted({claim.figure for claim in asked}), *["seconds_training"] * timed, "rollbacks"]
  for figure in figures:
    for arm, of_arm in found.items():
      require(all(one is None or figure in one and _is_figure(one[figure]) for one in of_arm), "runs", runs,
              f"holds a run of {experiment}'s {arm} without a finite {figure}")
  values = {arm: {figure: [one[figure] if one else verdicts.GAVE_UP for one in of_arm] for figure in figures}
            for arm, of_arm in found.items()}
  script = "benchmarks/claims.py --child" if any("--model=" in " ".join(own.arms[arm][1]) for arm in arms) else (
      "trainers/main.py")
  more = [flag for flag in flags if not flag.startswith(_PLACES)]
  return {"command": " ".join([script, *own.flags, "[flags of the arm]", *more]), "commit": commit,
          "seeds": list(seeds), "versions": provenance.versions(), "what": {arm: own.arms[arm] for arm in arms},
          "claims": verdicts.judged(asked, values), "arms": values}


def _is_figure(value) -> bool:
  """A finite number; or None, which a summary has of what could not be measured."""
  return value is None or isinstance(value, (int, float)) and math.isfinite(value)


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
  claims_page.check_name(arguments.out, "out")
  arguments.commit = str(provenance.git_commit())
  return arguments


def main() -> None:
  try:
    arguments = _parse(sys.argv[1:])
    names = arguments.experiments.split(",")
    training_runs.side_by_side(lambda run: train(*run, arguments), [
        (name, arm, seed) for name in names for seed in arguments.seeds
        for arm in arguments.arms or EXPERIMENTS[name].arms], arguments.jobs)
    text = claims_page.add(arguments.out, {
        name: judge(name, arguments.seeds, arguments.runs, arguments.arms, arguments.flags) for name in names})
  except ConfigError as problem:
    sys.exit(f"error: {problem.as_flags}")
  except RuntimeError as problem:
    sys.exit(f"error: {problem}")
  print(text)


def child() -> None:
  """trainers/main.py with the systems of this benchmark."""
  from benchmarks import claims_systems  # it imports TensorFlow
  claims_systems.register_systems()
  import runpy
  sys.argv = [training_runs.MAIN, *sys.argv[2:]]
  runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
  child() if sys.argv[1:2] == ["--child"] else main()
