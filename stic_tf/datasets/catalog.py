"""The datasets by name: where each comes from, its image shape, classes, splits and fitting augmentation."""

import dataclasses
from typing import Mapping, Optional, Tuple

from stic_tf.config import require

_TEN_DIGITS = tuple(str(digit) for digit in range(10))


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
  """What is known of a dataset before any of it is read.

  Attributes:
    name: what `--dataset` takes.
    tfds_name: its TFDS id (and folder under `--data_dir`), or None where it comes embedded with scikit-learn.
    image_shape: (height, width, channels) of an image as delivered. Stored images of another size have their centre
      square resized to it.
    num_classes: K; labels are 0..K-1.
    class_names: K names in label order, or () where only the prepared data knows them: `Dataset.spec` then has them.
    test_split: the TFDS split reported as test, or None to carve one off the training images (see splits.py).
    carved_size: images in a split that is carved off the training images; at most a tenth of them is taken.
    max_shift: pixels; up to which the training images of the classification streams are shifted.
    max_rotation: degrees; the same for rotations. Above 0 marks line drawings on an empty background, whose gaps are
      filled with that background; photographs (0) are shifted with their border mirrored.
    flip: whether a mirrored image still shows its class. False for anything with digits in it.
    download_url: a file its download needs, to probe for; "" where there is none to fetch.
    manual_files: what the user must fetch by hand (TFDS: `<data_dir>/downloads/manual/`); () for a plain download.
    preparation_needs: packages beyond requirements.txt which TFDS wants to prepare this dataset.
    origin: whose it is and under what licence, for the card of a model.
  """

  name: str
  tfds_name: Optional[str]
  image_shape: Tuple[int, int, int]
  num_classes: int
  class_names: Tuple[str, ...] = ()
  test_split: Optional[str] = "test"
  carved_size: int = 5000
  max_shift: float = 0.0
  max_rotation: float = 0.0
  flip: bool = False
  download_url: str = ""
  manual_files: Tuple[str, ...] = ()
  preparation_needs: str = ""
  origin: str = "see its page in the TFDS catalogue for authors and licence"


CATALOG: Mapping[str, DatasetSpec] = {spec.name: spec for spec in (
    DatasetSpec(
        name="digits", tfds_name=None, image_shape=(8, 8, 1), num_classes=10, class_names=_TEN_DIGITS,
        max_shift=0.5, max_rotation=10.0,
        origin="digits of scikit-learn: Optical Recognition of Handwritten Digits (Alpaydin & Kaynak, UCI), CC BY 4.0"),
    DatasetSpec(
        name="mnist", tfds_name="mnist", image_shape=(28, 28, 1), num_classes=10, class_names=_TEN_DIGITS,
        max_shift=2.0, max_rotation=10.0,
        download_url="https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz",
        origin="MNIST (LeCun, Cortes & Burges), CC BY-SA 3.0"),
    DatasetSpec(
        name="cifar10", tfds_name="cifar10", image_shape=(32, 32, 3), num_classes=10,
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        max_shift=4.0, flip=True, download_url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        origin="CIFAR-10 (Krizhevsky 2009), from the 80 million tiny images; its authors state no licence"),
    DatasetSpec(
        name="svhn_cropped", tfds_name="svhn_cropped", image_shape=(32, 32, 3), num_classes=10,
        class_names=_TEN_DIGITS, max_shift=2.0,
        download_url="http://ufldl.stanford.edu/housenumbers/train_32x32.mat"),
    DatasetSpec(
        # TFDS' validation split has 300 images, too few for a Fréchet distance: the test split is carved instead.
        name="lsun/church", tfds_name="lsun/church_outdoor", image_shape=(64, 64, 3), num_classes=1,
        class_names=("church_outdoor",), test_split=None, max_shift=4.0, flip=True,
        download_url="http://dl.yf.io/lsun/scenes/church_outdoor_train_lmdb.zip",
        preparation_needs="tensorflow-io"),
    DatasetSpec(
        name="imagenet_resized/64x64", tfds_name="imagenet_resized/64x64", image_shape=(64, 64, 3), num_classes=1000,
        test_split="validation", carved_size=10000, max_shift=4.0, flip=True,
        download_url="http://www.image-net.org/data/downsample/Imagenet64_val_npz.zip"),
    DatasetSpec(
        name="imagenet2012", tfds_name="imagenet2012", image_shape=(64, 64, 3), num_classes=1000,
        test_split="validation", carved_size=10000, max_shift=4.0, flip=True,
        manual_files=("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")),
)}


def lookup(name: str) -> DatasetSpec:
  """The dataset called `name`.

  Raises:
    ConfigError: there is none; the message lists those there are.
  """
  require(name in CATALOG, "dataset", name, "must be one of " + ", ".join(CATALOG))
  return CATALOG[name]
