"""Trains flagfiles with several seeds, and prints mean and spread of what they reached and how many never diverged.

    python benchmarks/seeds.py --flagfiles=digits,digits_jem,digits_classifier --seeds=0,1,2 --out=seeds.json
    python benchmarks/seeds.py --seeds=0-99 --jobs=2 --runs=runs/stable --out=stable.json --updates_per_pass=20

What it does not know are flags of the trainers. A run that is there already is not trained again; one of other flags or
of another commit is refused. One that gave up after too many rollbacks is counted and leaves `NAME.log` and no summary.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
from typing import List, Optional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from scipy import stats  # noqa: E402

from benchmarks import training_runs  # noqa: E402
from stic_tf import atomic_file  # noqa: E402
from stic_tf import provenance  # noqa: E402
from stic_tf.config import ConfigError  # noqa: E402
from stic_tf.config import require  # noqa: E402
from stic_tf.metrics import frechet  # noqa: E402

_FIGURES = ("test_accuracy", "ece", "cas", "fid", "fid_floor", "kid", "inception_score", "acceptance_rate",
            "seconds_training")
_OF_A_PASS = ("fid", "validation_accuracy")


def _folder(arguments, flagfile: str, seed: int) -> pathlib.Path:
  return pathlib.Path(arguments.runs).absolute() / f"{flagfile}_seed{seed}"


def train(flagfile: str, seed: int, arguments, extra: List[str]) -> Optional[dict]:
  """What a run reached, trained where it is not there; None where it diverged for good.

  Raises:
    ConfigError: what is there was trained with other flags.
    RuntimeError: it failed for another reason.
  """
  folder = _folder(arguments, flagfile, seed)
  flags = [f"--flagfile=trainers/flagfiles/{flagfile}.flags", f"--seed={seed}", *extra]
  try:
    if training_runs.train(folder, flags, one_thread=arguments.jobs > 1):
      print(f"{flagfile}, seed {seed}: trained", flush=True)
  except training_runs.GaveUpError:
    print(f"{flagfile}, seed {seed}: gave up", flush=True)
    return None
  summary = json.loads((folder / "summary.json").read_text("utf-8"))
  passes = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
  return {"run_dir": str(folder), "summary": summary, "rollbacks": passes[-1]["attempt"],
          "first_pass": {name: passes[0].get(name) for name in _OF_A_PASS},
          "last_pass": {name: passes[-1].get(name) for name in _OF_A_PASS}}


def require_one_commit(arguments, flagfiles: List[str], seeds: List[int]) -> None:
  """Raises ConfigError where the runs that are there, and those still to be trained, are not all of one commit."""
  folders = [_folder(arguments, flagfile, seed) for flagfile in flagfiles for seed in seeds]
  summaries = [path for folder in folders if (path := folder / "summary.json").exists()]
  commits = training_runs.each_of(json.loads(path.read_text("utf-8")).get("git_commit") for path in summaries)
  if not all(map(training_runs.is_there, folders)):
    commits.add(str(provenance.git_commit()))
  require(len(commits) <= 1, "runs", arguments.runs,
          f"would hold runs of several commits: {', '.join(sorted(commits))}")


def stability(runs: List[Optional[dict]]) -> dict:
  """How many runs ended, and without a rollback, of how many, and the 95 % interval (Clopper–Pearson) of the latter."""
  steady = sum(run is not None and not run["rollbacks"] for run in runs)
  interval = stats.binomtest(steady, len(runs)).proportion_ci()
  return {"runs": len(runs), "ended": sum(run is not None for run in runs), "without_rollback": steady,
          "low": interval.low, "high": interval.high}


def spread(runs: List[dict]) -> dict:
  """Mean, lowest and highest of each figure that all runs have."""
  values = {name: [run["summary"][name] for run in runs] for name in _FIGURES
            if all(run["summary"].get(name) is not None for run in runs)}
  ratios = [frechet.over_floor(*both) for both in zip(values.get("fid", ()), values.get("fid_floor", ()))]
  if ratios and None not in ratios:  # of images learnt by heart there is no floor
    values["fid_over_floor"] = ratios
  return {name: {"mean": statistics.mean(found), "lowest": min(found), "highest": max(found)}
          for name, found in values.items()}


def _print(flagfile: str, report: dict) -> None:
  steady = report["stability"]
  print(f"\n{flagfile}: {steady['without_rollback']} of {steady['runs']} without a rollback "
        f"({steady['low']:.3f} to {steady['high']:.3f}), {steady['ended']} ended; of these, mean (lowest to highest)")
  for name, value in report["figures"].items():
    print(f"  {name:18s} {value['mean']:9.4f}  ({value['lowest']:.4f} to {value['highest']:.4f})")
  for run in report["runs"]:
    figures = [f"{name} {run['first_pass'][name]:.4f} -> {run['last_pass'][name]:.4f}"
               for name in _OF_A_PASS if run["first_pass"][name] is not None]
    print(f"  {os.path.basename(run['run_dir'])}: first to last pass {', '.join(figures)}, "
          f"{run['rollbacks']} rollbacks")


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--flagfiles", default="digits")
  parser.add_argument("--seeds", default="0,1,2", help="numbers, and ranges of them: 0,1,7-9")
  parser.add_argument("--runs", default="runs/seeds", help="folder of the runs")
  parser.add_argument("--jobs", type=int, default=1, help="runs at a time; of several each has one thread")
  parser.add_argument("--out", required=True, help="FILE.json")
  arguments, extra = parser.parse_known_args()
  try:
    seeds = training_runs.seeds_of(arguments.seeds)
    require(arguments.jobs >= 1, "jobs", arguments.jobs, "must be at least 1")
    report, flagfiles = {}, arguments.flagfiles.split(",")
    for flagfile in flagfiles:
      require((training_runs.ROOT / "trainers" / "flagfiles" / f"{flagfile}.flags").exists(), "flagfiles", flagfile,
              "must be of trainers/flagfiles, without .flags")
    require_one_commit(arguments, flagfiles, seeds)
    for flagfile in flagfiles:
      runs = training_runs.side_by_side(lambda seed, name=flagfile: train(name, seed, arguments, extra), seeds,
                                        arguments.jobs)
      ended = [run for run in runs if run is not None]
      report[flagfile] = {"stability": stability(runs), "figures": spread(ended) if ended else {}, "runs": ended}
      _print(flagfile, report[flagfile])
  except ConfigError as problem:
    sys.exit(f"error: {problem.as_flags}")
  except RuntimeError as problem:
    sys.exit(f"error: {problem}")
  atomic_file.write_text(arguments.out, json.dumps(report, indent=1))


if __name__ == "__main__":
  main()
