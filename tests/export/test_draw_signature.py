"""The draw signature: the canvas at checkpoints, the same bytes as live."""

import numpy as np
import pytest
import tensorflow as tf

from export import serving_module
from tests import untrained_classifiers

COUNT = 3


@pytest.fixture(scope="module", params=["attentive", "score"])
def classifier(request):
  return getattr(untrained_classifiers, request.param)()


@pytest.fixture(scope="module")
def module(classifier):
  return serving_module.ServingModule(classifier, max_steps=50, png=False)


@pytest.fixture(scope="module")
def signature(module, tmp_path_factory):
  folder = str(tmp_path_factory.mktemp("models") / "attentive")
  tf.saved_model.save(module, folder, {"draw": module.functions["draw"]})
  loaded = tf.saved_model.load(folder)
  return lambda **inputs: (loaded, loaded.signatures["draw"](**{
      name: tf.constant(value) for name, value in inputs.items()}))[1]


def test_frames_are_those_of_the_live_model(classifier, signature):
  weights, seeds = (rows[:COUNT] for rows in untrained_classifiers.request())
  live = classifier.draw(weights, seeds, num_steps=20, num_frames=serving_module.FRAMES)
  drawn = signature(class_weights=weights, seed=seeds, num_steps=np.full(COUNT, 20, np.int32),
                    temperature=np.ones(COUNT, np.float32))
  assert set(drawn) == {"frames", "images", "probabilities", "log_density", "acceptance_rate"}
  for name, value in drawn.items():
    np.testing.assert_array_equal(value, getattr(live, name), err_msg=name)
  np.testing.assert_array_equal(drawn["frames"][:, -1], drawn["images"])
  assert drawn["frames"].shape == (COUNT, serving_module.FRAMES, 8, 8, 1)
  assert (drawn["frames"][:, 0] != drawn["images"]).numpy().any()
