"""The catalogue answers by name, and refuses with one line that says what is allowed."""

import dataclasses

import pytest

from stic_tf.config import ConfigError
from stic_tf.datasets.catalog import CATALOG
from stic_tf.datasets.catalog import lookup

NAMES = ("digits", "mnist", "cifar10", "svhn_cropped", "lsun/church", "imagenet_resized/64x64", "imagenet2012")


def test_the_promised_datasets_are_there():
  assert tuple(CATALOG) == NAMES
  assert all(lookup(name).name == name for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_is_consistent(name):
  spec = lookup(name)
  assert len(spec.class_names) in (0, spec.num_classes)
  assert len(set(spec.class_names)) == len(spec.class_names)
  assert (spec.tfds_name is None) == (name == "digits")
  assert spec.tfds_name is None or spec.download_url or spec.manual_files


@pytest.mark.parametrize("name", ["digits", "mnist", "svhn_cropped"])
def test_digits_are_never_mirrored(name):
  assert not lookup(name).flip


def test_an_entry_cannot_be_changed():
  with pytest.raises(dataclasses.FrozenInstanceError):
    lookup("mnist").num_classes = 11


@pytest.mark.parametrize("name", ["foo", "", "MNIST", "imagenet_resized"])
def test_an_unknown_dataset_names_the_flag_and_all_that_is_allowed(name):
  with pytest.raises(ConfigError) as error:
    lookup(name)
  message = str(error.value)
  assert message.startswith(f"dataset={name}: must be one of ") and "\n" not in message
  assert all(known in message for known in NAMES)
