"""What a judge sees on paths that are right, that stay, that jump elsewhere."""

import numpy as np
import pytest

from stic_tf.metrics import paths


def _one(*rows):
  return np.array([rows])


def test_a_straight_path():
  share = np.linspace(0, 1, 5)
  straight = np.stack([1 - share, share, 0 * share], axis=1)[np.newaxis]
  figures = paths.path_figures(straight, [0], [1])
  assert figures["path_pair"] == 1 and figures["path_both"] == 1 and figures["path_order"] == pytest.approx(1)
  assert figures["path_entropy"] == pytest.approx(np.mean([-p * np.log(p) - (1 - p) * np.log(1 - p)
                                                          for p in share[1:-1]]))


def test_backwards_and_nowhere():
  backwards = _one([0.1, 0.9, 0], [0.5, 0.5, 0], [0.9, 0.1, 0])
  assert paths.path_figures(backwards, [0], [1])["path_order"] == pytest.approx(-1)
  stays = paths.path_figures(_one(*[[1.0, 0, 0]] * 4), [0], [1])
  assert (stays["path_order"], stays["path_both"], stays["path_pair"]) == (0, 0, 1)


def test_through_a_third_class():
  figures = paths.path_figures(_one([1, 0, 0], [0, 0, 1.0], [0, 1, 0]), [0], [1])
  assert figures["path_pair"] == 0 and figures["path_both"] == 1 and figures["path_entropy"] == 0


@pytest.mark.parametrize("shape, classes, message", [((2, 2, 3), [0, 1], "S >= 3"), ((2, 3, 3), [0], "must be .2.")])
def test_bad_input(shape, classes, message):
  with pytest.raises(ValueError, match=message):
    paths.path_figures(np.full(shape, 1 / 3), classes, classes)
