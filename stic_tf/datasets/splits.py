"""Which images are train, validation and test. Choices are made on validation, test is reported.

The rules, the same for every run whatever its seed:
- digits: stratified by class with a seed of its own: 497 test, 180 validation, 1120 train.
- a prepared dataset with the test split its catalogue entry names: that is test; validation is the end of train.
- otherwise only the training images are used: test is their end, validation what lies before.
  A carved split has `carved_size` images, but at most a tenth of the training images.
- with at most one training image a class (on average), a class carved away would be missing from training: all three
  splits are then the same images, and whoever reports on them must say so (`memorisation`).
TFDS stores images shuffled, so the end of a split is a fair sample of it.
"""

from typing import Dict, Mapping, Tuple

import numpy as np

from stic_tf.config import ConfigError
from stic_tf.datasets.catalog import DatasetSpec

SPLITS = ("train", "validation", "test")

_DIGITS_SPLIT_SEED = 20210314
_DIGITS_TEST, _DIGITS_VALIDATION = 497, 180


def digits_indices(labels: np.ndarray) -> Dict[str, np.ndarray]:
  """Split name -> indices into scikit-learn's digits; disjoint, in mixed order, each class in proportion.

  Args:
    labels: integer [1797].
  """
  from sklearn.model_selection import train_test_split

  rest, test = train_test_split(
      np.arange(len(labels)), test_size=_DIGITS_TEST, stratify=labels, random_state=_DIGITS_SPLIT_SEED)
  train, validation = train_test_split(
      rest, test_size=_DIGITS_VALIDATION, stratify=labels[rest], random_state=_DIGITS_SPLIT_SEED)
  return {"train": train, "validation": validation, "test": test}


def tfds_slices(spec: DatasetSpec, sizes: Mapping[str, int]) -> Tuple[Dict[str, str], bool]:
  """Split name -> TFDS slice such as "train[:55000]", and whether all three are the same images.

  Args:
    spec: the dataset.
    sizes: TFDS split -> number of images, of the splits that are prepared.

  Raises:
    ConfigError: no training images, or too few to carve from.
  """
  total = sizes.get("train", 0)
  if total == 0:
    raise ConfigError(f"--dataset={spec.name}: the prepared data has no training images")
  tested = spec.test_split is not None and sizes.get(spec.test_split, 0) > 0
  if not tested and 1 < spec.num_classes and total <= spec.num_classes:
    return {split: "train" for split in SPLITS}, True
  carved = max(1, min(spec.carved_size, total // 10))
  kept = total - carved if tested else total - 2 * carved
  if kept < 1:
    raise ConfigError(f"--dataset={spec.name}: {total} training images are too few to carve a validation split from")
  return {
      "train": f"train[:{kept}]",
      "validation": f"train[{kept}:{kept + carved}]",
      "test": spec.test_split if tested else f"train[{kept + carved}:]",
  }, False
