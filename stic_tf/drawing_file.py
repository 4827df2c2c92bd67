"""Drawings as the file that a command was asked for: a PNG grid, an npz or an animation. No TensorFlow."""

import os

import numpy as np

from stic_tf import atomic_file
from stic_tf import config as config_lib
from stic_tf import grid

_ARRAYS = ("images", "class_weights", "seeds", "log_density", "probabilities")
MAX_IMAGES = 1_000_000
MAX_SCALE = 64


def check_request(out: str, num_images: int, scale: int) -> None:
  """Raises ConfigError for an --out of another ending than .png and .npz, or where nothing can be written, and for
  --num_images or --scale out of range.
  """
  config_lib.require(out.endswith((".png", ".npz")), "out", out, "must end in .png or .npz")
  check_folder("out", out)
  config_lib.require(1 <= num_images <= MAX_IMAGES, "num_images", num_images, f"must lie in 1..{MAX_IMAGES}")
  config_lib.require(0 <= scale <= MAX_SCALE, "scale", scale, f"must lie in 0..{MAX_SCALE}")


def check_folder(flag: str, path: str) -> None:
  """Raises ConfigError, by the flag's name, where no file can be written to `path`."""
  folder = os.path.dirname(os.path.abspath(path))
  while not os.path.exists(folder):  # it is made
    folder = os.path.dirname(folder)
  config_lib.require(os.path.isdir(folder) and os.access(folder, os.W_OK), flag, path,
                     f"cannot be written: {folder} takes no files")


def write(out: str, drawings, scale: int = 0) -> None:
  """Writes `drawing_classifier.Drawings` to FILE.npz, each array under its name, or FILE.png, a row a class.

  `scale` is that of `grid.make_grid`.

  Raises:
    OSError: it could not be written; what was at `out` is untouched.
  """
  if out.endswith(".npz"):
    atomic_file.write_npz(out, {name: getattr(drawings, name) for name in _ARRAYS})
    return
  order, columns = _arrangement(drawings)
  grid.write_png(out, grid.make_grid(drawings.images[order], columns, scale))


def write_frames(out: str, drawings, scale: int = 0) -> None:
  """Writes the frames of `Drawings` to FILE.gif, arranged as in the PNG."""
  order, columns = _arrangement(drawings)
  grid.write_gif(out, [grid.make_grid(frame, columns, scale) for frame in drawings.frames[order].swapaxes(0, 1)])


def _arrangement(drawings):
  """(order, columns) of a grid: a row a class where there are several, so that classes do not alternate along a row."""
  labels = drawings.class_weights.argmax(1)
  num_rows = len(np.unique(labels))
  columns = len(labels) // num_rows if len(labels) % num_rows == 0 and num_rows > 1 else min(8, len(labels))
  order = np.argsort(labels, kind="stable")
  # Of many a class has several rows, which it shares with no other where some width divides its number.
  return order, next((width for width in range(min(columns, 32), 7, -1) if columns % width == 0), min(columns, 32))
