"""Which preconditioner a name and an image's size mean."""

from typing import Sequence

import numpy as np

from stic_tf import config as config_lib
from stic_tf import registries
from stic_tf.preconditioners import base
from stic_tf.preconditioners import statistics as statistics_lib

# Above this many numbers an image, products with a full factor would cost a third of the network's own forward and
# backward pass.
FULL_RANK_LIMIT = 1024


def build(name: str, image_shape: Sequence[int], levels: bool = False) -> base.Preconditioner:
  """The preconditioner called `name`, to be given its moments by `fit`.

  Args:
    name: a name of registries.PRECONDITIONERS, or "gram": dense up to FULL_RANK_LIMIT numbers an image, low-rank up to
      statistics.DENSE_LIMIT, spectral above.
    image_shape: (H, W, C).
    levels: whether it must know every noise level; "gram" is then spectral from FULL_RANK_LIMIT on.

  Raises:
    ConfigError: "dense" or "low_rank" for images of too many numbers or too few, or a kind that does not come with
      levels.
  """
  size = int(np.prod(image_shape))
  config_lib.require(name != "dense" or size <= statistics_lib.DENSE_LIMIT, "preconditioner", name,
                     f"takes images of at most {statistics_lib.DENSE_LIMIT} numbers")
  config_lib.require(name != "low_rank" or statistics_lib.RANK < size <= statistics_lib.DENSE_LIMIT, "preconditioner",
                     name, f"takes images of {statistics_lib.RANK + 1} to {statistics_lib.DENSE_LIMIT} numbers")
  if name == "gram":
    small = size <= FULL_RANK_LIMIT
    name = "dense" if small else "spectral" if levels or size > statistics_lib.DENSE_LIMIT else "low_rank"
  registry = registries.LEVEL_PRECONDITIONERS if levels else registries.PRECONDITIONERS
  config_lib.require(name in registry, "preconditioner", name, "must be one of " + ", ".join(["gram", *registry]))
  return registry.load(name)(image_shape)
