"""What a system accepts: networks that can be trained and drawn from, and images in range."""

import numpy as np
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.datasets import pixel_range

_STATISTICS_IMAGES = 10000
_LARGEST_PIXEL = 1.01  # 1, and what resizing makes of it


def check_network(network) -> None:
  """Raises ConfigError for a network that cannot be drawn from, or whose training would leave something out."""
  name = getattr(network, "name", "function")
  for layer in getattr(network, "submodules", ()):
    # An image's logits must not depend on the images beside it, and an average has none of their moments.
    config_lib.require(not hasattr(layer, "moving_mean"), "network", layer.name,
                       "must not have batch statistics; use group or layer normalisation, or SkipInit")
  config_lib.require(not getattr(network, "losses", ()), "network", name,
                     "has losses of its own (regularizers, add_loss), which the updates here do not read; "
                     "weight_decay is a setting")
  for output in getattr(network, "outputs", None) or ():
    config_lib.require(output.dtype == tf.float32, "network", name, f"gives {output.dtype.name}: an accept "
                       "test needs energies in float32; give its last layers dtype=\"float32\"")


def some_images(images) -> np.ndarray:
  """Up to 10,000 images, the first of a data set or from all over an array, as float32 in [-1, 1]."""
  if isinstance(images, tf.data.Dataset):
    kept, count = [], 0
    for batch in images:
      kept.append(np.asarray(batch["generative_images"] if isinstance(batch, dict) else batch[0]))
      count += len(kept[-1])
      if count >= _STATISTICS_IMAGES:
        break
    images = np.concatenate(kept)[:_STATISTICS_IMAGES]
  images = images[::-(-len(images) // _STATISTICS_IMAGES) or 1]  # an array may be in order of its classes
  images = np.asarray(images)
  config_lib.require(len(images) > 1, "images", len(images), "must be two or more, for their moments")
  if images.dtype == np.uint8:
    return pixel_range.from_uint8(images).numpy()
  largest = float(np.abs(images).max(initial=0))
  config_lib.require(largest <= _LARGEST_PIXEL, "images", f"|x| up to {largest:g}",
                     "must be uint8, or float in [-1, 1]")
  return images.astype(np.float32)
