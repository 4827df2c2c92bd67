"""Arranges images in a grid, and writes pictures."""

from typing import Sequence

import numpy as np
from PIL import Image
from PIL import ImageDraw

from stic_tf import atomic_file

_SMALLEST_CELL = 32  # pixels; smaller images are enlarged by a whole factor


def make_grid(images: np.ndarray, columns: int, scale: int = 0) -> np.ndarray:
  """Images row by row, enlarged where small, with a line between cells.

  Args:
    images: uint8 [N, H, W, C], C 1 or 3.
    columns: images a row; the last row may be left short.
    scale: pixels a side for each pixel of an image; 0 for as many as show it.

  Returns:
    uint8 [height, width, C].
  """
  count, height, width, channels = images.shape
  rows = -(-count // columns)
  scale = scale or max(1, _SMALLEST_CELL // height)
  cell_height, cell_width = height * scale + 2, width * scale + 2
  grid = np.full([rows * cell_height, columns * cell_width, channels], 96, np.uint8)
  for i, image in enumerate(images):
    top, left = i // columns * cell_height + 1, i % columns * cell_width + 1
    grid[top:top + height * scale, left:left + width * scale] = image.repeat(scale, 0).repeat(scale, 1)
  return grid


def tile_map(values: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
  """Values of tiles as pictures, white the largest of each: float [N, M] -> uint8 [N, H, W, C]."""
  count, tiles = values.shape
  side = int(round(tiles ** 0.5))
  shades = (255 * values / np.maximum(values.max(1, keepdims=True), 1e-12)).round().astype(np.uint8)
  height, width, channels = image_shape
  maps = shades.reshape(count, side, side, 1).repeat(height // side, 1).repeat(width // side, 2)
  return maps.repeat(channels, 3)


def with_names(picture: np.ndarray, names: Sequence[str]) -> np.ndarray:
  """A grid [height, width, C] with a name left of each row: uint8 [height, width + margin, C]."""
  height, _, channels = picture.shape
  margin = Image.new("RGB" if channels == 3 else "L", (8 + 7 * max(len(name) for name in names), height))
  pen = ImageDraw.Draw(margin)
  for number, name in enumerate(names):
    pen.text((4, int((number + 0.5) * height / len(names)) - 6), name, fill="white")
  return np.concatenate([np.asarray(margin).reshape(height, -1, channels), picture], axis=1)


def write_gif(path: str, pictures: Sequence[np.ndarray], milliseconds: int = 80) -> None:
  """Writes pictures uint8 [H, W, 1 or 3] as an endless animation, aside and renamed; the last one stays two seconds."""
  frames = [Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture) for picture in pictures]
  durations = [milliseconds] * (len(frames) - 1) + [2000]
  with atomic_file.replace(path) as file:
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def write_png(path: str, picture: np.ndarray) -> None:
  """Writes uint8 [H, W, 1 or 3] as PNG, aside and renamed."""
  picture = picture[..., 0] if picture.shape[-1] == 1 else picture
  with atomic_file.replace(path) as file:
    Image.fromarray(picture).save(file, format="PNG")
