"""Files written aside and renamed: a reader, or a run that was killed, never sees half of one."""

import contextlib
import errno
import os
import tempfile
import zipfile
from typing import BinaryIO, Dict, Iterator, Optional

import numpy as np

_ASIDE = ".tmp"


@contextlib.contextmanager
def aside(path: str) -> Iterator[str]:
  """Gives the path of an empty file beside `path` to write to and, where the block ends well, renames it to `path`.

  Raises:
    OSError: the disk is full or the folder cannot be written; `path` is then as it was, and nothing is left behind.
  """
  folder = os.path.dirname(os.path.abspath(path))
  os.makedirs(folder, exist_ok=True)
  handle, name = tempfile.mkstemp(prefix=os.path.basename(path) + ".", suffix=_ASIDE, dir=folder)
  os.close(handle)
  try:
    yield name
    with open(name, "rb") as file:
      os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, path)
  except BaseException:
    with contextlib.suppress(FileNotFoundError):
      os.unlink(name)
    raise


@contextlib.contextmanager
def replace(path: str) -> Iterator[BinaryIO]:
  """Opens a file beside `path` for writing and, where the block ends well, renames it to `path`; errors as `aside`."""
  with aside(path) as name, open(name, "wb") as file:
    yield file
    file.flush()


def write_text(path: str, text: str) -> None:
  """Writes `text` as UTF-8."""
  with replace(path) as file:
    file.write(text.encode())


def write_npz(path: str, arrays: Dict[str, np.ndarray]) -> None:
  """Writes what `numpy.savez` would, which on a full disk leaves its archive open and complains of that later."""
  with replace(path) as file, zipfile.ZipFile(file, "w") as archive:
    for name, array in arrays.items():
      with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def is_leftover(name: str) -> bool:
  """Whether a file of that name is half of one, left by a process that was killed."""
  return name.endswith(_ASIDE)


def remove_leftovers(folder: str) -> None:
  """Deletes what killed processes left in `folder`; no file of the folder may be in the making."""
  for name in os.listdir(folder) if os.path.isdir(folder) else []:
    if is_leftover(name):
      with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, name))


def is_disk_full(problem: OSError) -> bool:
  """Whether a write failed for want of space: the disk's, a quota's or a limit's."""
  return problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def why_unwritable(problem: OSError) -> Optional[str]:
  """Why the user's choice of a path could not be written; None where a failed write has another cause."""
  if is_disk_full(problem):
    return "the disk is full"
  unwritable = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
  return "cannot be written" if problem.errno in unwritable else None
