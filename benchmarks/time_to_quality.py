"""What a training is worth after so many hours: accuracy and drawings at marks of one run, and rivals beside it.

    python benchmarks/time_to_quality.py --arm=score:cifar10_score --arm="plain:cifar10: --fakes_from=none" \\
        --updates_an_hour=score:10000 --hours=0.5,1,2,4,8 --data_dir=… --runs=runs/time_to_quality --out=quality.json

An arm is a name, a flagfile of trainers/flagfiles, and further flags if any. It trains to its end or its last mark,
which may come first, by the run's own clock of training, or where it was paused or has other work beside it by
--updates_an_hour, which it makes alone; at each mark its newest checkpoint is put aside, and all marks that it came to
are measured when it has ended, with its end as the last row. What is there is neither trained nor measured again, so
the command may be killed and given anew. A mark is the middle of one run: its learning rate has not fallen to the end,
as it would have in a run of that length. The clock has the scoring of passes in it; of few passes that is little.
"""

import argparse
import functools
import importlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import Dict, List, Optional, Tuple

_ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

from benchmarks import measure  # noqa: E402
from benchmarks import training_runs  # noqa: E402
from stic_tf import atomic_file  # noqa: E402
from stic_tf import checkpoint  # noqa: E402
from stic_tf import run_folder  # noqa: E402
from stic_tf.config import ConfigError  # noqa: E402
from stic_tf.config import require  # noqa: E402

_MAIN = str(_ROOT / "trainers" / "main.py")
_FIGURES = ("test_accuracy", "fid", "cas", "judge_agreement", "precision", "recall")
_NOTED = ("fid_floor", "intervals", "num_samples", "judge", "git_commit", "measured_at")
_POLL_SECONDS = 20.0
_LATE_SECONDS = 900.0  # a checkpoint may come so long after its mark, which several minutes of scoring make it


def newest(run_dir: pathlib.Path, updates_an_hour: float = 0.0) -> Tuple[Optional[str], float]:
  """(the newest readable checkpoint of a run, seconds of training up to it), or (None, 0)."""
  try:
    return _seconds_of(checkpoint.available(str(run_dir / "checkpoints"))[0], updates_an_hour)
  except (IndexError, FileNotFoundError):
    return None, 0.0


@functools.lru_cache(maxsize=1)  # a checkpoint is large, and asked for many times
def _seconds_of(path: str, updates_an_hour: float) -> Tuple[str, float]:
  path, arrays, description, _ = checkpoint.read_newest(os.path.dirname(path))
  seconds = 3600.0 * arrays["scalars/updates_done"] / updates_an_hour if updates_an_hour else description["seconds"]
  return path, float(seconds)


def mark_folder(run_dir: pathlib.Path, hours: float) -> pathlib.Path:
  """Where the run as it was after `hours` is put."""
  return run_dir.parent / f"{run_dir.name}_{hours:g}h"


def put_aside(run_dir: pathlib.Path, hours: float, updates_an_hour: float = 0.0) -> bool:
  """Copies a run that has come to `hours`, once; whether it has come to them.

  Raises:
    ConfigError: it has gone far beyond them, and what it was then is no longer there.
  """
  folder = mark_folder(run_dir, hours)
  if folder.exists():
    return True
  path, seconds = newest(run_dir, updates_an_hour)
  if path is None or seconds < 3600.0 * hours:
    return False
  require(seconds < 3600.0 * hours + _LATE_SECONDS, "hours", f"{hours:g}",
          f"{run_dir} is beyond them, at {seconds / 3600:.2f}, and has no checkpoint of then")
  aside = folder.with_name(folder.name + ".tmp")
  shutil.rmtree(aside, ignore_errors=True)
  (aside / "checkpoints").mkdir(parents=True)
  for name in ("settings.json", "flags.txt", "metrics.jsonl"):
    shutil.copy(run_dir / name, aside)
  try:
    shutil.copy(path, aside / "checkpoints")
  except FileNotFoundError:  # two newer ones meanwhile
    return False
  atomic_file.write_text(str(aside / "mark.json"), json.dumps({"hours": hours, "seconds": seconds}))
  os.rename(aside, folder)
  return True


def train(run_dir: pathlib.Path, flagfile: str, hours: List[float], its_flags: List[str],
          poll_seconds: float = _POLL_SECONDS, updates_an_hour: float = 0.0) -> None:
  """Trains until the last mark has been put aside, or to the end where that comes first.

  Raises:
    ConfigError: the training failed.
  """

  def all_put_aside():
    return all([put_aside(run_dir, mark, updates_an_hour) for mark in hours])

  if all_put_aside() or run_folder.RunFolder(str(run_dir)).is_finished():
    return
  training_runs.keep_flags(run_dir.with_suffix(".flags"), [flagfile, *its_flags], str(run_dir.parent))
  command = [sys.executable, _MAIN, f"--flagfile={_ROOT / 'trainers' / 'flagfiles' / flagfile}.flags",
             f"--run_dir={run_dir}", *its_flags]
  with open(run_dir.with_suffix(".log"), "a", encoding="utf-8") as log:
    training = subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log)
    try:
      while not all_put_aside():
        if training.poll() is not None:
          require(not training.returncode, "arm", flagfile, f"its training failed, see {log.name}")
          all_put_aside()  # it may have reached a mark with its last checkpoint
          break
        time.sleep(poll_seconds)
    finally:
      training.kill()
      training.wait()


def measured(run_dir: pathlib.Path, hours: float, its_flags: List[str]) -> dict:
  """The figures of a mark, measured where they are not there."""
  folder = mark_folder(run_dir, hours)
  summary = run_folder.RunFolder(str(folder)).json("summary.json")
  asked = [flag for flag in its_flags if flag.startswith("--num_samples=")]
  if summary is None or asked not in ([], [f"--num_samples={summary.get('num_samples')}"]):
    (folder / "summary.json").unlink(missing_ok=True)
    ended = subprocess.run([sys.executable, _MAIN, "--mode=evaluate", f"--run_dir={folder}", *its_flags], cwd=_ROOT,
                           check=False)
    require(not ended.returncode, "runs", str(folder), "could not be measured, see above")
  return {**_figures(folder), **json.loads((folder / "mark.json").read_text("utf-8"))}


def _figures(folder: pathlib.Path) -> dict:
  summary = json.loads((folder / "summary.json").read_text("utf-8"))
  return {name: summary.get(name) for name in (*_FIGURES, *_NOTED)}


def rows(run_dir: pathlib.Path, hours: List[float], its_flags: List[str], updates_an_hour: float = 0.0) -> List[dict]:
  """The figures of all marks that a run has come to, and of its end."""
  found = [measured(run_dir, mark, its_flags) for mark in hours if mark_folder(run_dir, mark).exists()]
  if run_folder.RunFolder(str(run_dir)).is_finished():
    found.append({**_figures(run_dir), "seconds": newest(run_dir, updates_an_hour)[1]})
  return found


def as_list(found: Dict[str, List[dict]]) -> List[dict]:
  """Rows of all arms, each with its `system` and `hours`.

  Raises:
    ConfigError: they were measured by several judges, whose figures do not compare.
  """
  found = [{"system": arm, **row, "hours": row["seconds"] / 3600} for arm, marks in found.items() for row in marks]
  judges = sorted({str(row["judge"]) for row in found})
  require(len(judges) <= 1, "runs", "", f"were measured by several judges ({', '.join(judges)}): measure them anew")
  return found


def table(found: Dict[str, List[dict]]) -> str:
  """Rows of Markdown, an arm and mark each."""
  lines = ["| arm | hours | " + " | ".join(_FIGURES) + " |", "|---|---|" + "---|" * len(_FIGURES)]
  for arm, marks in found.items():
    for mark in marks:
      cells = []
      for name in _FIGURES:
        low_high = (mark["intervals"] or {}).get(name)
        cells.append("" if mark[name] is None else f"{mark[name]:.4g}" + (
            f" ({low_high[0]:.4g} – {low_high[1]:.4g})" if low_high else ""))
      lines.append(f"| {arm} | {mark['seconds'] / 3600:.2f} | " + " | ".join(cells) + " |")
  return "\n".join(lines)


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--arm", action="append", required=True, dest="arms",
                      help='NAME:FLAGFILE, or "NAME:FLAGFILE: --flag=… …"; several')
  parser.add_argument("--hours", default="0.5,1,2,4,8", help="marks, in hours of training")
  parser.add_argument("--updates_an_hour", action="append", default=[], metavar="NAME:NUMBER",
                      help="let these be the clock of an arm; several")
  parser.add_argument("--runs", required=True, help="folder of the runs")
  parser.add_argument("--num_samples", type=int, default=10000, help="drawings a mark")
  parser.add_argument("--data_dir", default=None)
  parser.add_argument("--cache_dir", default=None)
  parser.add_argument("--flag", action="append", default=[], dest="flags", help="a further one of every training")
  parser.add_argument("--out", required=True, help="FILE.json")
  arguments = parser.parse_args()
  try:
    arguments.hours = sorted(float(hours) for hours in arguments.hours.split(","))
  except ValueError:
    arguments.hours = []
  require(bool(arguments.hours) and arguments.hours[0] > 0, "hours", arguments.hours, "must be numbers above 0")
  parts = [(*arm.split(":", 2), "", "")[:3] for arm in arguments.arms]
  require(len({name for name, *_ in parts}) == len(parts) and all(name.isidentifier() for name, *_ in parts), "arm",
          ",".join(arguments.arms), "must be NAME:FLAGFILE, each of its own name")
  for name, flagfile, _ in parts:
    path = _ROOT / "trainers" / "flagfiles" / f"{flagfile}.flags"
    require(bool(flagfile) and path.exists(), "arm", f"{name}:{flagfile}", "must be of trainers/flagfiles")
  arguments.arms = {name: (flagfile, shlex.split(flags)) for name, flagfile, flags in parts}
  arguments.updates_an_hour = dict(map(_clock_of, arguments.updates_an_hour))
  for name in arguments.updates_an_hour:
    require(name in arguments.arms, "updates_an_hour", name, f"must be of {', '.join(arguments.arms)}")
  return arguments


def _clock_of(text: str) -> Tuple[str, float]:
  name, _, number = text.partition(":")
  try:
    updates = float(number)
  except ValueError:
    updates = 0.0
  require(0 < updates < float("inf"), "updates_an_hour", text, "must be NAME:NUMBER, and that above 0")
  return name, updates


def main() -> None:
  # As Ctrl-C does, so that a training ends with the command that began it.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: ended from outside"))
  try:
    arguments = _parse()
    shared = [f"--{name}={value}" for name in ("data_dir", "cache_dir") if (value := getattr(arguments, name))]
    found = {}
    for arm, (flagfile, its_flags) in arguments.arms.items():
      run_dir, clock = pathlib.Path(arguments.runs).absolute() / arm, arguments.updates_an_hour.get(arm, 0.0)
      drawn = [*shared, f"--num_samples={arguments.num_samples}"]
      train(run_dir, flagfile, arguments.hours, ["--checkpoint_minutes=3", *drawn, *arguments.flags, *its_flags],
            updates_an_hour=clock)
      found[arm] = rows(run_dir, arguments.hours, drawn, clock)
      measure.write_json(arguments.out, {"rows": as_list(found), "arms": found, "settings": vars(arguments),
                                         **measure.circumstances(os.cpu_count())})
  except ConfigError as problem:
    sys.exit(f"error: {problem.as_flags}")
  print(table(found))


if __name__ == "__main__":
  main()
