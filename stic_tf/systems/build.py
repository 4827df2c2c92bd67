"""The system of a configuration, for training and for drawing alike."""

from typing import Sequence

import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import registries
from stic_tf.networks import build as networks
from stic_tf.systems import base


def check(config: config_lib.RunConfig, num_classes: int) -> None:
  """Refuses, by a ConfigError, what a system refuses without its network; `build` refuses what networks do."""
  registries.SYSTEMS.load(config.model).check(config, num_classes)


def build(config: config_lib.RunConfig, image_shape: Sequence[int], class_names: Sequence[str], seed: int,
          strategy: tf.distribute.Strategy, for_training: bool = True) -> base.System:
  """Builds a system on its replicas.

  Args:
    config: all settings.
    image_shape: (H, W, C).
    class_names: K names.
    seed: of everything random.
    strategy: replicas for training and drawing.
    for_training: False leaves out the trained network beside its average.

  Raises:
    ConfigError: parts that do not go together.
  """
  system = registries.SYSTEMS.load(config.model)
  with strategy.scope():
    # What draws and answers is in float32 whatever trains.
    settings = [config] * for_training + [config.replace(mixed_precision=False)]
    made = [networks.build(each, image_shape, len(class_names), seed, system.conditioned) for each in settings]
    return system(made[0], len(class_names), config, class_names, seed, made[-1], image_shape)
