"""The run folder: every name in it, what it is made with, its log and its summary. No TensorFlow."""

import json
import os
from typing import Dict, List, Optional

from stic_tf import atomic_file
from stic_tf import config as config_lib
from stic_tf import registries


class RunFolder:
  """Paths and files of one run. Nothing is written before `claim`."""

  def __init__(self, path: str):
    self.path = os.path.expanduser(path)
    self.checkpoints = os.path.join(self.path, "checkpoints")
    self.tensorboard = os.path.join(self.path, "tensorboard")

  def file(self, *names: str) -> str:
    return os.path.join(self.path, *names)

  def check_settings(self, settings: Dict[str, object], defaults: Dict[str, object]) -> None:
    """Refuses a folder that was made with other settings.

    Args:
      settings: of this training.
      defaults: what those that are no part of a RunConfig were before there was a choice.

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
    # A setting that came later has its default in what was begun before.
    made_with = {**config_lib.RunConfig().flat(), **defaults, **made_with}
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

  def rows(self) -> List[dict]:
    """The lines of metrics.jsonl, none where it is not there."""
    return [json.loads(line) for line in (self.text("metrics.jsonl") or "").splitlines()]

  def text(self, name: str) -> Optional[str]:
    """A file of the run, None where it cannot be read."""
    try:
      with open(self.file(name), encoding="utf-8") as file:
        return file.read()
    except OSError:
      return None

  def json(self, name: str):
    """A JSON file of the run, None where it cannot be read."""
    try:
      return json.loads(self.text(name) or "null")
    except ValueError:
      return None

  def settings(self) -> Dict[str, object]:
    """What the run was made with, by flag name; {} where that cannot be read."""
    found = self.json("settings.json")
    return found if isinstance(found, dict) else {}

  def is_finished(self) -> bool:
    """Whether it was trained to its end: one that was evaluated before has a summary too, of fewer passes."""
    summary = self.json("summary.json")
    return summary is not None and summary.get("passes") in (None, self.settings().get("num_passes"))

  def write_summary(self, summary: dict) -> None:
    """Writes summary.json."""
    atomic_file.write_text(self.file("summary.json"), json.dumps(summary, indent=1) + "\n")


def default_path(dataset: str, model: str) -> str:
  """runs/<dataset>, with what the system adds."""
  return os.path.join("runs", dataset.replace("/", "_") + registries.SYSTEMS[model].suffix)
