"""A real export behind the embedded server, asked by the client: the live model's bytes."""

import os

import numpy as np
import pytest
import tensorflow as tf

from export import serving_module
from serving import drawing_client
from stic_tf.config import ConfigError
from tests import untrained_classifiers
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


def test_the_client_chooses_guidance_and_a_canvas_s_noise(tmp_path):
  """The live model's bytes at them, and at its own values where one of the two is left out."""
  classifier = untrained_classifiers.score()
  module = serving_module.ServingModule(classifier, max_steps=60)
  names = ("serving_default", "synthesize", "synthesize_png", "refine_png", "settings")
  tf.saved_model.save(module, str(tmp_path / "stic" / "1"), {name: module.functions[name] for name in names})
  canvas = classifier.draw([3, 7, 0], seeds=1, num_steps=6).images
  own, least, most = classifier.canvas_noise[1], *classifier.canvas_noise[::2]
  noise = float((own + most) / 2)
  flags = "--model_name=stic", f"--model_base_path={tmp_path / 'stic'}"
  with running_server.in_process(*flags) as served, drawing_client.Client(served.address) as client:
    drawn = client.draw([3, 7, 0], seeds=5, num_steps=6, guidance=2.0, batch_size=2)
    live = classifier.with_settings(guidance=2.0).draw([3, 7, 0], seeds=5, num_steps=6)
    for name in ("images", "log_density", "probabilities"):
      np.testing.assert_array_equal(getattr(drawn, name), getattr(live, name), err_msg=name)
    assert np.any(drawn.images != client.draw([3, 7, 0], seeds=5, num_steps=6).images)
    inputs = {"images": tf.constant(canvas), "class_weights": tf.constant(drawn.class_weights),
              "seed": tf.constant(drawn.seeds), "num_steps": tf.fill([3], 6), "temperature": tf.fill([3], 1.0)}
    for settings in ({"canvas_noise": noise}, {"guidance": 2.0}, {"guidance": 2.0, "canvas_noise": noise}):
      drawn = client.draw([3, 7, 0], seeds=5, num_steps=6, canvas_images=canvas, **settings)
      live = module.functions["refine_png"](**inputs, **{name: tf.fill([3], value) for name, value in settings.items()})
      for image, png in zip(drawn.images, live["image_png_bytes"]):
        np.testing.assert_array_equal(image, tf.io.decode_png(png), err_msg=str(settings))
    for wrong, said in (({"guidance": 9.0}, r"guidance=9.0: must lie in \[-1, 8\]"),
                        ({"guidance": float("nan")}, "guidance=nan: must lie"),
                        ({"canvas_noise": noise}, "goes with a canvas"),
                        ({"canvas_images": canvas, "canvas_noise": 2 * float(most)}, "must lie in")):
      with pytest.raises(ConfigError, match=said):
        client.draw([3, 7, 0], seeds=5, **wrong)
    assert least < own < most


def test_what_the_model_does_not_have_cannot_be_chosen(model_dir):
  flags = "--model_name=stic", f"--model_base_path={os.path.dirname(model_dir)}"
  with running_server.in_process(*flags) as served, drawing_client.Client(served.address) as client:
    with pytest.raises(ConfigError, match="guidance=1.0: cannot be chosen of this model"):
      client.draw([3], guidance=1.0)


def test_more_images_are_classified_than_the_shipped_batches_hold(model_dir):
  """64 rows by serving/config/batching_parameters.txt."""
  flags = ("--model_name=stic", f"--model_base_path={os.path.dirname(model_dir)}", "--enable_batching",
           f"--batching_parameters_file={running_server.ROOT / 'serving' / 'config' / 'batching_parameters.txt'}")
  images = np.zeros([65, 8, 8, 1], np.uint8)
  with running_server.in_process(*flags) as served, drawing_client.Client(served.address) as client:
    assert client.classify(images).shape == (65, 10)
    with pytest.raises(ConfigError, match="batch_size=0: must be at least 1"):
      client.classify(images, batch_size=0)
