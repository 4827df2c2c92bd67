"""Loading: digits, prepared TFDS folders (small ones written here, real ones where at hand), and refusals."""

import os
import shutil
import socket

import numpy as np
import pytest

from stic_tf.config import ConfigError
from stic_tf.datasets import dataset as dataset_module
from stic_tf.datasets import share
from stic_tf.datasets import source
from stic_tf.datasets import tfds_reader
from stic_tf.datasets.dataset import load


@pytest.fixture
def no_network(monkeypatch):
  """Any attempt to open a connection fails the test."""

  def refuse(*args, **kwargs):
    raise AssertionError(f"the network was asked for: {args}")

  monkeypatch.setattr(socket, "create_connection", refuse)
  monkeypatch.setattr(socket, "getaddrinfo", refuse)


def one_line_error(*args, **kwargs) -> str:
  with pytest.raises(ConfigError) as error:
    load(*args, **kwargs)
  message = str(error.value)
  assert "\n" not in message
  return message


def test_digits_use_the_whole_pixel_range(no_network):
  images, labels = load("digits").arrays("train")
  assert images.shape == (1120, 8, 8, 1) and images.dtype == np.uint8 and labels.dtype == np.int32
  assert images.min() == 0 and images.max() == 255
  np.testing.assert_allclose(images / 255 * 16, np.round(images / 255 * 16), atol=0.04)


def test_arrays_are_views_that_cannot_be_written(no_network):
  dataset = load("digits")
  images, labels = dataset.arrays("validation", limit=5)
  assert len(images) == len(labels) == 5
  np.testing.assert_array_equal(images, dataset.arrays("validation")[0][:5])
  with pytest.raises(ValueError):
    images[0] = 0


@pytest.mark.parametrize("arguments", [("training",), ("train", 0), ("train", -1)])
def test_arrays_refuses_unknown_splits_and_limits(arguments):
  with pytest.raises(ValueError):
    load("digits").arrays(*arguments)


def test_few_training_images_are_as_many_of_each_class(no_network):
  whole = load("digits")
  few, again, other = (whole.few(100, seed) for seed in (0, 0, 1))
  images, labels = few.arrays("train")
  np.testing.assert_array_equal(np.bincount(labels), np.full(10, 10))
  np.testing.assert_array_equal(images, again.arrays("train")[0])
  assert (images != other.arrays("train")[0]).any() and few.sizes["train"] == 100
  assert {image.tobytes() for image in images} <= {image.tobytes() for image in whole.arrays("train")[0]}
  for split in ("validation", "test"):
    np.testing.assert_array_equal(few.arrays(split)[0], whole.arrays(split)[0])


@pytest.mark.parametrize("count", [-10, 15, 2000])
def test_a_number_of_training_images_that_there_are_not_is_refused(count, no_network):
  with pytest.raises(ConfigError, match=f"train_images={count}: must be a multiple of the 10 classes, at most"):
    load("digits").few(count, 0)


def test_prepared_data_is_read_without_network(small_mnist, no_network):
  dataset = load("mnist", small_mnist)
  assert dataset.in_memory and not dataset.memorisation
  assert dataset.sizes == {"train": 180, "validation": 20, "test": 20}
  train, labels = dataset.arrays("train")
  assert train.shape == (180, 28, 28, 1)
  values = train[:, 0, 0, 0]
  np.testing.assert_array_equal(values % 10, labels)  # image i is filled with i and has the label i % 10
  validation = dataset.arrays("validation")[0][:, 0, 0, 0]
  assert sorted([*values, *validation]) == list(range(200))


def test_a_home_folder_is_expanded(small_mnist, monkeypatch):
  monkeypatch.setenv("HOME", os.path.dirname(small_mnist))
  assert load("mnist", f"~/{os.path.basename(small_mnist)}", download=False).sizes["test"] == 20


def test_large_data_is_streamed_and_gives_the_same_arrays(small_mnist, monkeypatch):
  held = load("mnist", small_mnist)
  monkeypatch.setattr(dataset_module, "MEMORY_LIMIT", 1000)
  streamed = load("mnist", small_mnist)
  assert not streamed.in_memory and streamed.sizes == held.sizes
  for split in ("train", "validation", "test"):
    for ours, theirs in zip(streamed.arrays(split, 7), held.arrays(split, 7)):
      np.testing.assert_array_equal(ours, theirs)
  with pytest.raises(ValueError, match="needs a limit"):
    streamed.arrays("train")


def test_photographs_without_labels_are_cropped_to_their_centre(prepare, tmp_path):
  wide = np.zeros((128, 256, 3), np.uint8)
  wide[:, 64:192] = 200  # the centre square
  prepare(tmp_path, "lsun/church_outdoor", {"train": [wide] * 20, "validation": [wide]},
          image_shape=(None, None, 3), labelled=False)
  dataset = load("lsun/church", tmp_path, download=False)
  assert dataset.sizes == {"train": 16, "validation": 2, "test": 2}
  images, labels = dataset.arrays("train")
  assert images.shape == (16, 64, 64, 3)
  assert (images == 200).all() and (labels == 0).all()


def test_class_names_come_from_the_prepared_data(prepare, tmp_path):
  names = [f"n{i:08d}" for i in range(1000)]
  prepare(tmp_path, "imagenet_resized/64x64", {"train": 30}, num_classes=1000, image_shape=(64, 64, 3),
          class_names=names)
  dataset = load("imagenet_resized/64x64", tmp_path, download=False)
  assert dataset.memorisation and dataset.spec.class_names == tuple(names)
  for split in ("validation", "test"):
    np.testing.assert_array_equal(dataset.arrays("train")[0], dataset.arrays(split)[0])


@pytest.mark.parametrize("name, folder", [
    ("mnist", "mnist"), ("cifar10", "cifar10"), ("svhn_cropped", "svhn_cropped"),
    ("lsun/church", "lsun/church_outdoor"), ("imagenet_resized/64x64", "imagenet_resized/64x64")])
def test_absent_and_unreachable_data_says_where_it_looked_and_how_to_get_it(name, folder, tmp_path, monkeypatch):
  monkeypatch.setattr(source, "unreachable_reason", lambda url, timeout_seconds: "no answer in 1 s")
  message = one_line_error(name, tmp_path / "data")
  assert message.startswith(f"data_dir={tmp_path / 'data'}: {name} is not prepared")
  assert str(tmp_path / "data" / folder) in message
  assert f"tfds.load('{folder}', data_dir='{tmp_path / 'data'}')" in message
  assert "cannot be reached: no answer in 1 s" in message
  assert not (tmp_path / "data").exists()


def test_without_download_the_network_is_not_asked(tmp_path, no_network):
  assert "downloading is off" in one_line_error("mnist", tmp_path, download=False)


def test_a_manual_dataset_says_which_files_go_where(tmp_path, no_network):
  message = one_line_error("imagenet2012", tmp_path)
  assert str(tmp_path / "downloads" / "manual") in message
  assert "ILSVRC2012_img_train.tar" in message and "ILSVRC2012_img_val.tar" in message


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
  import tensorflow_datasets as tfds

  def fail(*args, **kwargs):
    raise OSError("no space left\non device")

  monkeypatch.setattr(source, "unreachable_reason", lambda url, timeout_seconds: None)
  monkeypatch.setattr(tfds, "builder", fail)
  message = one_line_error("mnist", tmp_path)
  assert "preparing it failed: OSError: no space left" in message


def test_a_reachable_host_leads_to_a_download(prepare, tmp_path, monkeypatch):
  import tensorflow_datasets as tfds

  class Builder:

    def download_and_prepare(self, download_config):
      assert not download_config.try_download_gcs
      prepare(tmp_path, "mnist", {"train": 20, "test": 10})

  monkeypatch.setattr(source, "unreachable_reason", lambda url, timeout_seconds: None)
  monkeypatch.setattr(tfds, "builder", lambda name, data_dir: Builder())
  assert load("mnist", tmp_path).sizes == {"train": 18, "validation": 2, "test": 10}


def test_a_host_that_never_answers_is_left_after_the_timeout(monkeypatch):
  import threading

  import requests

  never = threading.Event()
  monkeypatch.setattr(requests, "head", lambda *args, **kwargs: never.wait(60))
  try:
    assert source.unreachable_reason("http://example.invalid/file", 0.05) == "no answer in 0.05 s"
  finally:
    never.set()


@pytest.mark.parametrize("status, reason", [(200, None), (404, "answered 404")])
def test_an_answer_must_be_the_file(status, reason, monkeypatch):
  import requests

  class Response:
    status_code = status

  monkeypatch.setattr(requests, "head", lambda *args, **kwargs: Response())
  assert source.unreachable_reason("http://example.invalid/file", 5) == reason


def cut_short(folder):
  path = sorted(folder.glob("*train.tfrecord*"))[0]
  path.write_bytes(path.read_bytes()[:-20])


def overwritten(folder):
  path = sorted(folder.glob("*test.tfrecord*"))[0]
  path.write_bytes(b"\0" * len(path.read_bytes()))


def without_a_file(folder):
  sorted(folder.glob("*train.tfrecord*"))[1].unlink()


def with_broken_info(folder):
  (folder / "dataset_info.json").write_text("{")


def without_features(folder):
  (folder / "features.json").unlink()


def emptied(folder):
  for path in folder.iterdir():
    path.unlink()


@pytest.mark.parametrize("breaks", [
    cut_short, overwritten, without_a_file, with_broken_info, without_features, emptied])
def test_a_broken_prepared_folder_is_named(breaks, small_mnist, tmp_path, no_network):
  shutil.copytree(small_mnist, tmp_path / "data")
  breaks(tmp_path / "data" / "mnist" / "3.0.1")
  message = one_line_error("mnist", tmp_path / "data")
  assert f"mnist in {tmp_path / 'data' / 'mnist' / '3.0.1'} cannot be read" in message
  assert "delete that folder" in message


def test_a_missing_file_of_streamed_data_is_told_of_at_once(small_mnist, tmp_path, no_network, monkeypatch):
  """The first record is in another, so reading some would not show it."""
  monkeypatch.setattr(dataset_module, "MEMORY_LIMIT", 0)
  shutil.copytree(small_mnist, tmp_path / "data")
  without_a_file(tmp_path / "data" / "mnist" / "3.0.1")
  assert "is missing" in one_line_error("mnist", tmp_path / "data")


def test_a_window_of_streamed_data_holds_so_many_bytes(small_mnist, monkeypatch):
  """Of a slice TFDS knows no size; with a limit of ten records a window is shuffled ten at a time."""
  monkeypatch.setattr(dataset_module, "MEMORY_LIMIT", 0)
  reader = load("mnist", small_mnist)._readers["train"]
  assert 50 < reader._record_bytes < 2000
  key, rows = 3, share.WHOLE.rows(1)

  def first_epoch(limit):
    monkeypatch.setattr(tfds_reader, "_SHUFFLE_BYTES", limit)
    found = reader.batches(key, 0, rows).take(reader.num_images).as_numpy_iterator()
    return [images.tobytes() for images, _ in found]

  one, ten, whole = (first_epoch(limit) for limit in (1, 10 * reader._record_bytes, 2 ** 27))
  assert sorted(one) == sorted(ten) == sorted(whole)
  assert one != ten != whole and set(one[:10]) == set(ten[:10]) != set(whole[:10])


def test_data_of_another_kind_is_refused(prepare, tmp_path):
  prepare(tmp_path, "cifar10", {"train": 20, "test": 10})  # grey images
  assert "1 channels, not 3" in one_line_error("cifar10", tmp_path, download=False)
  prepare(tmp_path, "mnist", {"train": 20, "test": 10}, num_classes=7)
  assert "7 classes, not 10" in one_line_error("mnist", tmp_path, download=False)


def test_real_cifar10(shared_tfds, monkeypatch):
  monkeypatch.setattr(dataset_module, "MEMORY_LIMIT", 0)  # streamed: decoding all 60,000 is slow
  dataset = load("cifar10", shared_tfds, download=False)
  assert dataset.sizes == {"train": 45000, "validation": 5000, "test": 10000}
  images, labels = dataset.arrays("test", 1000)
  assert images.shape == (1000, 32, 32, 3) and np.bincount(labels, minlength=10).min() > 50


def test_real_mnist(shared_tfds, monkeypatch):
  monkeypatch.setattr(dataset_module, "MEMORY_LIMIT", 0)  # as above
  dataset = load("mnist", shared_tfds, download=False)
  assert dataset.sizes == {"train": 55000, "validation": 5000, "test": 10000}
  images, labels = dataset.arrays("train", 2000)
  ink = [images[labels == digit].mean() for digit in range(10)]
  assert np.argmin(ink) == 1 and np.argmax(ink) == 0  # a one takes the least ink, a zero the most


def test_real_imagenet_of_one_image_a_class(shared_tfds):
  dataset = load("imagenet_resized/64x64", shared_tfds, download=False)
  assert dataset.memorisation and dataset.spec.class_names[0] == "n01440764"
  assert sorted(dataset.arrays("train")[1]) == list(range(1000))
