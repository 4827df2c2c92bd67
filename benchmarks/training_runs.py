"""Runs of the trainers, each a process in a folder of its own, as many at a time as are asked for."""

import os
import pathlib
import re
import subprocess
import sys
from concurrent import futures
from typing import Callable, Iterable, List, Optional, Sequence, Set, Tuple, TypeVar

from stic_tf import atomic_file
from stic_tf import run_folder
from stic_tf import zoo
from stic_tf.config import require

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAIN = str(ROOT / "trainers" / "main.py")
# For processes side by side, and for sums that are to have one order.
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
GAVE_UP = "error: training diverged"  # as trainers/train.py says it

_Task, _Result = TypeVar("_Task"), TypeVar("_Result")


class GaveUpError(RuntimeError):
  """A training that diverged for good."""


def seeds_of(text: str) -> List[int]:
  """"0,1,7-9" -> [0, 1, 7, 8, 9].

  Raises:
    ConfigError: anything else, or a seed twice.
  """
  seeds = []
  for part in text.split(","):
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
    require(match, "seeds", text, "must be numbers and ranges of them, 0,1,7-9")
    seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
  require(len(set(seeds)) == len(seeds) >= 1, "seeds", text, "must be different ones")
  return seeds


def keep_flags(asked: pathlib.Path, flags: Sequence[str], runs: str) -> None:
  """Writes down beside a run what it is trained with, once.

  Raises:
    ConfigError: it says other flags; `runs` is what --runs is called by.
  """
  if asked.exists():
    require(asked.read_text("utf-8").splitlines() == list(flags), "runs", runs,
            f"holds a run of other flags, see {asked}; name another folder")
    return
  asked.parent.mkdir(parents=True, exist_ok=True)
  atomic_file.write_text(str(asked), "\n".join(flags))


def train(folder: pathlib.Path, flags: Sequence[str], one_thread: bool, script: Sequence[str] = (MAIN,)) -> bool:
  """Trains a run, where it is not there already. FOLDER.flags beside it says how, FOLDER.log what it said.

  Args:
    folder: of the run, absolute.
    flags: of the trainers, without --run_dir.
    one_thread: whether the process has one thread.
    script: what is started, and what comes before the flags.
  Returns:
    Whether it was trained now.
  Raises:
    ConfigError: what is there was trained with other flags.
    GaveUpError: it diverged for good, now or when it was trained.
    RuntimeError: it failed for another reason.
  """
  log, asked, anew = _log(folder), folder.with_name(folder.name + ".flags"), not is_there(folder)
  if anew or asked.exists():  # a run of before they were kept is taken as it is
    keep_flags(asked, flags, str(folder.parent))
  if anew:
    with open(log, "w", encoding="utf-8") as file:
      ended = subprocess.run([sys.executable, *script, *flags, f"--run_dir={folder}"], cwd=ROOT, stdout=file,
                             stderr=file, env={**os.environ, **(ONE_THREAD if one_thread else {})}, check=False)
    if ended.returncode and not gave_up(folder):
      raise RuntimeError(f"a run failed, see {log}")
  if gave_up(folder):
    raise GaveUpError(f"a run diverged for good, see {log}")
  return anew


def side_by_side(function: Callable[[_Task], _Result], tasks: Iterable[_Task], jobs: int) -> List[_Result]:
  """`function` of each task, so many at a time; the first error ends those that have not begun."""
  with futures.ThreadPoolExecutor(jobs) as pool:
    try:
      return list(pool.map(function, tasks))
    except BaseException:
      pool.shutdown(wait=False, cancel_futures=True)
      raise


def same_but_for_seeds(run_dirs: Sequence[str]) -> Tuple[str, List[int]]:
  """(their commit, their seeds) of finished runs of one design.

  Raises:
    ConfigError: they are not finished, of other settings or commits, or of one seed.
  """
  text = ",".join(run_dirs)
  own = [run_folder.RunFolder(zoo.find(run)).settings() for run in run_dirs]
  kinds = [{name: value for name, value in settings.items() if name != "seed"} for settings in own]
  require(all(kind and kind == kinds[0] for kind in kinds), "run_dir", text,
          "must be finished runs of the same settings but for their seeds")
  seeds = [settings["seed"] for settings in own]
  require(len(set(seeds)) == len(seeds), "run_dir", text, "must be runs of different seeds")
  return commit_of(run_dirs), seeds


def commit_of(run_dirs: Sequence[str]) -> str:
  """The commit of finished runs. Raises ConfigError as `one_commit`, where they are not finished too."""
  folders = [run_folder.RunFolder(zoo.find(run)) for run in run_dirs]
  for run, folder in zip(run_dirs, folders):
    require(folder.is_finished(), "run_dir", run, "must be a finished run")
  summaries = [folder.json("summary.json") for folder in folders]
  return one_commit((summary.get("git_commit") for summary in summaries), "run_dir", ",".join(run_dirs))


def each_of(commits: Iterable[Optional[str]]) -> Set[str]:
  """The commits of runs, of which each may be of several, separated by commas."""
  return {one for each in commits for one in str(each).split(",")}


def one_commit(commits: Iterable[Optional[str]], flag: str, value: str) -> str:
  """The commit of all runs. Raises ConfigError where they are of several, of a changed checkout, or not finished."""
  found = sorted(each_of(commits))
  require(len(found) == 1 and found[0] not in ("None", "unknown") and not found[0].endswith("-dirty"), flag, value,
          f"holds runs of several commits, or of no clean one: {', '.join(found)}")
  return found[0]


def is_there(folder: pathlib.Path) -> bool:
  """Whether a run was trained, to its end or until it gave up."""
  return gave_up(folder) or run_folder.RunFolder(str(folder)).is_finished()


def gave_up(folder: pathlib.Path) -> bool:
  """Whether the run of a folder diverged for good, as its log says."""
  log = _log(folder)
  return log.exists() and GAVE_UP in log.read_text("utf-8", "replace")


def _log(folder: pathlib.Path) -> pathlib.Path:
  return folder.with_name(folder.name + ".log")
