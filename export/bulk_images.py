"""The images that a bulk command classifies: the split of a data set, or the picture files of a folder."""

import functools
import hashlib
import os
from typing import Optional, Sequence, Tuple

import numpy as np

from stic_tf import picture_file
from stic_tf.config import require

_FORMATS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")


@functools.lru_cache(maxsize=1)
def of_dataset(name: str, split: str, data_dir: Optional[str]) -> Tuple[np.ndarray, np.ndarray]:
  """(uint8 [N, H, W, C], labels int [N]) of a split; a process reads it once.

  Raises:
    ConfigError: no such data set or split, or one that does not fit in memory.
  """
  from stic_tf.datasets import dataset
  loaded = dataset.load(name, data_dir)
  require(split in loaded.sizes, "split", split, "must be one of " + ", ".join(sorted(loaded.sizes)))
  require(loaded.in_memory, "dataset", name, "does not fit in memory; write what you need of it as --images=FOLDER")
  return loaded.arrays(split)


@functools.lru_cache(maxsize=1)
def files(folder: str) -> Tuple[str, ...]:
  """The picture files of a folder and of those within it, in order of their paths; a process looks once.

  Raises:
    ConfigError: there are none.
  """
  root = os.path.expanduser(folder)
  found = tuple(sorted(os.path.join(where, name) for where, _, names in os.walk(root) for name in names
                       if name.lower().endswith(_FORMATS)))
  require(bool(found), "images", folder, "holds no picture files")
  return found


def source(folder: str) -> str:
  """What a folder of picture files is, for a request: its path, and a hash of its files' names, sizes and times."""
  root, found = os.path.abspath(os.path.expanduser(folder)), hashlib.sha256()
  for path in files(folder):
    about = os.stat(path)
    name = os.path.relpath(path, os.path.expanduser(folder))
    found.update(f"{name}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
  return f"{root} {found.hexdigest()[:16]}"


def read(paths: Sequence[str], image_shape: Sequence[int]) -> np.ndarray:
  """Picture files as the client reads them: uint8 [B, H, W, C].

  Raises:
    ConfigError: a file that is no picture.
  """
  return np.stack([picture_file.read(path, image_shape, "images")[0] for path in paths])
