"""Train, validation and test never share an image, and are the same for every run."""

import itertools

import numpy as np
import pytest

from stic_tf.config import ConfigError
from stic_tf.datasets.catalog import lookup
from stic_tf.datasets.pipeline import load
from stic_tf.datasets.splits import digits_indices
from stic_tf.datasets.splits import tfds_slices


def test_digits_split_is_a_partition_of_the_promised_sizes():
  labels = np.arange(1797) % 10
  splits = digits_indices(labels)
  assert {name: len(indices) for name, indices in splits.items()} == {"train": 1120, "validation": 180, "test": 497}
  np.testing.assert_array_equal(np.sort(np.concatenate(list(splits.values()))), np.arange(1797))


def test_digits_split_holds_each_class_in_proportion():
  dataset = load("digits")
  everywhere = np.bincount(np.concatenate([dataset.arrays(split)[1] for split in dataset.sizes])) / 1797
  for split, size in dataset.sizes.items():
    counts = np.bincount(dataset.arrays(split)[1], minlength=10)
    np.testing.assert_allclose(counts, everywhere * size, atol=1.0)


def test_digits_split_does_not_follow_the_global_seed():
  labels = np.arange(1797) % 10
  np.random.seed(1)
  first = digits_indices(labels)
  np.random.seed(2)
  second = digits_indices(labels)
  assert all(np.array_equal(first[split], second[split]) for split in first)


@pytest.mark.parametrize("name, sizes, expected", [
    ("mnist", {"train": 60000, "test": 10000}, ("train[:55000]", "train[55000:60000]", "test")),
    ("cifar10", {"train": 50000, "test": 10000}, ("train[:45000]", "train[45000:50000]", "test")),
    ("svhn_cropped", {"train": 73257, "test": 26032, "extra": 531131}, ("train[:68257]", "train[68257:73257]", "test")),
    ("imagenet_resized/64x64", {"train": 1281167, "validation": 50000},
     ("train[:1271167]", "train[1271167:1281167]", "validation")),
    ("lsun/church", {"train": 126227, "validation": 300}, ("train[:116227]", "train[116227:121227]", "train[121227:]")),
    ("mnist", {"train": 1000}, ("train[:800]", "train[800:900]", "train[900:]")),
    ("mnist", {"train": 100, "test": 5}, ("train[:90]", "train[90:100]", "test")),
])
def test_slices_of_prepared_data(name, sizes, expected):
  slices, memorisation = tfds_slices(lookup(name), sizes)
  assert tuple(slices[split] for split in ("train", "validation", "test")) == expected
  assert not memorisation


def test_one_image_a_class_is_shared_by_all_splits_and_says_so():
  slices, memorisation = tfds_slices(lookup("imagenet_resized/64x64"), {"train": 1000})
  assert memorisation and set(slices.values()) == {"train"}
  _, memorisation = tfds_slices(lookup("imagenet_resized/64x64"), {"train": 1001})
  assert not memorisation


@pytest.mark.parametrize("sizes", [{}, {"test": 10}, {"train": 1, "test": 10}])
def test_too_little_data_is_refused(sizes):
  with pytest.raises(ConfigError, match="^dataset=mnist: "):
    tfds_slices(lookup("mnist"), sizes)


def test_no_image_of_digits_is_in_two_splits():
  dataset = load("digits")
  seen = {split: {image.tobytes() for image in dataset.arrays(split)[0]} for split in dataset.sizes}
  for one, other in itertools.combinations(seen.values(), 2):
    assert not one & other
