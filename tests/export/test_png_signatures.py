"""`draw`, the canvas at checkpoints, and the signatures for a page: PNG bytes, and settings that only they open."""

import functools
import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from export import serving_module
from export import warmup
from stic_tf import loading
from tests import untrained_classifiers

COUNT = 3


def _decoded(pngs, image_shape):
  """PNG bytes of any shape S to uint8 [*S, H, W, C]."""
  images = [np.asarray(PIL.Image.open(io.BytesIO(png))).reshape(image_shape) for png in pngs.ravel()]
  return np.stack(images).reshape(*pngs.shape, *image_shape)


def _rows(**further):
  weights, seeds = (rows[:COUNT] for rows in untrained_classifiers.request())
  return {"class_weights": tf.constant(weights), "seed": tf.constant(seeds), "num_steps": tf.fill([COUNT], 8),
          **further}


def _call(module, name, **inputs):
  # As a loaded SavedModel calls it: by name, defaults left out.
  return {key: value.numpy() for key, value in module.functions[name](**inputs).items()}


@functools.lru_cache(maxsize=None)
def _module(name):
  classifier = untrained_classifiers.CLASSIFIERS[name]()
  return classifier, serving_module.ServingModule(classifier, max_steps=60)


@pytest.fixture(params=["attentive", "score"])
def module(request):
  return _module(request.param)[1]


@pytest.fixture
def score_module():
  return _module("score")[1]


@pytest.mark.parametrize("name", ["attentive", "score"])
def test_frames_are_those_of_the_live_model(name, tmp_path):
  classifier, module = _module(name)
  tf.saved_model.save(module, str(tmp_path), {"draw": module.functions["draw"]})
  loaded = tf.saved_model.load(str(tmp_path))
  signature = loaded.signatures["draw"]
  weights, seeds = (rows[:COUNT] for rows in untrained_classifiers.request())
  live = classifier.draw(weights, seeds, num_steps=20, num_frames=serving_module.FRAMES)
  drawn = signature(class_weights=tf.constant(weights), seed=tf.constant(seeds), num_steps=tf.fill([COUNT], 20),
                    temperature=tf.ones([COUNT]))
  assert set(drawn) == {"frames", "images", "probabilities", "log_density", "acceptance_rate"}
  for name, value in drawn.items():
    np.testing.assert_array_equal(value, getattr(live, name), err_msg=name)
  np.testing.assert_array_equal(drawn["frames"][:, -1], drawn["images"])
  assert drawn["frames"].shape == (COUNT, serving_module.FRAMES, 8, 8, 1)
  assert (drawn["frames"][:, 0] != drawn["images"]).numpy().any()


def test_the_bytes_are_the_siblings_pixels(module):
  shape = module.settings.image_shape
  names = {"synthesize": "images", **({"draw": "frames"} if module.settings.num_frames else {})}
  for name, images in names.items():
    plain, png = _call(module, name, **_rows()), _call(module, name + "_png", **_rows())
    np.testing.assert_array_equal(_decoded(png["image_png_bytes"], shape), plain["images"])
    np.testing.assert_array_equal(png["log_density"], plain["log_density"])
    np.testing.assert_array_equal(png["probabilities"], plain["probabilities"])
    if images == "frames":
      np.testing.assert_array_equal(_decoded(png["frames_png_bytes"], shape), plain["frames"])
  assert ("draw_png" in module.functions) == bool(module.settings.num_frames)


def test_signatures_that_draw_alike_trace_one_drawing(tmp_path, monkeypatch):
  """Of a classifier whose drawings have no guidance that could be chosen; saving traces none of them again."""
  images, calls = np.random.default_rng(0).integers(0, 256, [20, 4, 4, 1], np.uint8), []
  classifier = loading.wrap(lambda rows: tf.reshape(rows, [-1, 16])[:, :3], images, ["a", "b", "c"], num_steps=2)
  draw = classifier.draw_tensors
  monkeypatch.setattr(classifier, "draw_tensors", lambda *rows, **further: calls.append(1) or draw(*rows, **further))
  module = serving_module.ServingModule(classifier, max_steps=4)
  tf.saved_model.save(module, str(tmp_path), module.functions)
  assert len([name for name in module.functions if name.startswith(("synthesize", "refine", "draw"))]) == 6
  assert len(calls) == 3


def test_warm_up_asks_each_of_them(score_module):
  """Each request is one that the signature answers, its further inputs left out."""
  requests = {request.model_spec.signature_name: request
              for request in warmup.requests("stic", score_module, score_module.settings.image_shape)}
  assert set(requests) == set(score_module.functions) - {"settings"} == set(warmup.CLIENT_FILTERS)
  for name in (name for name in requests if name.endswith("_png")):
    inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in requests[name].inputs.items()}
    assert all(len(value) == 1 for value in _call(score_module, name, **inputs).values())


@pytest.mark.parametrize("name", ["attentive", "score_strokes"])
def test_strokes_are_those_of_the_live_drawing(name):
  classifier, module = _module(name)
  rows = _rows()
  live = classifier.draw(rows["class_weights"].numpy(), rows["seed"].numpy(), num_steps=8)
  for name in ("synthesize_png", "draw_png"):
    drawn = _call(module, name, **rows)
    np.testing.assert_array_equal(drawn["strokes"], live.strokes)
    np.testing.assert_array_equal(drawn["attention"], live.attention)
  assert module.settings.tile_grid ** 2 == live.strokes.shape[1]


@pytest.mark.parametrize("name", ["score", "attentive_unet"])
def test_guidance_is_a_row_each_and_its_default_the_runs_own(name):
  module = _module(name)[1]
  own = _call(module, "synthesize_png", **_rows())["image_png_bytes"]
  given = _call(module, "synthesize_png", **_rows(guidance=tf.constant([0.5, 4.0, np.nan])))["image_png_bytes"]
  assert (given == own).tolist() == [True, False, True]
  least, most = module.settings.guidance_range
  beyond, clipped = (_call(module, "synthesize_png", **_rows(guidance=tf.constant(values)))["image_png_bytes"]
                     for values in ([-9.0, 1e9, np.inf], [least, most, most]))
  assert (beyond == clipped).all()


@pytest.mark.parametrize("name", ["score", "attentive_unet"])
def test_guidance_is_that_of_the_flag(name):
  classifier, module = _module(name)
  other = classifier.with_settings(guidance=2.0)
  live = other.draw(_rows()["class_weights"].numpy(), _rows()["seed"].numpy(), num_steps=8)
  drawn = _call(module, "synthesize_png", **_rows(guidance=tf.fill([COUNT], 2.0)))
  images = _decoded(drawn["image_png_bytes"], module.settings.image_shape).astype(int)
  assert np.mean(np.abs(images - live.images) > 1) < 0.02  # roundings, which a steep network makes grow


def test_more_noise_leaves_less_of_a_canvas(score_module):
  canvas = np.zeros([COUNT, 8, 8, 1], np.uint8)
  canvas[:, 2:6, 3:5] = 255

  def distances(noise):
    drawn = _call(score_module, "refine_png", **_rows(images=tf.constant(canvas), canvas_noise=tf.fill([COUNT], noise)))
    return np.abs(_decoded(drawn["image_png_bytes"], (8, 8, 1)).astype(int) - canvas).mean(axis=(1, 2, 3))

  least, most = score_module.settings.canvas_noise_range
  assert (distances(least) < distances(most)).all()
  np.testing.assert_array_equal(distances(least / 10), distances(least))


def test_what_a_model_has_not_is_no_input():
  plain = {"class_weights", "seed", "num_steps", "temperature"}
  for model, further in (("attentive", set()), ("attentive_unet", {"guidance"}), ("score", {"guidance"})):
    names = {name: {spec.name for spec in function.input_signature}
             for name, function in _module(model)[1].functions.items()}
    assert names["synthesize_png"] == plain | further
    assert names["refine_png"] == {"images", *plain, *further, *(["canvas_noise"] if model == "score" else [])}
    assert names["synthesize"] == plain and names["refine"] == {"images", *plain}


def test_channels_that_png_has_not_have_no_such_signatures():
  images = np.random.default_rng(0).integers(0, 256, [20, 4, 4, 2], np.uint8)
  classifier = loading.wrap(lambda rows: tf.reshape(rows, [-1, 32])[:, :3], images, ["a", "b", "c"], num_steps=2)
  module = serving_module.ServingModule(classifier, max_steps=4)
  assert not [name for name in module.functions if name.endswith("_png")]
  assert {"synthesize", "refine", "draw"} < set(module.functions)
