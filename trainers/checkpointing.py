"""When a run is saved, what is kept, and where it starts again."""

import contextlib
import errno
import os
import sys
from typing import List, Tuple

from stic_tf import checkpoint
from stic_tf import config as config_lib
from stic_tf.self_analysis.recurrence import Recurrence

_KEPT = 2


class Checkpointer:
  """Saves and restores a training in a folder."""

  def __init__(self, folder: str, description: dict):
    self.folder = folder
    self.description = description

  def save(self, recurrence: Recurrence, rows: List[dict], seconds: float) -> None:
    """Writes the state after a pass and drops all but the newest two checkpoints.

    Raises:
      ConfigError: the disk is full; the previous checkpoint is untouched.
    """
    path = checkpoint.path_of(self.folder, recurrence.passes_done)
    try:
      checkpoint.write(path, recurrence.state(), {**self.description, "rows": rows, "seconds": seconds})
    except OSError as problem:
      if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise config_lib.ConfigError(f"--run_dir: the disk is full ({path} was not written; the checkpoint before it "
                                     "is intact)") from problem
      raise
    for old in checkpoint.available(self.folder)[_KEPT:]:
      with contextlib.suppress(FileNotFoundError):
        os.unlink(old)

  def restore(self, recurrence: Recurrence) -> Tuple[List[dict], float]:
    """Takes the newest readable checkpoint, saying so where a newer one is damaged.

    Precedence: 1. the newest readable checkpoint; 2. a fresh start, where there is none.

    Returns:
      (metrics rows so far, seconds of training so far).
    """
    try:
      path, arrays, description, problems = checkpoint.read_newest(self.folder)
    except FileNotFoundError as problem:
      if checkpoint.available(self.folder):
        print(f"warning: {problem}; starting anew", file=sys.stderr)
      return [], 0.0
    for problem in problems:
      print(f"warning: {problem}; falling back to {path}", file=sys.stderr)
    recurrence.load_state(arrays)
    return description["rows"], description["seconds"]
