"""Any picture file as pixels of the size and channels that a model takes."""

import warnings
from typing import Sequence, Tuple

import numpy as np
import PIL.Image
import PIL.ImageOps

from stic_tf.config import ConfigError
from stic_tf.config import require


def read(path: str, image_shape: Sequence[int], flag: str, no_resize: bool = False) -> Tuple[np.ndarray, str]:
  """Reads a file, turned upright, on white where it is transparent, in grey or in colours, resized.

  Args:
    path: of a file that Pillow reads, of at most 89 million pixels.
    image_shape: (H, W, C), C 1 or 3.
    flag: named in errors.
    no_resize: refuse another size.

  Returns:
    uint8 [H, W, C], and what was done to it in words, empty where nothing was.

  Raises:
    ConfigError: it cannot be read, or has another size.
  """
  height, width, channels = image_shape
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
      with PIL.Image.open(path) as file:
        image = PIL.ImageOps.exif_transpose(file)
        image.load()
  except Exception as problem:  # Pillow's plugins raise whatever a damaged file leads to
    raise ConfigError(f"--{flag}={path}: cannot be read as an image ({problem})") from problem
  was, mode = image.size, "L" if channels == 1 else "RGB"
  require(not no_resize or was == (width, height), flag, path,
          f"is {was[0]}×{was[1]} pixels, must be {width}×{height}")
  changes = []
  if image.mode not in (mode, "1", "P"):
    changes.append("converted to " + ("grey" if channels == 1 else "colours"))
  image = _eight_bits(image).convert(mode)
  if was != (width, height):
    image = image.resize((width, height), PIL.Image.Resampling.LANCZOS)
    changes.append(f"resized to {width}×{height} from {was[0]}×{was[1]} pixels")
  return np.asarray(image).reshape(image_shape), ", ".join(changes)


def _eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
  """An opaque image of 8 bits a channel; Pillow itself would clip 16 bits and show what is transparent."""
  if image.mode.startswith(("I", "F")):
    values = np.asarray(image, np.float64)
    largest = 65535.0 if values.max(initial=0) > 255 else 255.0
    return PIL.Image.fromarray((values.clip(0, largest) * 255.0 / largest).round().astype(np.uint8))
  if "A" in image.mode or "transparency" in image.info:
    image = image.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
  return image
