"""A classifier for each network and preconditioner, untrained and steep, and a request that all of them answer."""

import numpy as np

from stic_tf import config as config_lib
from stic_tf import drawing_classifier
from stic_tf import loading
from stic_tf.datasets import pixel_range
from stic_tf.models import attention
from stic_tf.models import build
from stic_tf.models import convolutional
from stic_tf.models import score as score_lib
from stic_tf.sampler import annealed
from stic_tf.sampler import gram
from stic_tf.sampler import level_preconditioner
from stic_tf.sampler import target as target_lib

COUNT = 17


def small(strategy=None, **settings):
  """A small network on 8×8, dense preconditioner."""
  return _wrap(convolutional.small_network((8, 8, 1), 10, 16, 0), (8, 8, 1), 60, strategy, **settings)


def spectral(strategy=None):
  """The same with the spectral preconditioner."""
  return small(strategy, preconditioner="spectral")


def middle(strategy=None):
  """28×28, dense."""
  return _wrap(convolutional.small_network((28, 28, 1), 10, 8, 0), (28, 28, 1), 15, strategy)


def wide_resnet(strategy=None):
  """WRN-10-1 on 32×32×3, low-rank, branches that do something."""
  network = convolutional.wide_resnet((32, 32, 3), 10, 10, 1, 0)
  for variable in network.trainable_variables:
    if variable.shape.rank == 0:
      variable.assign(0.5)
  return _wrap(network, (32, 32, 3), 2, strategy)


def score(strategy=None):
  """A noise-conditional network on 8×8 with corrector and guidance."""
  shape = (8, 8, 1)
  network = score_lib.ScoreNetwork(shape, 10, 8, 1, 0)
  readout = network.trunk.get_layer("energy_local").kernel
  readout.assign(100.0 * readout)  # it starts small
  preconditioner = level_preconditioner.build("gram", shape)
  preconditioner.fit(gram.ImageStatistics.fit(pixel_range.from_uint8(_images(shape)).numpy()))
  target = annealed.AnnealedTarget(lambda images, level: build.level_energies(network, images, level), preconditioner,
                                   config_lib.ScoreConfig(corrector_steps=2, guidance=0.5))
  return drawing_classifier.DrawingClassifier(
      lambda images: build.logits(network, images, 0.2), None, preconditioner, shape, [str(i) for i in range(10)],
      config_lib.SamplerConfig(num_steps=8, step_size=0.3), 0.2, strategy, target)


def attentive(strategy=None):
  """Strokes on 8×8, dense."""
  return _attentive((8, 8, 1), "gram", strategy)


def attentive_spectral(strategy=None):
  """Strokes on 16×16×3, spectral."""
  return _attentive((16, 16, 3), "spectral", strategy)


def _attentive(image_shape, preconditioner_name, strategy):
  network = attention.attentive_network(image_shape, 10, 16, 4, 0)
  reader = attention.ClassReader(network)

  def read(images, class_weights):
    energy, where, features = reader.energy_and_attention(images, class_weights)
    return 30.0 * energy, where, features

  wrapped = _wrap(network, image_shape, 60, strategy, preconditioner=preconditioner_name)
  return drawing_classifier.DrawingClassifier(
      wrapped._logits, target_lib.AttentiveEnergy(read, None, 0.0), wrapped.target.preconditioner, image_shape,
      wrapped.class_names, wrapped.sampler, wrapped.noise_level, strategy, tile_grid=4)


CLASSIFIERS = {"small": small, "spectral": spectral, "middle": middle, "wide_resnet": wide_resnet, "score": score,
               "attentive": attentive, "attentive_spectral": attentive_spectral}


def _images(image_shape):
  rng = np.random.default_rng(0)
  return np.clip(128 + 60 * np.cumsum(rng.normal(size=(60, *image_shape)), axis=1), 0, 255).astype(np.uint8)


def _wrap(network, image_shape, num_steps, strategy, **settings):
  """A classifier whose energy is steep, so that proposals are refused and roundings grow."""
  classifier = loading.wrap(lambda rows: 30.0 * network(rows, training=False)[0], _images(image_shape),
                            [str(label) for label in range(10)], num_steps=num_steps, **settings)
  if strategy is None:
    return classifier
  return drawing_classifier.DrawingClassifier(
      classifier._logits, classifier.target.energy, classifier.target.preconditioner, image_shape,
      classifier.class_names, classifier.sampler, classifier.noise_level, strategy)


def request():
  """Class weights, hard and soft, and seed pairs of COUNT images."""
  rng = np.random.default_rng(1)
  weights = np.where(np.arange(COUNT)[:, np.newaxis] % 3 > 0, np.eye(10)[np.arange(COUNT) % 10],
                     rng.dirichlet(np.ones(10), COUNT)).astype(np.float32)
  return weights, rng.integers(-2**62, 2**62, (COUNT, 2))
