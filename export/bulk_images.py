"""The images that a bulk command classifies: the split of a data set, or the picture files of a folder."""

import functools
import os
from typing import Optional, Sequence, Tuple

import numpy as np
from PIL import Image
from PIL import ImageOps

from stic_tf.config import ConfigError
from stic_tf.config import require

_FORMATS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")


@functools.lru_cache(maxsize=1)
def of_dataset(name: str, split: str, data_dir: Optional[str]) -> Tuple[np.ndarray, np.ndarray]:
  """(uint8 [N, H, W, C], labels int [N]) of a split; a process reads it once."""
  from stic_tf.datasets import dataset
  loaded = dataset.load(name, data_dir)
  require(split in loaded.sizes, "split", split, "must be one of " + ", ".join(sorted(loaded.sizes)))
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


def read(paths: Sequence[str], image_shape: Sequence[int]) -> np.ndarray:
  """Pictures of any size and mode as uint8 [B, H, W, C]: the centre, resized; grey or in colour as the model has it.

  Raises:
    ConfigError: a file that is no picture.
  """
  height, width, channels = image_shape
  images = np.zeros([len(paths), height, width, channels], np.uint8)
  for place, path in enumerate(paths):
    try:
      with Image.open(path) as picture:
        picture = ImageOps.exif_transpose(picture).convert("L" if channels == 1 else "RGB")
        images[place] = np.asarray(ImageOps.fit(picture, (width, height))).reshape(height, width, channels)
    except (OSError, ValueError, Image.DecompressionBombError) as problem:
      raise ConfigError(f"--images: {path} is not a picture that can be read ({problem})") from problem
  return images
