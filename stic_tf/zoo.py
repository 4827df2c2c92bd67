"""The zoo: run folders of trained models that hold no more than drawing needs, found by name and checked by hash."""

import hashlib
import os
import pathlib
from typing import List

from stic_tf import config as config_lib

SUMS = "SHA256SUMS"
_HOME = pathlib.Path(__file__).resolve().parents[1] / "zoo"


def names() -> List[str]:
  """Names of the models that are there."""
  return sorted({path.parent.name for path in _HOME.glob(f"*/{SUMS}")})


def find(run_dir: str, flag: str = "run_dir") -> str:
  """The folder of a run: `run_dir` where there is one, else that of the model of that name, "NAME" or "zoo/NAME".

  Args:
    run_dir: what was asked for.
    flag: by which, for the message.

  Raises:
    ConfigError: there is neither, and `run_dir` can only be the name of a model; the message lists those there are.
  """
  if os.path.lexists(os.path.expanduser(run_dir)):
    return run_dir
  parts = pathlib.PurePath(run_dir).parts
  is_name = len(parts) == 1 or len(parts) == 2 and parts[0] == "zoo"
  if is_name and (_HOME / parts[-1] / SUMS).exists():
    return str(_HOME / parts[-1])
  config_lib.require(not is_name, flag, run_dir, "is neither a folder nor a model of the zoo, which has "
                     + (", ".join(names()) or "none"))
  return run_dir


def write_sums(folder: str) -> None:
  """Writes SHA256SUMS, a line a file of the folder, as `sha256sum --check` reads it."""
  root = pathlib.Path(folder)
  files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != SUMS)
  (root / SUMS).write_text("".join(f"{_hash(path)}  {path.relative_to(root).as_posix()}\n" for path in files),
                           encoding="utf-8")


def is_model(folder: str) -> bool:
  """Whether a run folder is that of a published model: weights alone, from which nothing can be trained on."""
  return (pathlib.Path(folder) / SUMS).is_file()


def check_sums(folder: str, flag: str = "run_dir") -> None:
  """Compares the files of a folder with its SHA256SUMS; one without is no model of the zoo, and is let be.

  Raises:
    ConfigError: a file is damaged or missing.
  """
  root = pathlib.Path(folder)
  if not is_model(folder):
    return
  for line in (root / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
    its_hash, _, name = line.partition("  ")
    path = root / name
    problem = "is missing" if not path.is_file() else "is damaged" if _hash(path) != its_hash else ""
    config_lib.require(not problem, flag, folder, f"{name} {problem} ({SUMS} has another hash): get it anew")


def _hash(path: pathlib.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()
