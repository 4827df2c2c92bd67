"""Drawing classifiers from a training, a checkpoint, a run folder, or a user's own Keras classifier."""

import dataclasses
import os
from typing import Callable, Dict, Optional, Sequence

import numpy as np
import tensorflow as tf

from stic_tf import checkpoint
from stic_tf import config as config_lib
from stic_tf.datasets import pixel_range
from stic_tf.drawing_classifier import DrawingClassifier
from stic_tf.models import build
from stic_tf.sampler import gram as gram_lib
from stic_tf.sampler import level_preconditioner
from stic_tf.sampler import target as target_lib
from stic_tf.self_analysis import recurrence as recurrence_lib
from stic_tf.self_analysis import score_recurrence


def from_recurrence(recurrence: recurrence_lib.Recurrence, class_names: Sequence[str]) -> DrawingClassifier:
  """The classifier of a training as it stands: its averaged weights. It follows the training's further passes."""
  target = recurrence.targets["average"]
  return DrawingClassifier(
      lambda images: build.logits(recurrence.average, images), target.energy, recurrence.preconditioner,
      recurrence.image_shape, class_names, recurrence.drawing_sampler(), recurrence.noise_level, recurrence.strategy,
      recurrence.annealed, tile_grid(recurrence.model, recurrence.sampler))


def tile_grid(model: config_lib.ModelConfig, sampler: config_lib.SamplerConfig) -> int:
  """Tiles a side of a classifier that draws in strokes, else 0."""
  return model.tile_grid if config_lib.draws_in_strokes(model, sampler) else 0


def from_state(arrays: Dict[str, np.ndarray], description: dict,
               strategy: Optional[tf.distribute.Strategy] = None) -> DrawingClassifier:
  """The classifier in a checkpoint.

  Args:
    arrays, description: as `checkpoint.read` gives them.
    strategy: replicas to draw on; None for one.

  Raises:
    ValueError: the arrays do not fit the description.
  """
  model = config_lib.from_mapping(config_lib.ModelConfig, description["config"])
  sampler = config_lib.from_mapping(config_lib.SamplerConfig, description["config"])
  image_shape, class_names = tuple(description["image_shape"]), description["class_names"]
  strategy = strategy or tf.distribute.get_strategy()
  is_score = model.model == "score"
  build_preconditioner = level_preconditioner.build if is_score else gram_lib.build_preconditioner
  with strategy.scope():
    network = build.build_network(model, image_shape, len(class_names), seed=0)
    preconditioner = build_preconditioner(sampler.preconditioner, image_shape)
    class_grams = recurrence_lib.make_class_grams(network, len(class_names), sampler)
  for group, variables in (("average", network.variables), ("preconditioner", preconditioner.variables()),
                           ("class_grams", class_grams.variables())):
    checkpoint.assign(arrays, group, variables)
  sampler = dataclasses.replace(sampler, step_size=float(arrays["scales"][0]))
  noise_level, annealed = float(arrays["noise_level/000"]), None
  if is_score:
    score = config_lib.from_mapping(config_lib.ScoreConfig, description["config"])
    annealed = score_recurrence.make_annealed(network, preconditioner, sampler, score)
  return DrawingClassifier(lambda images: build.logits(network, images),
                           recurrence_lib.make_energy(network, class_grams, sampler.gram_weight), preconditioner,
                           image_shape, class_names, sampler, noise_level, strategy, annealed,
                          tile_grid(model, sampler))


def load(run_dir: str, strategy: Optional[tf.distribute.Strategy] = None) -> DrawingClassifier:
  """The classifier of a run folder, from its newest readable checkpoint.

  Args:
    run_dir: what `trainers/main.py --run_dir` made.
    strategy: replicas to draw on; None for one.

  Raises:
    ConfigError: the folder holds no readable checkpoint.
  """
  try:
    _, arrays, description, _ = checkpoint.read_newest(os.path.join(run_dir, "checkpoints"))
  except FileNotFoundError as problem:
    raise config_lib.ConfigError(f"--run_dir={run_dir}: {problem}") from problem
  return from_state(arrays, description, strategy)


def wrap(classifier: Callable, images: np.ndarray, class_names: Sequence[str],
         preprocess: Callable = lambda images: images, noise_level: float = 0.3, **settings) -> DrawingClassifier:
  """Makes any differentiable Keras classifier draw, without our trainer.

  Args:
    classifier: a Keras model (or function) from images to logits [B, K]; without batch statistics at inference.
    images: uint8 [N, H, W, C], some of its training images: they fix the blank canvas and the preconditioner.
    class_names: K names.
    preprocess: from images float32 [B, H, W, C] in [-1, 1] to what the classifier was trained on.
    noise_level: s, the noise in which the chain walks and which the jump removes, in [-1, 1] pixel units.
    **settings: fields of `config.SamplerConfig`, for example num_steps, temperature, step_size.

  Raises:
    ConfigError: a setting out of range.
  """
  sampler = config_lib.SamplerConfig(**settings)
  config_lib.require(noise_level > 0, "noise_level", noise_level, "must be above 0")
  image_shape = images.shape[1:]
  preconditioner = gram_lib.build_preconditioner(sampler.preconditioner, image_shape)
  preconditioner.update(gram_lib.ImageStatistics.fit(pixel_range.from_uint8(images).numpy()), noise_level)

  def logits(drawn):
    return classifier(preprocess(drawn))

  return DrawingClassifier(logits, target_lib.class_energy(logits), preconditioner, image_shape, class_names, sampler,
                           noise_level)
