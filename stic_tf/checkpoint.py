"""One checkpoint of a run: arrays by name and a JSON description, in one .npz without pickle."""

import json
import os
import re
from typing import Dict, List, Sequence, Tuple

import numpy as np

from stic_tf import atomic_file

_DESCRIPTION = "description"
_NAME = re.compile(r"pass_(\d{4,})\.npz")


class UnreadableCheckpoint(ValueError):
  """A checkpoint file is truncated or damaged."""


def path_of(folder: str, passes_done: int) -> str:
  """`folder`/pass_NNNN.npz."""
  return os.path.join(folder, f"pass_{passes_done:04d}.npz")


def available(folder: str) -> List[str]:
  """Paths of the checkpoints in `folder`, newest first; none where there is no folder."""
  if not os.path.isdir(folder):
    return []
  found = [(int(match.group(1)), name) for name in os.listdir(folder) if (match := _NAME.fullmatch(name))]
  return [os.path.join(folder, name) for _, name in sorted(found, reverse=True)]


def write(path: str, arrays: Dict[str, np.ndarray], description: dict) -> None:
  """Writes a checkpoint aside and renames it.

  Raises:
    OSError: it could not be written; what was at `path` is untouched.
  """
  atomic_file.write_npz(path, {**arrays, _DESCRIPTION: np.array(json.dumps(description))})


def read(path: str) -> Tuple[Dict[str, np.ndarray], dict]:
  """Reads a checkpoint whole; the zip's checksums are verified on the way.

  Returns:
    (arrays by name, description).

  Raises:
    UnreadableCheckpoint: the file is truncated or damaged.
  """
  try:
    with np.load(path, allow_pickle=False) as archive:
      arrays = {name: archive[name] for name in archive.files}
    description = json.loads(str(arrays.pop(_DESCRIPTION)))
  except Exception as problem:  # how a damaged archive fails depends on where the damage lies
    raise UnreadableCheckpoint(f"{path} is truncated or damaged ({type(problem).__name__})") from problem
  return arrays, description


def read_newest(folder: str) -> Tuple[str, Dict[str, np.ndarray], dict, List[str]]:
  """The newest checkpoint that can be read.

  Returns:
    (path, arrays, description, what was wrong with each newer one).

  Raises:
    FileNotFoundError: there is no readable checkpoint in `folder`.
  """
  problems = []
  for path in available(folder):
    try:
      return (path, *read(path), problems)
    except UnreadableCheckpoint as problem:
      problems.append(str(problem))
  raise FileNotFoundError("; ".join(problems) or f"no checkpoint in {folder}")


def collect(group: str, variables: Sequence) -> Dict[str, np.ndarray]:
  """The values of variables as the entries group/000, group/001, …"""
  return {f"{group}/{i:03d}": variable.numpy() for i, variable in enumerate(variables)}


def assign(arrays: Dict[str, np.ndarray], group: str, variables: Sequence) -> None:
  """Gives variables the values that `collect` took.

  Raises:
    ValueError: an entry is missing or of another shape.
  """
  for i, variable in enumerate(variables):
    value = arrays.get(f"{group}/{i:03d}")
    if value is None or value.shape != tuple(variable.shape):
      raise ValueError(f"checkpoint entry {group}/{i:03d} is missing or not of shape {tuple(variable.shape)}")
    variable.assign(value)
