"""One checkpoint of a run: arrays by the names of their variables and a JSON description, an .npz without pickle."""

import json
import os
import re
from typing import Dict, List, Mapping, Tuple

import numpy as np

from stic_tf import atomic_file
from stic_tf.config import ConfigError

# Goes up when what is saved, or what it is called, changes. 1 numbered its arrays.
FORMAT = 2
_DESCRIPTION = "description"
_NAME = re.compile(r"pass_(\d{4,})(?:_update_(\d{6,}))?\.npz")


class UnreadableCheckpoint(ValueError):
  """A checkpoint file is truncated or damaged."""


def path_of(folder: str, passes_done: int, updates: int = 0) -> str:
  """`folder`/pass_NNNN.npz after a pass, pass_NNNN_update_NNNNNN.npz after some updates of the next one."""
  return os.path.join(folder, f"pass_{passes_done:04d}" + (f"_update_{updates:06d}" if updates else "") + ".npz")


def available(folder: str) -> List[str]:
  """Paths of the checkpoints in `folder`, newest first; none where there is no folder."""
  if not os.path.isdir(folder):
    return []
  found = [(int(match.group(1)), int(match.group(2) or 0), name) for name in os.listdir(folder)
           if (match := _NAME.fullmatch(name))]
  return [os.path.join(folder, name) for *_, name in sorted(found, reverse=True)]


def write(path: str, arrays: Dict[str, np.ndarray], description: dict) -> None:
  """Writes a checkpoint aside and renames it.

  Raises:
    OSError: it could not be written; what was at `path` is untouched.
  """
  atomic_file.write_npz(path, {**arrays, _DESCRIPTION: np.array(json.dumps({**description, "format": FORMAT}))})


def read(path: str) -> Tuple[Dict[str, np.ndarray], dict]:
  """Reads a checkpoint whole; the zip's checksums are verified on the way.

  Returns:
    (arrays by name, description).

  Raises:
    UnreadableCheckpoint: the file is truncated or damaged.
    ConfigError: it is whole, but of another format, or no checkpoint of this project.
  """
  try:
    with np.load(path, allow_pickle=False) as archive:
      # No entry has a comment: where one seems to, a bit of its length has flipped and hides the entries behind it.
      if any(entry.comment for entry in archive.zip.infolist()):
        raise ValueError("hidden entries")
      arrays = {name: archive[name] for name in archive.files}
    found = arrays.pop(_DESCRIPTION, None)
    description = None if found is None else json.loads(str(found))
  except Exception as problem:  # how a damaged archive fails depends on where the damage lies
    raise UnreadableCheckpoint(f"{path} is truncated or damaged ({type(problem).__name__})") from problem
  if description is None:
    raise ConfigError(f"{path} is no checkpoint of this project: it lacks a description. Take it out of the folder")
  made_in = description.pop("format", 1)
  if made_in != FORMAT:
    raise ConfigError(f"{path} has checkpoint format {made_in}, and this version reads format {FORMAT}: use the "
                      "version that made it, or train again into another --run_dir")
  return arrays, description


def read_newest(folder: str) -> Tuple[str, Dict[str, np.ndarray], dict, List[str]]:
  """The newest checkpoint that can be read.

  Returns:
    (path, arrays, description, what was wrong with each newer one).

  Raises:
    FileNotFoundError: there is no readable checkpoint in `folder`.
    ConfigError: the newest that is whole is of another format.
  """
  problems = []
  for path in available(folder):
    try:
      return (path, *read(path), problems)
    except UnreadableCheckpoint as problem:
      problems.append(str(problem))
  raise FileNotFoundError("; ".join(problems) or f"no checkpoint in {folder}")


def collect(variables: Mapping[str, object]) -> Dict[str, np.ndarray]:
  """The values of variables by name."""
  return {name: variable.numpy() for name, variable in variables.items()}


def assign(arrays: Mapping[str, np.ndarray], variables: Mapping[str, object]) -> None:
  """Gives variables the values under their names; those of another precision are converted.

  Raises:
    ValueError: one is missing or of another shape; no variable has changed then.
  """
  for name, variable in variables.items():
    if name not in arrays or arrays[name].shape != tuple(variable.shape):
      raise ValueError(f"checkpoint entry {name} is missing or not of shape {tuple(variable.shape)}")
  for name, variable in variables.items():
    variable.assign(arrays[name].astype(variable.dtype.as_numpy_dtype, copy=False))
