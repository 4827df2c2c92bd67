"""A real export behind the embedded server, asked by the client: the live model's bytes."""

import os

import numpy as np

from serving import drawing_client
from tests.serving import running_server


def test_the_server_draws_and_classifies_as_the_live_model(model_dir, classifier):
  flags = "--model_name=stic", f"--model_base_path={os.path.dirname(model_dir)}"
  with running_server.in_process(*flags) as served, drawing_client.Client(served.address) as client:
    drawings = client.draw([3, 7, 7, 0], seeds=5, batch_size=3)
    expected = classifier.draw([3, 7, 7, 0], seeds=5)
    for name in ("images", "class_weights", "seeds", "log_density", "probabilities", "acceptance_rate"):
      np.testing.assert_array_equal(getattr(drawings, name), getattr(expected, name), err_msg=name)
      assert getattr(drawings, name).dtype == getattr(expected, name).dtype
    np.testing.assert_array_equal(client.classify(expected.images), classifier.classify(expected.images))
    model = client.describe()
    assert (model.num_steps, model.max_steps, model.image_shape) == (6, 50, (8, 8, 1))
    assert model.class_names == tuple(classifier.class_names)
