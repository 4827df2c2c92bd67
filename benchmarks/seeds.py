"""Trains flagfiles with several seeds, one after the other, and prints mean and spread of what they reached.

    python benchmarks/seeds.py --flagfiles=digits,digits_jem,digits_classifier --seeds=0,1,2 --out=seeds.json

A run that is there already is not trained again.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_FIGURES = ("test_accuracy", "ece", "cas", "fid", "fid_floor", "kid", "inception_score", "acceptance_rate",
            "seconds_training")


def _train(flagfile: str, seed: int, runs: str, extra) -> str:
  """Trains one run where it is not there; returns its folder."""
  run_dir = os.path.join(runs, f"{flagfile}_seed{seed}")
  if not os.path.exists(os.path.join(run_dir, "summary.json")):
    print(f"training {flagfile}, seed {seed}", flush=True)
    subprocess.run([sys.executable, "trainers/main.py", f"--flagfile=trainers/flagfiles/{flagfile}.flags",
                    f"--seed={seed}", f"--run_dir={os.path.abspath(run_dir)}", *extra], cwd=_ROOT, check=True)
  return run_dir


def _read(run_dir: str) -> dict:
  with open(os.path.join(run_dir, "summary.json"), encoding="utf-8") as file:
    summary = json.load(file)
  with open(os.path.join(run_dir, "metrics.jsonl"), encoding="utf-8") as file:
    passes = [json.loads(line) for line in file]
  return {"run_dir": run_dir, "summary": summary,
          "first_pass": {name: passes[0][name] for name in ("fid", "test_accuracy")},
          "last_pass": {name: passes[-1][name] for name in ("fid", "test_accuracy")}}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--flagfiles", default="digits")
  parser.add_argument("--seeds", default="0,1,2")
  parser.add_argument("--runs", default="runs/seeds", help="folder of the runs")
  parser.add_argument("--out", required=True, help="FILE.json")
  arguments, extra = parser.parse_known_args()
  report = {}
  for flagfile in arguments.flagfiles.split(","):
    runs = [_read(_train(flagfile, int(seed), arguments.runs, extra)) for seed in arguments.seeds.split(",")]
    figures = {}
    for name in _FIGURES:
      values = [run["summary"][name] for run in runs]
      figures[name] = {"mean": statistics.mean(values), "lowest": min(values), "highest": max(values)}
    ratios = [run["summary"]["fid"] / run["summary"]["fid_floor"] for run in runs]
    figures["fid_over_floor"] = {"mean": statistics.mean(ratios), "lowest": min(ratios), "highest": max(ratios)}
    report[flagfile] = {"figures": figures, "runs": runs}
    print(f"\n{flagfile}, {len(runs)} seeds: mean (lowest to highest)")
    for name, value in figures.items():
      print(f"  {name:18s} {value['mean']:9.4f}  ({value['lowest']:.4f} to {value['highest']:.4f})")
    for run in runs:
      first, last = run["first_pass"], run["last_pass"]
      print(f"  {os.path.basename(run['run_dir'])}: first to last pass FID {first['fid']:.2f} -> {last['fid']:.2f}, "
            f"accuracy {first['test_accuracy']:.4f} -> {last['test_accuracy']:.4f}")
  with open(arguments.out, "w", encoding="utf-8") as file:
    json.dump(report, file, indent=1)


if __name__ == "__main__":
  main()
