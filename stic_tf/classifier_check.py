"""Whether a user's own classifier can be drawn from: tried on some of its images before anything is built on it."""

import warnings
from typing import Callable, Sequence

import numpy as np
import tensorflow as tf

from stic_tf import config as config_lib

TRIED = 16


def check_images(images) -> np.ndarray:
  """Images as uint8 [N, H, W, C].

  Raises:
    ConfigError: another type or shape; with what to do.
  """
  images = np.asarray(images)
  config_lib.require(images.ndim == 4 and len(images) > 1, "images", list(images.shape),
                     "must have the shape [N, H, W, C] (grey ones get their C by images[..., np.newaxis]), N above 1")
  config_lib.require(images.dtype == np.uint8, "images", images.dtype,
                     "must be uint8 in [0, 255] (of floats in [0, 1]: np.uint8(255 * images)); what the classifier was "
                     "trained on, preprocess makes of them")
  return images


def check(logits: Callable[[tf.Tensor], tf.Tensor], pixels: np.ndarray, class_names: Sequence[str]) -> None:
  """Tries a classifier as drawing will: in a graph, and with a gradient. Warns where it gives probabilities.

  Args:
    logits: from images float32 [B, H, W, C] in [-1, 1] to class logits [B, K].
    pixels: some of its images, float32 [B, H, W, C].
    class_names: K names.

  Raises:
    ConfigError: it fails on them, has no gradient, gives other than a logit a name, or numbers that are not finite.
  """

  @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, *pixels.shape[1:]])])
  def tried(images):
    with tf.GradientTape() as tape:
      tape.watch(images)
      answers = tf.convert_to_tensor(logits(images))
      # Weighted unequally: the plain sum of probabilities is flat.
      weights = tf.range(1.0, tf.cast(tf.size(answers), tf.float32) + 1.0)
      total = tf.reduce_sum(tf.reshape(answers, [-1]) * weights)
    return answers, tape.gradient(total, images)

  try:
    answers, slope = tried(pixels)
  except Exception as problem:  # what a user's own function raises is anybody's guess
    reason = " ".join(str(problem).split())[:200]
    raise config_lib.ConfigError("--classifier=…: fails on TensorFlow tensors of these images; it must be made of "
                                 "TensorFlow's operations, not NumPy's, and take what preprocess makes of float32 "
                                 f"images in [-1, 1] ({type(problem).__name__}: {reason})") from problem
  config_lib.require(answers.shape.rank == 2 and answers.shape[0] == len(pixels), "classifier",
                     f"{answers.dtype.name}{answers.shape.as_list()}", f"must give logits [{len(pixels)}, K] for "
                     f"{len(pixels)} images")
  config_lib.require(answers.shape[1] == len(class_names), "class_names", f"{len(class_names)} names",
                     f"must be {answers.shape[1]}, one for each logit of the classifier")
  config_lib.require(slope is not None, "classifier", "no gradient", "must be differentiable by the images: it, or "
                     "preprocess, rounds them, or is not made of TensorFlow's operations")
  for what, values in (("logits that are", answers), ("a gradient that is", slope)):
    config_lib.require(bool(np.isfinite(values).all()), "classifier", f"{what} not finite",
                       "must be finite on the given images; is preprocess that of its training?")
  if (answers.numpy() >= 0).all() and np.allclose(answers.numpy().sum(axis=1), 1.0, atol=1e-3):
    warnings.warn("the classifier gives probabilities, it seems, and not logits: leave out its last softmax, or take "
                  "the logarithm, or its drawings will hardly heed their classes", stacklevel=3)
