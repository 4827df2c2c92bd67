"""A classifier for each network and preconditioner, untrained and steep, and a request that all of them answer.

They are built in the strategy's scope that the caller holds.
"""

import numpy as np

from stic_tf import config as config_lib
from stic_tf import loading
from stic_tf.networks import build
from stic_tf.networks import class_queries
from stic_tf.networks import convolutional
from stic_tf.systems import attentive as attentive_system
from stic_tf.systems import score as score_system

COUNT = 17


def small(**settings):
  """A small network on 8×8, dense preconditioner."""
  return _wrap(convolutional.small_network((8, 8, 1), 10, 16, 0), (8, 8, 1), 60, **settings)


def spectral():
  """The same with the spectral preconditioner."""
  return small(preconditioner="spectral")


def middle():
  """28×28, dense."""
  return _wrap(convolutional.small_network((28, 28, 1), 10, 8, 0), (28, 28, 1), 15)


def wide_resnet():
  """WRN-10-1 on 32×32×3, low-rank, branches that do something."""
  network = convolutional.wide_resnet((32, 32, 3), 10, 10, 1, 0)
  for variable in network.trainable_variables:
    if variable.shape.rank == 0:
      variable.assign(0.5)
  return _wrap(network, (32, 32, 3), 2)


def score(steepness=100.0, **settings):
  """A noise-conditional network on 8×8 with corrector and guidance, that answers at one level."""
  shape = (8, 8, 1)
  trunk = build.build(config_lib.RunConfig.of({"model": "score", "width": 8, "blocks": 1}), shape, 10, 0, True)
  readout = trunk.get_layer("energy_local").kernel
  readout.assign(steepness * readout)  # it starts small
  return _score(trunk, shape, **settings)


def _score(trunk, shape, **settings):
  system = score_system.ScoreSTIC(trunk, 10, average=trunk, corrector_steps=2, guidance=0.5, num_steps=8, step_size=0.3,
                                  **settings)
  system.adapt(_images(shape))
  levels = system.average.answer_levels
  levels.assign(np.full(levels.shape, 0.2))
  system.average.answer_weights.assign(np.eye(len(levels.numpy()))[0])
  return system.classifier


def score_cosine():
  """The same beside a Gaussian of waves, less steep: its long ones would leave the range."""
  return score(10.0, gaussian="cosine")


def score_strokes():
  """Strokes at every noise level on 8×8, guided, Heun between the levels, of classes that view the whole canvas."""
  shape = (8, 8, 1)
  config = config_lib.RunConfig.of({"model": "score", "network": "attentive", "width": 16, "tile_grid": 4,
                                    "view_size": 48})
  trunk = build.build(config, shape, 10, 0, True)
  readouts = trunk.get_layer(class_queries.QUERIES).readouts
  readouts.assign(5.0 * readouts)
  return _score(trunk, shape, drawing="strokes")


def attentive():
  """Strokes on 8×8, dense."""
  return _attentive((8, 8, 1), "gram")


def attentive_spectral():
  """Strokes on 16×16×3, spectral."""
  return _attentive((16, 16, 3), "spectral")


def attentive_unet():
  """Guided strokes on 16×16×3 by a U-Net's energy, spectral."""
  return _attentive((16, 16, 3), "spectral", network="attentive_unet", blocks="1", guidance=0.5)


def _attentive(image_shape, preconditioner_name, **settings):
  config = config_lib.RunConfig.of({"model": "attentive", "width": 16, "num_steps": 60,
                                    "preconditioner": preconditioner_name, **settings})
  network = build.build(config, image_shape, 10, 0)
  readouts = network.get_layer(class_queries.QUERIES).readouts
  readouts.assign(30.0 * readouts)  # logits times 30: the biases are still nought
  system = attentive_system.AttentiveSTIC(network, 10, config, average=network)
  system.adapt(_images(image_shape))
  system.set_noise_level(0.3)
  return system.classifier


CLASSIFIERS = {"small": small, "spectral": spectral, "middle": middle, "wide_resnet": wide_resnet, "score": score,
               "score_cosine": score_cosine, "score_strokes": score_strokes, "attentive": attentive,
               "attentive_spectral": attentive_spectral, "attentive_unet": attentive_unet}


def _images(image_shape):
  rng = np.random.default_rng(0)
  return np.clip(128 + 60 * np.cumsum(rng.normal(size=(60, *image_shape)), axis=1), 0, 255).astype(np.uint8)


def _wrap(network, image_shape, num_steps, **settings):
  """A classifier whose energy is steep, so that proposals are refused and roundings grow."""
  return loading.wrap(lambda rows: 30.0 * network(rows, training=False)[0], _images(image_shape),
                      [str(label) for label in range(10)], num_steps=num_steps, **settings)


def request():
  """Class weights, hard and soft, and seed pairs of COUNT images."""
  rng = np.random.default_rng(1)
  weights = np.where(np.arange(COUNT)[:, np.newaxis] % 3 > 0, np.eye(10)[np.arange(COUNT) % 10],
                     rng.dirichlet(np.ones(10), COUNT)).astype(np.float32)
  return weights, rng.integers(-2**62, 2**62, (COUNT, 2))
