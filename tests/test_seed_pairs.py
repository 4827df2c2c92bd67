"""stic_tf/seed_pairs.py: no two uses share the pair of an image."""

import itertools
import types

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import seed_pairs
from stic_tf.systems import drawer
from stic_tf.systems import stic
from tests import untrained_classifiers
from trainers import evaluate

_SEED = 3


class _Noting:
  """A classifier that draws nothing and keeps the seeds it was asked for."""

  num_classes, image_shape, class_names = 10, (4, 4, 1), [str(label) for label in range(10)]
  walks, corrects, config = True, False, config_lib.RunConfig.of({"num_steps": 20})

  def __init__(self):
    self.seeds = None

  def trace(self, labels, seeds):
    self.seeds = seeds
    return np.zeros([10, len(labels)])

  def draw(self, labels, seeds, **settings):
    del settings
    self.seeds = seed_pairs.of(seeds, len(labels))
    return types.SimpleNamespace(images=np.zeros([len(labels), 4, 4, 1], np.uint8),
                                 frames=np.zeros([len(labels), evaluate.FRAMES, 4, 4, 1], np.uint8),
                                 strokes=np.zeros([len(labels), 4]), attention=np.zeros([len(labels), 4]))


def _pairs(array):
  return {tuple(pair) for pair in np.asarray(array).tolist()}


def _measured(classifier, _):
  evaluate.Evaluator.draw(types.SimpleNamespace(seed=_SEED, num_classes=10), classifier, 3000)


def _interpolated(classifier, _):
  evaluate.interpolations(classifier, _SEED)


def _watched(classifier, folder):
  evaluate.write_watched_drawing(types.SimpleNamespace(file=lambda *names: str(folder / names[-1])), classifier, _SEED)


def _beside_real(classifier, _):
  evaluate.beside_real(classifier, np.zeros([10, 4, 4, 1], np.uint8), np.arange(10), _SEED)


def _traced(classifier, _):
  evaluate.mixing(classifier, _SEED)
  evaluate.corrections(classifier, _SEED)


def _chains(classifier, _):
  # 255, 511, …: where a sum of seed and update once met what is measured.
  moments = itertools.product((0, 1, 254, 255, 256, 511, 767, 1023, 10 ** 6), (0, 1, 5))
  classifier.seeds = np.concatenate([
      stic.STIC._chain_seeds(types.SimpleNamespace(seed=_SEED, updates_done=tf.constant(update, tf.int64),
                                                   attempt=tf.constant(attempt, tf.int64)), tf.range(2000))
      for update, attempt in moments])


def _own(classifier, _):
  classifier.draw(np.zeros(3000, int), _SEED)


def test_all_pairs_of_uses(tmp_path):
  uses = []
  for ask in (_own, _measured, _interpolated, _watched, _beside_real, _traced, _chains):
    classifier = _Noting()
    ask(classifier, tmp_path)
    uses.append(_pairs(classifier.seeds))
    assert len(uses[-1]) >= 10
  moments = [(np.int64(update), np.int64(attempt)) for update in (0, 180, 255, 1800) for attempt in (0, 1)]
  uses.append({(_SEED, int(word)) for moment in moments
               for word in seed_pairs.second_word(seed_pairs.FAKES, np.arange(2000, dtype=np.int64), *moment)})
  assert all(one.isdisjoint(other) for one, other in itertools.combinations(uses, 2))
  # A chain's pair at one update is none of another.
  assert len(uses[-2]) == 9 * 3 * 2000


def test_spaces_end_before_the_next_begins():
  uses = range(seed_pairs.TRACED + 1)
  last = [seed_pairs.second_word(use, *(np.int64(most - 1) for most in (
      seed_pairs.MOST_ROWS, seed_pairs.MOST_UPDATES, seed_pairs.MOST_ATTEMPTS))) for use in uses]
  first = [seed_pairs.second_word(use, np.int64(0)) for use in uses]
  assert all(end + 1 == begin for end, begin in zip(last, first[1:])) and last[-1] > 0


def test_more_chains_than_seeds_are_refused():
  with pytest.raises(config_lib.ConfigError, match="2\\^20"):
    config_lib.TrainingConfig(chains=seed_pairs.MOST_ROWS + 1)


def test_pairs_of_a_seed():
  np.testing.assert_array_equal(seed_pairs.of(-7, 3), [[-7, 0], [-7, 1], [-7, 2]])
  assert seed_pairs.of(2 ** 40, 2).dtype == np.int64
  assert seed_pairs.of(np.uint8(3), 300)[299].tolist() == [3, 299]


@pytest.mark.parametrize("name", ["small", "score"])
def test_a_drawing_is_drawn_on_by_other_numbers_than_drew_it(name, monkeypatch):
  """By the same noise a pixel that was drawn bright would be pushed further.

  What a drawing has of a pixel beyond its mean over 256 seeds does not correlate with what is drawn on a canvas: pixels
  are dependent, but were there ten of them alone, a mean below .1 would fail by chance once in 10⁶ times.
  """
  seeds = seed_pairs.of(3, 256)

  def spread(on_canvas):
    classifier = untrained_classifiers.CLASSIFIERS[name]()
    canvas = np.full([256, *classifier.image_shape], 128, np.uint8) if on_canvas else None
    images = classifier.draw([3] * 256, seeds, num_steps=2, canvas_images=canvas).images.astype(float).reshape(256, -1)
    deviations = images - images.mean(0)
    return deviations / np.maximum(np.sqrt((deviations ** 2).sum(0)), 1e-9)

  blank = spread(False)
  assert abs((blank * spread(True)).sum(0).mean()) < 0.1
  monkeypatch.setattr(drawer, "with_own_numbers", lambda request: request)
  assert (blank * spread(True)).sum(0).mean() > 0.15  # which the same numbers would show
