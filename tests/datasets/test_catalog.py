"""The catalogue answers by name, and refuses with one line that says what is allowed."""

import dataclasses

import pytest

from stic_tf.config import ConfigError
from stic_tf.datasets.catalog import CATALOG
from stic_tf.datasets.catalog import lookup
from stic_tf.datasets.catalog import parse_class

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


@pytest.mark.parametrize("dataset, text, label", [
    ("mnist", "3", 3), ("mnist", " 0 ", 0), ("cifar10", "9", 9), ("cifar10", "cat", 3), ("cifar10", "Truck", 9),
    ("lsun/church", "church_outdoor", 0), ("imagenet2012", "999", 999)])
def test_a_class_is_found_by_index_or_name(dataset, text, label):
  assert parse_class(lookup(dataset), text) == label


@pytest.mark.parametrize("dataset, text", [
    ("mnist", "10"), ("mnist", "-1"), ("mnist", "3.0"), ("mnist", ""), ("mnist", "³"), ("cifar10", "lion"),
    ("lsun/church", "1"), ("imagenet2012", "1000"), ("imagenet2012", "n01440764")])
def test_an_unknown_class_names_the_flag_and_what_is_allowed(dataset, text):
  with pytest.raises(ConfigError) as error:
    parse_class(lookup(dataset), text)
  message = str(error.value)
  assert message.startswith(f"classes={text}: must be a class of {dataset}: 0") and "\n" not in message


def test_the_error_lists_class_names_but_not_a_thousand():
  with pytest.raises(ConfigError, match="airplane, .*truck"):
    parse_class(lookup("cifar10"), "lion")
  named = dataclasses.replace(lookup("imagenet2012"), class_names=tuple(f"n{i:08d}" for i in range(1000)))
  assert parse_class(named, "N00000007") == 7
  with pytest.raises(ConfigError) as error:
    parse_class(named, "lion")
  assert len(str(error.value)) < 200


def test_the_flag_in_the_error_can_be_another():
  with pytest.raises(ConfigError, match="^class_weights=12: "):
    parse_class(lookup("mnist"), "12", flag="class_weights")
