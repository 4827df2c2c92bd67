"""Grids of images, and the pictures they become."""

import os

import numpy as np
import PIL.Image
import pytest

from stic_tf import grid


def _images(count, side, channels):
  """Image i is all i + 1."""
  values = np.arange(1, count + 1, dtype=np.uint8)[:, np.newaxis, np.newaxis, np.newaxis]
  return np.broadcast_to(values, [count, side, side, channels])


@pytest.mark.parametrize("side, shown", [(8, 32), (28, 28), (32, 32), (64, 64), (20, 20), (10, 30)])
def test_small_images_are_enlarged_by_a_whole_factor(side, shown):
  picture = grid.make_grid(_images(6, side, 3), columns=3)
  assert picture.dtype == np.uint8 and picture.shape == (2 * (shown + 2), 3 * (shown + 2), 3)


def test_images_go_row_by_row_with_lines_between():
  picture = grid.make_grid(_images(5, 32, 1), columns=3)[..., 0]
  cells = picture.reshape(2, 34, 3, 34).swapaxes(1, 2)
  inside = cells[:, :, 1:-1, 1:-1]
  np.testing.assert_array_equal(inside.min((2, 3)), inside.max((2, 3)))
  # The place of the sixth stays empty.
  np.testing.assert_array_equal(inside[:, :, 0, 0], [[1, 2, 3], [4, 5, cells[0, 0, 0, 0]]])
  assert len(np.unique(cells[:, :, 0])) == 1


def test_pixels_keep_their_place():
  image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
  np.testing.assert_array_equal(grid.make_grid(image, 1)[1:33:4, 1:33:4], image[0])


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_a_picture_survives_its_file(tmp_path, channels, mode):
  picture = np.random.default_rng(0).integers(0, 256, [20, 30, channels], np.uint8)
  grid.write_png(str(tmp_path / "new" / "x.png"), picture)
  read = PIL.Image.open(tmp_path / "new" / "x.png")
  assert (read.format, read.mode) == ("PNG", mode)
  np.testing.assert_array_equal(np.asarray(read).reshape(picture.shape), picture)
  assert os.listdir(tmp_path / "new") == ["x.png"]


def test_an_animation_shows_every_picture(tmp_path):
  pictures = np.random.default_rng(0).integers(0, 256, [5, 12, 10, 1], np.uint8)
  grid.write_gif(str(tmp_path / "x.gif"), pictures, milliseconds=70)
  with PIL.Image.open(tmp_path / "x.gif") as animation:
    assert animation.n_frames == 5 and animation.info["loop"] == 0
    durations = []
    for number, picture in enumerate(pictures):
      animation.seek(number)
      durations.append(animation.info["duration"])
      np.testing.assert_array_equal(np.asarray(animation.convert("L")), picture[..., 0])
  assert durations == [70] * 4 + [2000] and os.listdir(tmp_path) == ["x.gif"]


def test_tiles_are_shown_where_they_are():
  maps = grid.tile_map(np.array([[0.0, 1.0, 2.0, 4.0], [3.0, 0.0, 0.0, 0.0]]), (6, 4, 3))
  assert maps.shape == (2, 6, 4, 3) and maps.dtype == np.uint8
  np.testing.assert_array_equal(maps[:, ::3, ::2, 0], [[[0, 64], [128, 255]], [[255, 0], [0, 0]]])
  np.testing.assert_array_equal(maps[0, 3:, 2:], 255)


@pytest.mark.parametrize("channels", [1, 3])
def test_names_stand_left_of_their_rows(channels):
  picture = grid.make_grid(_images(4, 32, channels), columns=2)
  named = grid.with_names(picture, ["one", "another"])
  margin = named.shape[1] - picture.shape[1]
  np.testing.assert_array_equal(named[:, margin:], picture)
  assert named[:34, :margin].max() > 128 and named[34:, :margin].max() > 128
