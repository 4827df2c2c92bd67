"""The classification accuracy score on real digits in the place of drawings."""

import numpy as np
import pytest

from stic_tf.metrics.classification import classification_accuracy_score


def test_real_images_as_drawings_score_high(digits):
  train_images, train_labels, test_images, test_labels = digits
  score = classification_accuracy_score(train_images[:500], train_labels[:500], test_images, test_labels, 10, seed=1)
  assert score > 0.95


def test_shuffled_labels_score_chance(digits):
  """Negative control. Chance is 0.1; a network without signal may favour some classes, hence the width of the bound."""
  train_images, train_labels, test_images, test_labels = digits
  shuffled = np.random.default_rng(0).permutation(train_labels)[:300]
  assert classification_accuracy_score(train_images[:300], shuffled, test_images, test_labels, 10, seed=1) < 0.3


def test_a_class_without_drawings_is_always_wrong(digits):
  train_images, train_labels, test_images, test_labels = digits
  kept, tested = train_labels[:150] < 9, test_labels == 9
  score = classification_accuracy_score(train_images[:150][kept], train_labels[:150][kept], test_images[tested],
                                        test_labels[tested], 10)
  assert score == 0


@pytest.mark.parametrize("shape, labels, message", [
  ((2, 8, 8, 3), [0, 1], "drawings are"),
  ((2, 8, 8, 1), [0, 10], r"0\.\.9"),
  ((0, 8, 8, 1), [], "N > 0"),
])
def test_bad_drawings_are_refused(digits, shape, labels, message):
  with pytest.raises(ValueError, match=message):
    classification_accuracy_score(np.zeros(shape, np.uint8), labels, digits[2], digits[3], 10)
