"""Arranges images in a grid, and writes pictures."""

import numpy as np
from PIL import Image

from stic_tf import atomic_file

_SMALLEST_CELL = 32  # pixels; smaller images are enlarged by a whole factor


def make_grid(images: np.ndarray, columns: int) -> np.ndarray:
  """Images row by row, enlarged where small, with a line between cells.

  Args:
    images: uint8 [N, H, W, C], C 1 or 3.
    columns: images a row; the last row may be left short.

  Returns:
    uint8 [height, width, C].
  """
  count, height, width, channels = images.shape
  rows = -(-count // columns)
  scale = max(1, _SMALLEST_CELL // height)
  cell_height, cell_width = height * scale + 2, width * scale + 2
  grid = np.full([rows * cell_height, columns * cell_width, channels], 96, np.uint8)
  for i, image in enumerate(images):
    top, left = i // columns * cell_height + 1, i % columns * cell_width + 1
    grid[top:top + height * scale, left:left + width * scale] = image.repeat(scale, 0).repeat(scale, 1)
  return grid


def write_png(path: str, picture: np.ndarray) -> None:
  """Writes uint8 [H, W, 1 or 3] as PNG, aside and renamed."""
  picture = picture[..., 0] if picture.shape[-1] == 1 else picture
  with atomic_file.replace(path) as file:
    Image.fromarray(picture).save(file, format="PNG")
