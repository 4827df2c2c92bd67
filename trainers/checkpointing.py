"""When a run is saved, what is kept, and where it starts again."""

import contextlib
import os
import sys
from typing import List, Tuple

from stic_tf import atomic_file
from stic_tf import checkpoint
from stic_tf import config as config_lib
from stic_tf import drawing_classifier as drawing_lib
from stic_tf import loading
from stic_tf.self_analysis.recurrence import Recurrence

_KEPT = 2


class Checkpointer:
  """Saves and restores a training in a folder."""

  def __init__(self, folder: str, description: dict):
    self.folder = folder
    self.description = description

  def save(self, recurrence: Recurrence, rows: List[dict], seconds: float) -> None:
    """Writes the state after a pass and drops all checkpoints but this and the one before.

    Raises:
      ConfigError: the disk is full; the previous checkpoint is untouched.
    """
    path = checkpoint.path_of(self.folder, recurrence.passes_done)
    try:
      checkpoint.write(path, recurrence.state(), {**self.description, "rows": rows, "seconds": seconds})
    except OSError as problem:
      if atomic_file.is_disk_full(problem):
        raise config_lib.ConfigError(f"--run_dir: the disk is full ({path} was not written; the checkpoint before it "
                                     "is intact)") from problem
      raise
    # Later ones are damaged: this training fell back behind them.
    found = checkpoint.available(self.folder)
    place = found.index(path)
    for old in found[:place] + found[place + _KEPT:]:
      with contextlib.suppress(FileNotFoundError):
        os.unlink(old)

  def restore(self, recurrence: Recurrence, or_fresh: bool = True) -> Tuple[List[dict], float]:
    """Takes the newest readable checkpoint, saying so where a newer one is damaged.

    Precedence: 1. the newest readable checkpoint; 2. `recurrence` as it is, where there is none and `or_fresh`.

    Returns:
      (metrics rows so far, seconds of training so far).

    Raises:
      FileNotFoundError: no readable checkpoint, and not `or_fresh`.
    """
    atomic_file.remove_leftovers(self.folder)
    try:
      path, arrays, description, problems = checkpoint.read_newest(self.folder)
    except FileNotFoundError as problem:
      if not or_fresh:
        raise
      if checkpoint.available(self.folder):
        print(f"warning: {problem}; starting anew", file=sys.stderr)
      return [], 0.0
    _warn_of_fallback(problems, path)
    recurrence.load_state(arrays)
    return description["rows"], description["seconds"]


def load_classifier(run_dir: str, strategy) -> Tuple[drawing_lib.DrawingClassifier, dict]:
  """`stic_tf.load` that says so where the newest checkpoint is damaged: (classifier, the run's settings).

  Raises:
    ConfigError: the folder holds no readable checkpoint.
  """
  config_lib.require(bool(run_dir), "run_dir", run_dir, "must name the folder of a run")
  try:
    path, arrays, description, problems = checkpoint.read_newest(
        os.path.join(os.path.expanduser(run_dir), "checkpoints"))
  except FileNotFoundError as problem:
    raise config_lib.ConfigError(f"--run_dir={run_dir}: must be the folder of a run ({problem})") from problem
  _warn_of_fallback(problems, path)
  return loading.from_state(arrays, description, strategy), description["config"]


def _warn_of_fallback(problems: List[str], path: str) -> None:
  for problem in problems:
    print(f"warning: {problem}; falling back to {path}", file=sys.stderr)
