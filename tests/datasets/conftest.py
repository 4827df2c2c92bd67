"""Prepared datasets for the tests: small ones written here with TFDS, and the real ones where they are at hand."""

import os
import pathlib

import numpy as np
import pytest


@pytest.fixture(scope="session")
def shared_tfds() -> str:
  """Folder of real prepared datasets (mnist, cifar10, imagenet_resized/64x64); skips where there is none."""
  beside_repository = pathlib.Path(__file__).resolve().parents[3] / "shared" / "tfds"
  folder = os.environ.get("STIC_TFDS_DIR", str(beside_repository))
  if not os.path.isdir(folder):
    pytest.skip(f"no prepared datasets in {folder} (set STIC_TFDS_DIR)")
  return folder


@pytest.fixture(scope="session")
def prepare():
  """Returns prepare(folder, tfds_name, splits, ...): writes a small TFDS dataset as TFDS itself would."""

  def write(folder, tfds_name, splits, num_classes=10, image_shape=(28, 28, 1), labelled=True, class_names=None,
            num_shards=1):
    """`splits`: TFDS split -> number of images, or a list of uint8 images; labels are 0, 1, ... in turn.

    Image i of a counted split is filled with the value i % 256, so that a test can tell images apart.
    """
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Image(shape=image_shape, encoding_format="png")}
    if labelled:
      features["label"] = (tfds.features.ClassLabel(names=class_names) if class_names
                           else tfds.features.ClassLabel(num_classes=num_classes))

    def examples(content):
      images = content if isinstance(content, list) else [
          np.full(image_shape, i % 256, np.uint8) for i in range(content)]
      return [(i, {"image": image, "label": i % num_classes} if labelled else {"image": image})
              for i, image in enumerate(images)]

    name, _, config = tfds_name.partition("/")
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name, config=config or None, version="3.0.1", features=tfds.features.FeaturesDict(features),
        split_datasets={split: examples(content) for split, content in splits.items()}, data_dir=str(folder),
        download_config=tfds.download.DownloadConfig(try_download_gcs=False, num_shards=num_shards))
    return str(folder)

  return write


@pytest.fixture(scope="session")
def small_mnist(prepare, tmp_path_factory) -> str:
  """A folder with a mnist of 200 train images (image i is filled with i) and 20 test images, in 3 files a split."""
  return prepare(tmp_path_factory.mktemp("tfds"), "mnist", {"train": 200, "test": 20}, num_shards=3)
