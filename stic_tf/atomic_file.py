"""Files written aside and renamed: a reader, or a run that was killed, never sees half of one."""

import contextlib
import os
import tempfile
from typing import BinaryIO, Iterator


@contextlib.contextmanager
def replace(path: str) -> Iterator[BinaryIO]:
  """Opens a file beside `path` for writing and, where the block ends well, renames it to `path`.

  Raises:
    OSError: the disk is full or the folder cannot be written; `path` is then as it was, and nothing is left behind.
  """
  folder = os.path.dirname(os.path.abspath(path))
  os.makedirs(folder, exist_ok=True)
  handle, aside = tempfile.mkstemp(prefix=os.path.basename(path) + ".", suffix=".tmp", dir=folder)
  try:
    with os.fdopen(handle, "wb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.chmod(aside, 0o644)
    os.replace(aside, path)
  except BaseException:
    with contextlib.suppress(FileNotFoundError):
      os.unlink(aside)
    raise


def write_text(path: str, text: str) -> None:
  """Writes `text` as UTF-8."""
  with replace(path) as file:
    file.write(text.encode())
