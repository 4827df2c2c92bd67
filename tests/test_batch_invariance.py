"""An image depends on its own seed pair and weights alone: not on the batch, its order, the block or the replicas.

Compared to the last bit, log density and acceptance included: where floats differ, some accept test will too.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

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


def _request():
  """Class weights, hard and soft, and seed pairs of COUNT images."""
  rng = np.random.default_rng(1)
  weights = np.where(np.arange(COUNT)[:, np.newaxis] % 3 > 0, np.eye(10)[np.arange(COUNT) % 10],
                     rng.dirichlet(np.ones(10), COUNT)).astype(np.float32)
  return weights, rng.integers(-2**62, 2**62, (COUNT, 2))


def _drawn(classifier, rows, batch_size=100):
  weights, seeds = _request()
  return classifier.draw(weights[rows], seeds[rows], batch_size=batch_size)


FIELDS = ("images", "log_density", "acceptance_rate", "step_size", "probabilities")


def _assert_same(drawings, whole, rows):
  for field in FIELDS:
    np.testing.assert_array_equal(getattr(drawings, field), getattr(whole, field)[rows], err_msg=field)


@pytest.fixture(scope="module", params=CLASSIFIERS)
def classifier_and_drawings(request):
  classifier = CLASSIFIERS[request.param]()
  return classifier, _drawn(classifier, np.arange(COUNT))


def test_drawings_differ_from_each_other(classifier_and_drawings):
  """Otherwise the tests below would say nothing."""
  _, whole = classifier_and_drawings
  assert len(np.unique(whole.images, axis=0)) == COUNT
  assert 0.05 < whole.acceptance_rate.mean() < 0.95


@pytest.mark.parametrize("rows", [[3], [0, 1, 2, 3, 4], [5, 3], list(range(15)), list(range(16)), [3] * 3],
                         ids=lambda rows: f"{len(rows)} from {rows[0]}")
def test_an_image_does_not_depend_on_its_batch(classifier_and_drawings, rows):
  classifier, whole = classifier_and_drawings
  _assert_same(_drawn(classifier, rows), whole, rows)


def test_an_image_does_not_depend_on_its_place(classifier_and_drawings):
  classifier, whole = classifier_and_drawings
  permutation = np.random.default_rng(2).permutation(COUNT)
  _assert_same(_drawn(classifier, permutation), whole, permutation)


def test_an_image_does_not_depend_on_the_batch_size(classifier_and_drawings):
  classifier, whole = classifier_and_drawings
  for batch_size in (1, 6, 16) if classifier.image_shape[0] == 8 else (16,):
    _assert_same(_drawn(classifier, np.arange(COUNT), batch_size), whole, np.arange(COUNT))


def test_an_answer_does_not_depend_on_its_batch(classifier_and_drawings):
  classifier, whole = classifier_and_drawings
  np.testing.assert_array_equal(classifier.classify(whole.images), whole.probabilities)
  np.testing.assert_array_equal(classifier.classify(whole.images[4:5]), whole.probabilities[4:5])
  np.testing.assert_array_equal(classifier.classify(whole.images, batch_size=5), whole.probabilities)


def test_another_seed_draws_another_image(classifier_and_drawings):
  """The negative control: of one bit in either number of the pair."""
  classifier, whole = classifier_and_drawings
  weights, seeds = _request()
  for change in ([1, 0], [0, 1]):
    other = classifier.draw(weights[:3], seeds[:3] ^ np.array(change))
    assert (other.images != whole.images[:3]).any(axis=(1, 2, 3)).all()


# Logical CPUs must exist before TensorFlow touches a device, hence a process of its own.
_SCRIPT = """
import sys
import numpy as np
from stic_tf import replicas
from tests import test_batch_invariance as case
strategy = replicas.make_strategy(2)
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
  classifier = case.small(strategy)
drawings = case._drawn(classifier, np.arange(case.COUNT), batch_size=9)
np.savez(sys.argv[1], **{field: getattr(drawings, field) for field in case.FIELDS})
"""


def test_one_and_two_replicas_draw_the_same(tmp_path):
  """Seventeen do not split over two: batches are filled up, and halves have other sizes than the whole."""
  out = str(tmp_path / "two.npz")
  finished = subprocess.run([sys.executable, "-c", _SCRIPT, out], capture_output=True, text=True, check=False,
                            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
  assert finished.returncode == 0, finished.stderr
  whole = _drawn(small(), np.arange(COUNT))
  with np.load(out) as two:
    for field in FIELDS:
      np.testing.assert_array_equal(two[field], getattr(whole, field), err_msg=field)
