"""Score-STIC with an attentive network: it learns, and draws in strokes from coarse to fine noise levels."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import drawing as drawing_lib
from stic_tf import seed_pairs
from stic_tf import sparse_weights
from tests.systems import tiny

LEVELS, STROKES, TILES = 4, 5, 4
SETTINGS = {"network": "attentive", "tile_grid": 2, "fakes_from": "none", "corrector_steps": STROKES,
            "drawing": "strokes", "predictor": "dpm_solver_pp", "num_steps": LEVELS}


def _built(**settings):
  return tiny.build_system("score", **{**SETTINGS, **settings})


@pytest.fixture(scope="module")
def trained():
  """An attentive Score-STIC after a pass."""
  system = _built()
  logs = tiny.run_pass(system)
  assert np.isfinite(list(logs.values())).all()
  return system


@pytest.fixture(scope="module")
def drawings(trained):
  """Three drawings with frames."""
  return trained.draw([0, 1, 2], seeds=seed_pairs.of(0, 3), num_frames=3)


def test_every_level_has_its_strokes(trained, drawings):
  assert trained.classifier.tile_grid == 2
  assert trained.classifier.network_evaluations() == LEVELS * (1 + STROKES)
  assert drawings.strokes.shape == (3, TILES) and drawings.strokes.max() > 0
  np.testing.assert_array_less(drawings.strokes.sum(1), LEVELS * STROKES + 1)
  np.testing.assert_allclose(drawings.attention.sum(1), 1.0, rtol=1e-5)
  assert np.ptp(drawings.attention) > 1e-4
  assert (drawings.acceptance_rate > 0.05).all()
  np.testing.assert_array_equal(drawings.frames[:, -1], drawings.images)
  assert (drawings.frames[:, 0] != drawings.images).any()


def test_an_image_is_the_same_alone(trained, drawings):
  alone = trained.draw([1], seeds=seed_pairs.of(0, 3)[1:2])
  np.testing.assert_array_equal(alone.images[0], drawings.images[1])
  np.testing.assert_array_equal(alone.strokes[0], drawings.strokes[1])


def test_whole_images_by_the_same_weights(trained, drawings):
  whole = trained.classifier.with_settings(drawing="whole").draw([0, 1, 2], seeds=seed_pairs.of(0, 3))
  assert whole.strokes is None and (whole.images != drawings.images).any()


@pytest.mark.parametrize("settings", [{}, {"guidance": 2.0}], ids=str)
def test_the_density_is_that_of_whole_images(trained, settings):
  """Read with the attention beside it, the energy is the same."""
  images = tf.constant(tiny.images_and_labels(5, seed=9)[0])
  level = tf.constant([0.05, 0.2, 0.8, 3.0, 10.0])
  weights = tf.constant(np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]])
  energies, _ = trained.average.level_energies(images, level)
  beside, attention = trained.average.energies_and_attention(images, level, sparse_weights.of_dense(weights))
  np.testing.assert_allclose(beside, energies, rtol=1e-5, atol=1e-4)
  assert attention.shape == (5, TILES)
  config = trained.config.replace(**settings)
  drawer = trained.drawer(config)
  request = drawing_lib.normalise(weights, tf.constant(seed_pairs.of(0, 5)), 1, 1.0, 0.1)
  log_density, gradient, log_choice = drawer.target(request)(tf.reshape(images, [5, -1]), level)
  whole = trained.drawer(config.replace(drawing="whole"))
  np.testing.assert_allclose(log_density, whole.energy(images, level, weights), rtol=1e-5, atol=1e-4)
  assert gradient.shape == (5, 64) and (log_choice.numpy() > np.log(0.1 / TILES) - 1e-3).all()


@pytest.mark.parametrize("settings, says", [
    ({"network": "auto"}, "drawing=strokes: must be whole with a network that does not attend over tiles"),
    ({"corrector_steps": 0}, "corrector_steps=0: must be at least 1, the strokes at a level, with drawing=strokes")])
def test_what_strokes_need_is_refused_in_one_line(settings, says):
  with pytest.raises(config_lib.ConfigError) as error:
    _built(**settings)
  assert str(error.value) == says
