"""What the gate refuses, each with a model made for it, and that a refused export leaves nothing behind."""

import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import stic_tf
from export import exporter
from export import gate
from export import serving_module
from stic_tf import config as config_lib

_IMAGES = np.random.default_rng(0).integers(0, 256, [20, 4, 4, 1]).astype(np.uint8)
_WEIGHTS = np.random.default_rng(1).normal(size=[16, 3]).astype(np.float32)


def _logits(images):
  return tf.reshape(images, [-1, 16]) @ tf.constant(_WEIGHTS)


def _wrap(logits, **settings):
  return stic_tf.wrap(logits, _IMAGES, ["a", "b", "c"], num_steps=5, **settings)


def _python_code(images):
  return _logits(images) + tf.stop_gradient(tf.ensure_shape(tf.numpy_function(np.sum, [images], tf.float32), []))


@pytest.mark.parametrize("logits, message", [
    (_python_code, "Python code in the graph .*PyFunc"),
    (tf.function(_logits, jit_compile=True, autograph=False), "jitted"),
], ids=["PyFunc", "jitted"])
def test_what_a_server_cannot_run_is_refused(logits, message, tmp_path):
  with pytest.raises(gate.GateError, match=message):
    exporter.export_classifier(_wrap(logits), str(tmp_path / "new" / "model"), png=False)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("settings", [
    # With a temperature that no request could ask of another run: the run's own is always within the range.
    {"preconditioner": "spectral", "reference": "flat", "temperature": 1e-3},
    {"sampler": "jem_sgld", "preconditioner": "pixels", "reference": "flat"}], ids=str)
def test_other_samplers_pass(settings, tmp_path):
  """The gate itself compares the exported with the live drawings."""
  version = exporter.export_classifier(_wrap(_logits, **settings), str(tmp_path / "model"), png=False)
  assert version == str(tmp_path / "model" / "1")


def test_a_system_that_mixes_ten_classes_at_most_passes_with_more(tmp_path):
  network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 4, 2, "same", activation="swish")])
  system = stic_tf.AttentiveSTIC(network, 12, average=network, num_steps=2)
  system.adapt(np.random.default_rng(0).integers(0, 256, [20, 8, 8, 1]).astype(np.uint8))
  exported = exporter.export_classifier(system.classifier, str(tmp_path / "model"), png=False)
  assert exported == str(tmp_path / "model" / "1")


def _rename_an_op(folder, to):
  """Renames a convolution inside a function of the library: nothing of it shows in the outer graph."""
  path = pathlib.Path(folder, "saved_model.pb")
  saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
  nodes = [node for function in saved_model.meta_graphs[0].graph_def.library.function for node in function.node_def
           if node.op == "Conv2D"]
  nodes[0].op = to
  path.write_bytes(saved_model.SerializeToString())


def test_a_custom_operation_in_a_function_is_refused(model_dir, tmp_path):
  shutil.copytree(model_dir, tmp_path / "model")
  gate.check_graph(str(tmp_path / "model"))
  _rename_an_op(tmp_path / "model", "Addons>Resampler")
  with pytest.raises(gate.GateError, match="custom operation Addons>Resampler"):
    gate.check_graph(str(tmp_path / "model"))


def test_another_image_is_refused(model_dir, trained_run, classifier):
  settings = serving_module.Settings(6, 1.0, 50, (0.01, 100.0), classifier.class_names, (8, 8, 1), 16, 0, (), ())
  gate.check_images(model_dir, classifier, settings)
  # A canvas that is less than a grey level brighter.
  other = stic_tf.load(trained_run)
  other.system.preconditioner.mean.assign_add(tf.fill([64], 0.004))
  with pytest.raises(gate.GateError, match="images of synthesize: the exported model differs"):
    gate.check_images(model_dir, other, settings)


def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
  def fail(unused, folder, **others):
    pathlib.Path(folder, "saved_model.pb").write_text("half of o")
    raise KeyboardInterrupt

  (tmp_path / "model" / "7").mkdir(parents=True)
  monkeypatch.setattr(tf.saved_model, "save", fail)
  with pytest.raises(KeyboardInterrupt):
    exporter.export_classifier(_wrap(_logits), str(tmp_path / "model"), png=False)
  assert os.listdir(tmp_path / "model") == ["7"]


def test_a_version_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
  monkeypatch.setattr(tf.saved_model, "save", lambda *unused, **others: None)
  monkeypatch.setattr(gate, "check_graph", lambda folder: (tmp_path / "1").mkdir())
  monkeypatch.setattr(gate, "check_images", lambda *unused: None)
  monkeypatch.setattr(exporter, "next_version", lambda unused: 1)
  with pytest.raises(config_lib.ConfigError, match="export_dir=.*already there"):
    exporter.export_classifier(_wrap(_logits), str(tmp_path), png=False)
  assert os.listdir(tmp_path) == ["1"] and not os.listdir(tmp_path / "1")
