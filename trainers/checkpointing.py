"""When a run is saved, what is kept, and where it starts again."""

import contextlib
import os
import sys
from typing import List, Optional, Tuple

from stic_tf import atomic_file
from stic_tf import checkpoint
from stic_tf import config as config_lib
from stic_tf.systems.base import System

_KEPT = 2


class Checkpointer:
  """Saves and restores a training in a folder."""

  def __init__(self, folder: str, description: dict):
    self.folder = folder
    self.description = description
    self._fell_back_to: Optional[str] = None

  def save(self, system: System, rows: List[dict], seconds: float) -> None:
    """Writes the state and drops all checkpoints but this and the one before.

    Raises:
      ConfigError: the disk is full; the previous checkpoint is untouched.
    """
    path = self._path(system)
    try:
      checkpoint.write(path, system.state(), {**self.description, "rows": rows, "seconds": seconds})
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

  def fall_back(self, system: System) -> Tuple[List[dict], float]:
    """`restore` after a training diverged: the newest checkpoint or, where that diverged again, the one before it.

    The last update before a checkpoint may be the one that went wrong. The only one that is left stays.
    """
    found = checkpoint.available(self.folder)
    if found[:1] == [self._fell_back_to] and len(found) > 1:
      os.unlink(found[0])
    rows, seconds = self.restore(system, or_fresh=False)
    self._fell_back_to = self._path(system)
    return rows, seconds

  def _path(self, system: System) -> str:
    """The file of a state."""
    return checkpoint.path_of(self.folder, int(system.passes_done.numpy()), int(system.pass_updates.numpy()))

  def restore(self, system: System, or_fresh: bool = True) -> Optional[Tuple[List[dict], float]]:
    """Takes the newest readable checkpoint, saying so where a newer one is damaged.

    Precedence: 1. the newest readable checkpoint; 2. `system` as it is, where there is none and `or_fresh`.

    Returns:
      (metrics rows so far, seconds of training so far); None where `system` is left as it is.

    Raises:
      FileNotFoundError: no readable checkpoint, and not `or_fresh`.
      ConfigError: a checkpoint of another format.
    """
    atomic_file.remove_leftovers(self.folder)
    try:
      path, arrays, description, problems = checkpoint.read_newest(self.folder)
    except FileNotFoundError as problem:
      if not or_fresh:
        raise
      if checkpoint.available(self.folder):
        print(f"warning: {problem}; starting anew", file=sys.stderr)
      return None
    for problem in problems:
      print(f"warning: {problem}; falling back to {path}", file=sys.stderr)
    system.load_state(arrays)
    # Of one setting, --mixed_precision, a device makes what it can.
    now, before = (each.get("precision") for each in (self.description, description))
    if before and now != before:
      print(f"warning: trained in {before} so far, {path} goes on in {now}, with other numbers than an unbroken run",
            file=sys.stderr)
    return description["rows"], description["seconds"]
