"""Training on two workers (processes of a core each): the numbers of one process with two replicas, and the scaling.

    python benchmarks/workers.py --flagfiles=digits,digits_score --runs=runs/workers --out=workers.json

For each flagfile one process trains with two replicas, and two workers train the same, one of them killed (-9) at three
moments, and started again. Then weak scaling: updates a second of one worker with a batch B on a core, and of
two with 2 B on a core each, in turns. What is there already in --runs is not trained again.
"""

import argparse
import importlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

from benchmarks import measure  # noqa: E402
from benchmarks import training_runs  # noqa: E402
from stic_tf import run_folder  # noqa: E402
from stic_tf.config import ConfigError  # noqa: E402

_MAIN, _LAUNCH = training_runs.MAIN, str(training_runs.ROOT / "trainers" / "launch.py")
# On both sides the same: another number orders sums otherwise.
_ONE_THREAD = {**os.environ, **training_runs.ONE_THREAD}
_FIGURES = ("test_accuracy", "ece", "cas", "fid", "fid_floor", "acceptance_rate")
_CLOCKS = ("seconds", "seconds_training", "images_per_second_sampling", "git_commit")


def _flagfile(name: str) -> str:
  return f"--flagfile={training_runs.ROOT}/trainers/flagfiles/{name}.flags"


def _run(command, log: pathlib.Path) -> subprocess.Popen:
  with open(log, "ab") as file:
    return subprocess.Popen([sys.executable, *command], stdout=file, stderr=file, env=_ONE_THREAD)


def _updates(run: pathlib.Path) -> int:
  """How many updates the newest checkpoint of a run holds, as its name says: passes · 10⁶ + updates."""
  names = [path.stem.split("_") for path in (run / "checkpoints").glob("pass_*.npz")]
  return max((int(name[1]) * 10 ** 6 + (int(name[3]) if len(name) > 2 else 0) for name in names), default=-1)


def _killed(flags, run: pathlib.Path, log: pathlib.Path, kills) -> int:
  """Two workers to the end, with a kill whenever a checkpoint beyond one of `kills` is there; returns how many."""
  done = 0
  for worker, moment in [*kills, (0, None)]:
    launcher = _run([_LAUNCH, "--workers=2", "--", *flags], log)
    while launcher.poll() is None:
      if moment is not None and _updates(run) >= moment:
        children = pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text("utf-8").split()
        os.kill(int(children[worker]), signal.SIGKILL)
        launcher.wait()
        done += 1
        break
      time.sleep(0.05)
  if launcher.returncode:
    raise RuntimeError(f"the workers failed, see {log}")
  return done


def _same_end(flagfile: str, arguments) -> dict:
  """Trains one process and two workers; how far apart they end."""
  folder = pathlib.Path(arguments.runs).absolute() / flagfile
  folder.mkdir(parents=True, exist_ok=True)
  flags = [_flagfile(flagfile), "--num_replicas=2", "--checkpoint_minutes=0.1",
           *arguments.flags]
  runs = {name: folder / name for name in ("replicas", "workers")}
  training_runs.keep_flags(folder / "asked.flags", flags, arguments.runs)
  if not run_folder.RunFolder(str(runs["replicas"])).is_finished():
    if _run([_MAIN, *flags, f"--run_dir={runs['replicas']}"], folder / "replicas.log").wait():
      raise RuntimeError(f"the training failed, see {folder}/replicas.log")
  if not run_folder.RunFolder(str(runs["workers"])).is_finished():
    shutil.rmtree(runs["workers"], ignore_errors=True)
    kills = [(1, 0), (0, 10 ** 6 + 1), (1, 3 * 10 ** 6)]
    made = _killed([*flags, f"--run_dir={runs['workers']}"], runs["workers"], folder / "workers.log", kills)
    (folder / "kills.json").write_text(json.dumps(made))
  newest = sorted(os.listdir(runs["replicas"] / "checkpoints"))[-1]
  ends = [np.load(run / "checkpoints" / newest) for run in runs.values()]
  with ends[0] as one, ends[1] as two:
    apart = {name: float(np.abs(one[name].astype(np.float64) - two[name]).max()) for name in one.files
             if name != "description" and not np.array_equal(one[name], two[name])}
    arrays = len(one.files) - 1
  summaries = {name: json.loads((run / "summary.json").read_text("utf-8")) for name, run in runs.items()}
  rows = [[{name: value for name, value in json.loads(line).items() if name not in _CLOCKS}
           for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()] for run in runs.values()]
  return {"kills": json.loads((folder / "kills.json").read_text()), "arrays": arrays, "arrays_that_differ": len(apart),
          "largest_difference": max(apart.values(), default=0.0), "equal_logs": rows[0] == rows[1],
          "figures": {name: {figure: summary[figure] for figure in _FIGURES} for name, summary in summaries.items()}}


def _rate(flagfile: str, workers: int, batch: int, folder: pathlib.Path, arguments) -> float:
  """Updates a second of the third of three short passes, which has the second's answers on validation images in it."""
  shutil.rmtree(folder, ignore_errors=True)
  flags = [_flagfile(flagfile), f"--batch_size={batch}", "--num_passes=3",
           f"--updates_per_pass={arguments.updates}", "--num_samples=20", "--pass_samples=0", "--pass_steps=1",
           "--num_steps=2", f"--run_dir={folder}", "--checkpoint_minutes=0", *arguments.flags]
  cores = ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[:workers]))]
  command = [*cores, sys.executable, *((_MAIN,) if workers == 1 else (_LAUNCH, f"--workers={workers}", "--")), *flags]
  subprocess.run(command, check=True, env=_ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  seconds = [json.loads(line)["seconds"] for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
  return arguments.updates / (seconds[2] - seconds[1])


def _scaling(flagfile: str, arguments) -> dict:
  folder = pathlib.Path(arguments.runs).absolute() / f"{flagfile}_scaling"
  rates = {workers: [] for workers in (1, 2)}
  for _ in range(arguments.repetitions):
    for workers, measured in rates.items():
      measured.append(_rate(flagfile, workers, workers * arguments.batch_size, folder, arguments))
  efficiency = [two / one for one, two in zip(rates[1], rates[2])]
  return {"batch_a_worker": arguments.batch_size, "updates_a_second": rates,
          "efficiency": {"median": float(np.median(efficiency)), "least": min(efficiency), "most": max(efficiency)}}


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--flagfiles", default="digits,digits_score")
  parser.add_argument("--runs", default="runs/workers", help="folder of the runs")
  parser.add_argument("--batch_size", type=int, default=64, help="of a worker, for the scaling")
  parser.add_argument("--updates", type=int, default=60, help="timed, for the scaling")
  parser.add_argument("--repetitions", type=int, default=3)
  parser.add_argument("--flags", nargs="*", default=[], help="further flags of trainers/main.py")
  parser.add_argument("--out", required=True, help="FILE.json")
  return parser.parse_args()


def main() -> None:
  try:
    _measure(_parse())
  except ConfigError as problem:
    sys.exit(f"error: {problem.as_flags}")


def _measure(arguments) -> None:
  report = {"settings": vars(arguments), **measure.circumstances(1), "flagfiles": {}}
  for flagfile in arguments.flagfiles.split(","):
    report["flagfiles"][flagfile] = {"same_end": _same_end(flagfile, arguments),
                                     "scaling": _scaling(flagfile, arguments)}
    print(flagfile, json.dumps(report["flagfiles"][flagfile], indent=1), flush=True)
    measure.write_json(arguments.out, report)


if __name__ == "__main__":
  main()
