"""The run folder: what it is made with, its log, its summary and its pictures."""

import json
import os
from typing import Dict, List

import numpy as np

from stic_tf import atomic_file
from stic_tf import config as config_lib

_MAX_CLASSES_SHOWN = 20


class RunFolder:
  """Paths and files of one run. Nothing is written before `claim`."""

  def __init__(self, path: str):
    self.path = os.path.expanduser(path)
    self.checkpoints = os.path.join(self.path, "checkpoints")
    self.tensorboard = os.path.join(self.path, "tensorboard")

  def file(self, *names: str) -> str:
    return os.path.join(self.path, *names)

  def check_settings(self, settings: Dict[str, object]) -> None:
    """Refuses a folder that was made with other settings.

    Raises:
      ConfigError: names the settings that differ.
    """
    if not os.path.exists(self.file("settings.json")):
      empty = not os.path.lexists(self.path) or os.path.isdir(self.path) and all(
          atomic_file.is_leftover(name) for name in os.listdir(self.path))
      config_lib.require(empty, "run_dir", self.path, "must be an empty folder, a new one or that of a run")
      return
    try:
      with open(self.file("settings.json"), encoding="utf-8") as file:
        made_with = json.load(file)
    except ValueError as problem:
      raise config_lib.ConfigError(f"--run_dir={self.path}: its settings.json is damaged") from problem
    differing = [f"--{name} was {made_with.get(name)}, now {value}" for name, value in settings.items()
                 if made_with.get(name) != value]
    if differing:
      raise config_lib.ConfigError(f"--run_dir={self.path}: made with other settings ({'; '.join(differing)})")

  def claim(self, settings: Dict[str, object], flagfile_lines: List[str]) -> None:
    """Makes the folder and writes flags.txt and settings.json."""
    atomic_file.remove_leftovers(self.path)
    # settings.json first: it makes the folder that of a run, also for a command that is killed here.
    if not os.path.exists(self.file("settings.json")):
      atomic_file.write_text(self.file("settings.json"), json.dumps(settings, indent=1))
    if not os.path.exists(self.file("flags.txt")):
      atomic_file.write_text(self.file("flags.txt"), "\n".join(flagfile_lines) + "\n")

  def write_metrics(self, rows: List[dict]) -> None:
    """Writes metrics.jsonl, a line a pass."""
    atomic_file.write_text(self.file("metrics.jsonl"), "".join(json.dumps(row) + "\n" for row in rows))

  def seconds_training(self) -> float:
    """Seconds of training so far, from the log; 0 where there is none."""
    try:
      with open(self.file("metrics.jsonl"), encoding="utf-8") as file:
        return json.loads(file.readlines()[-1])["seconds"]
    except (OSError, IndexError):
      return 0.0

  def write_summary(self, summary: dict) -> None:
    """Writes summary.json."""
    atomic_file.write_text(self.file("summary.json"), json.dumps(summary, indent=1) + "\n")


def run_dir_of(values) -> str:
  """--run_dir, or runs/<dataset> (runs/<dataset>_<model> for other models than stic) where none is given."""
  if values.run_dir:
    return values.run_dir
  name = values.dataset.replace("/", "_")
  return os.path.join("runs", name if values.model == "stic" else f"{name}_{values.model}")


def classes_shown(num_classes: int) -> np.ndarray:
  """The classes a picture has rows for: all, or the first 20."""
  return np.arange(min(num_classes, _MAX_CLASSES_SHOWN))
