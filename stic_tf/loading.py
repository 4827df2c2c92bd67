"""Drawing classifiers from a run folder, or of a user's own Keras classifier."""

import warnings
from typing import Callable, Dict, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from stic_tf import checkpoint
from stic_tf import classifier_check
from stic_tf import config as config_lib
from stic_tf import run_folder
from stic_tf import zoo
from stic_tf.datasets import pixel_range
from stic_tf.drawing_classifier import DrawingClassifier
from stic_tf.networks import build as build_networks
from stic_tf.systems import build
from stic_tf.systems import stic

_OF_WRAPPED = {*config_lib.DRAWING_SETTINGS, "preconditioner", "reference", "target_acceptance", "gram_weight"}


def from_state(arrays: Dict[str, np.ndarray], description: dict,
               strategy: Optional[tf.distribute.Strategy] = None) -> DrawingClassifier:
  """The classifier in a checkpoint.

  Args:
    arrays, description: as `checkpoint.read` gives them.
    strategy: replicas to draw on; None for one.

  Raises:
    ValueError: the arrays do not fit the description.
  """
  config = config_lib.RunConfig.of(description["config"])
  system = build.build(config, description["image_shape"], description["class_names"], 0,
                       strategy or tf.distribute.get_strategy(), for_training=False)
  system.load_drawing_state(arrays)
  return system.classifier


def load(run_dir: str, strategy: Optional[tf.distribute.Strategy] = None) -> DrawingClassifier:
  """The classifier of a run folder, from its newest readable checkpoint.

  Its `checkpoint` is the path of what was read; what was wrong with newer ones is warned of.

  Args:
    run_dir: what `trainers/main.py --run_dir` made, or the name of a model of the zoo, whose files are checked.
    strategy: replicas to draw on; None for one.

  Raises:
    ConfigError: the folder holds no readable checkpoint, or one of another format, or a file of the zoo is damaged.
  """
  path, arrays, description = read(run_dir)
  try:
    classifier = from_state(arrays, description, strategy)
  except ValueError as problem:
    if isinstance(problem, config_lib.ConfigError):
      raise
    raise config_lib.ConfigError(f"--run_dir={run_dir}: must be the folder of a run ({problem})") from problem
  classifier.checkpoint = path
  return classifier


def read(run_dir: str, flag: str = "run_dir") -> Tuple[str, Dict[str, np.ndarray], dict]:
  """(path, arrays, description) of the newest readable checkpoint of a run folder or model of the zoo.

  Args:
    run_dir: as for `load`, which warns of and raises the same.
    flag: by which it was asked for, for messages.
  """
  config_lib.require(bool(run_dir), flag, run_dir, "must name the folder of a run")
  folder = run_folder.RunFolder(zoo.find(run_dir, flag))
  zoo.check_sums(folder.path, flag)
  try:
    path, arrays, description, problems = checkpoint.read_newest(folder.checkpoints)
  except FileNotFoundError as problem:
    raise config_lib.ConfigError(f"--{flag}={run_dir}: must be the folder of a run ({problem})") from problem
  for problem in problems:
    warnings.warn(f"{problem}; falling back to {path}", stacklevel=3)
  return path, arrays, description


def wrap(classifier: Callable, images: np.ndarray, class_names: Sequence[str],
         preprocess: Callable = lambda images: images, noise_level: float = 0.3, **settings) -> DrawingClassifier:
  """Makes any differentiable Keras classifier draw, without our trainer.

  Args:
    classifier: a Keras model (or function) from images to logits [B, K]; without batch statistics at inference.
    images: uint8 [N, H, W, C], some of its training images: they fix the blank canvas and the preconditioner.
    class_names: K names.
    preprocess: from images float32 [B, H, W, C] in [-1, 1] to what the classifier was trained on.
    noise_level: s, the noise in which the chain walks and which the jump removes, in [-1, 1] pixel units.
    **settings: those of a drawing, for example num_steps, temperature, step_size.

  Warns:
    UserWarning: the classifier seems to give probabilities.

  Raises:
    ConfigError: a setting that does not exist or is out of range, images of another type or shape, another number of
      names than of logits, or a classifier that fails on the images, is not differentiable or gives what is not finite.
  """
  config_lib.require(noise_level > 0, "noise_level", noise_level, "must be above 0")
  images = classifier_check.check_images(images)
  config = config_lib.RunConfig().replace(**settings)
  config.check_read(settings, images.shape[1:])
  for name in set(settings).difference(_OF_WRAPPED):
    config_lib.require(False, name, settings[name], "is of a training or of what is trained, and no setting here")
  config_lib.require(config.walk.gram_weight == 0, "gram_weight", config.walk.gram_weight, "must be 0 here")

  def logits(drawn):
    return classifier(preprocess(drawn))

  some = tf.convert_to_tensor(images[:classifier_check.TRIED])
  classifier_check.check(lambda drawn: build_networks.logits_and_features(logits, drawn)[0],
                         pixel_range.from_uint8(some).numpy(), class_names)
  system = stic.STIC(logits, len(class_names), config, class_names, average=logits, image_shape=images.shape[1:])
  system.adapt(images)
  system.set_noise_level(noise_level)
  return system.classifier
