"""Feature networks: what turns images into the features and class probabilities that the image metrics compare.

Any object with the two members of `FeatureNetwork` will do. Two come with it: the judge, trained on the real training
split and cached, and Inception from a weight file. A distance in judge features is not the literature's FID; `name`
travels with every figure so that nobody takes it for that.
"""

import hashlib
import logging
import os
from typing import NamedTuple, Optional, Protocol

import h5py
import keras
import numpy as np
import scipy.special
import tensorflow as tf

from stic_tf.config import ConfigError
from stic_tf.datasets import pixel_range
from stic_tf.metrics import judge_cache
from stic_tf.metrics import judge_model

_log = logging.getLogger(__name__)


class FeatureBatch(NamedTuple):
  """What a feature network says of N images: features float [N, F], probabilities float32 [N, J] of its classes."""

  features: np.ndarray
  probabilities: np.ndarray


class FeatureNetwork(Protocol):
  """The interface of a feature network.

  One whose J classes are not those of the data set says so by an attribute `predicts_dataset_classes = False`.
  """

  name: str

  def __call__(self, images: np.ndarray) -> FeatureBatch:
    """The `FeatureBatch` of uint8 images [N, H, W, C]; each image's row does not depend on the other images."""


class JudgeNetwork:
  """A trained judge (see `judge_model`) as a feature network: features float64 [N, 64], probabilities [N, num_classes].

  Attributes:
    name: "judge-<data set>-<six digits of its cache key>-<four of its weights>", others on another machine.
    num_classes: J.
  """

  predicts_dataset_classes = True

  def __init__(self, model: keras.Model, name: str):
    self.name = name
    self.model = model
    self.num_classes = model.output[1].shape[-1]

  def __call__(self, images: np.ndarray) -> FeatureBatch:
    features, logits = judge_model.predict(self.model, images)
    return FeatureBatch(features, scipy.special.softmax(logits, axis=1))


def require_classes(num_classes: int, dataset_name: str) -> None:
  """Raises ConfigError for fewer than 2 classes: a judge would learn nothing."""
  if num_classes < 2:
    raise ConfigError(f"--dataset={dataset_name}: a judge needs at least 2 classes; give --inception_weights")


def train_judge(images, labels, num_classes: int, cache_dir: Optional[str] = None, seed: int = 0,
                dataset_name: str = "images") -> JudgeNetwork:
  """The judge of a data set, from `cache_dir` when it is there, else trained (and cached).

  Keep `seed` at its default for figures that are to be compared: every run then has the same judge, whatever its own
  seed. The same data and seed on the same machine give the same weights, bit by bit on CPU.

  Args:
    images: the real training split, uint8 [N, H, W, C].
    labels: int [N] in 0..num_classes-1.
    num_classes: at least 2.
    cache_dir: folder for the weights, made when missing; None keeps nothing. A cached file that cannot be used is
      logged and trained anew; one that cannot be written is logged and done without.
    seed: of the judge's own training, >= 0.
    dataset_name: for the judge's name.
  Raises:
    ConfigError: fewer than 2 classes: a judge would learn nothing.
    ValueError: images or labels of a wrong shape, type or range.
  """
  require_classes(num_classes, dataset_name)
  images, labels = judge_model.check_labelled_images(images, labels, num_classes)
  settings = judge_model.settings_of(images.shape[1:])
  key = judge_cache.cache_key(images, labels, num_classes, seed, settings)
  name = f"judge-{dataset_name.replace('/', '-')}-{key[:6]}"
  path = None if cache_dir is None else os.path.join(cache_dir, f"judge-{key}.npz")
  if path is not None and os.path.exists(path):
    model = judge_model.build_judge_model(judge_model.judge_input(images[:1]).shape[1:], num_classes, seed, settings)
    try:
      model.set_weights(judge_cache.read_weights(path, model.get_weights()))
      return _judge(model, name)
    except judge_cache.UnreadableCache as error:
      _log.warning("judge cache %s cannot be used (%s); training the judge anew", path, error)
  model = judge_model.train_judge_model(images, labels, num_classes, seed, settings)
  if path is not None:
    try:
      judge_cache.write_weights(path, model.get_weights())
    except OSError as error:
      _log.warning("judge cache %s cannot be written (%s); going on without", path, error)
  return _judge(model, name)


def _judge(model: keras.Model, name: str) -> JudgeNetwork:
  digest = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights()))
  return JudgeNetwork(model, f"{name}-{digest.hexdigest()[:4]}")


class InceptionNetwork:
  """Keras's InceptionV3 with given weights: features float64 [N, 2048] (pooled), probabilities [N, 1000] (ImageNet).

  Works offline. Images are resized to 299 x 299 bilinearly, grey ones repeated to three channels. Keras's weights are
  not those of the original FID graph: its figures come near the literature's, but are not the same.

  Args:
    weights_path: an HDF5 weight file of `keras.applications.InceptionV3` made with include_top=True.
  Raises:
    ConfigError: the file is missing or is not such a file.
  """

  predicts_dataset_classes = False
  _SIDE = 299
  _BATCH = 32

  def __init__(self, weights_path: str):
    allowed = "must be an HDF5 weight file of Keras's InceptionV3 with include_top=True"
    if not os.path.isfile(weights_path) or not h5py.is_hdf5(weights_path):
      raise ConfigError(f"--inception_weights={weights_path}: {allowed}")
    model = keras.applications.InceptionV3(weights=None, include_top=True)
    try:
      model.load_weights(weights_path)
    except (ValueError, OSError, KeyError, IndexError) as error:
      raise ConfigError(f"--inception_weights={weights_path}: {allowed} ({str(error).splitlines()[0]})") from error
    self.name = f"inception-v3-{judge_cache.file_digest(weights_path)[:6]}"
    self._model = keras.Model(model.input, [model.get_layer("avg_pool").output, model.output], name="inception")

  def __call__(self, images: np.ndarray) -> FeatureBatch:
    features, probabilities = [np.zeros((0, 2048))], [np.zeros((0, 1000), np.float32)]
    for start in range(0, len(images), self._BATCH):
      batch = tf.image.resize(pixel_range.from_uint8(images[start:start + self._BATCH]), [self._SIDE] * 2)
      if batch.shape[-1] == 1:
        batch = tf.image.grayscale_to_rgb(batch)
      pooled, predicted = self._model(batch, training=False)
      features.append(pooled.numpy().astype(np.float64))
      probabilities.append(predicted.numpy())
    return FeatureBatch(np.concatenate(features), np.concatenate(probabilities))
