"""The version folder: what is in it, which number it gets, and what wrong input says."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from export import exporter
from export import warmup
from stic_tf import config as config_lib
from tests.export.conftest import EXPORT_MAIN


def _logs(model_dir):
  records = tf.data.TFRecordDataset(os.path.join(model_dir, "assets.extra", "tf_serving_warmup_requests"))
  return [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]


def test_the_folder(model_dir, trained_run):
  assert set(os.listdir(model_dir)) == {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}
  assert os.listdir(os.path.dirname(model_dir)) == ["1"]
  assert os.stat(model_dir).st_mode & 0o777 == 0o755
  record = json.loads(pathlib.Path(model_dir, "assets.extra", "export.json").read_text())
  assert record["serving"] == {"num_steps": 6, "temperature": 1.0, "max_steps": 50, "temperature_range": [0.01, 100.0],
                               "class_names": [str(label) for label in range(10)], "image_shape": [8, 8, 1],
                               "num_frames": 16, "tile_grid": 0, "guidance_range": [], "canvas_noise_range": []}
  assert record["git_commit"] and record["versions"]["tensorflow"] == tf.__version__
  assert record["summary"] == json.loads(pathlib.Path(trained_run, "summary.json").read_text())
  assert record["last_pass"]["pass"] == 2 and record["settings"]["dataset"] == "digits"
  assert "--num_steps=6" in record["flags"]


def test_warm_up_replays(model_dir, signatures):
  """Every signature and filter of the client is there, and each request is one that the model answers.

  The export has no signatures with PNG bytes (test_png_signatures.py).
  """
  logs = _logs(model_dir)
  requests = [log.predict_log.request for log in logs]
  assert [(request.model_spec.signature_name, tuple(request.output_filter)) for request in requests] == [
      (name, filtered) for name, filters in warmup.CLIENT_FILTERS.items() for filtered in filters
      if not name.endswith("_png")]
  assert {request.model_spec.signature_name for request in requests} == {
      "serving_default", "classify", "synthesize", "draw", "refine"}
  for request in requests:
    assert request.model_spec.name == "stic"
    inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
    outputs = signatures[request.model_spec.signature_name](**inputs)
    assert all(len(value) == 1 for value in outputs.values())


@pytest.mark.parametrize("names, version", [
    ([], 1), (["1", "3"], 4), (["009", "export.x.tmp", "12a", "-5", "٣"], 10), (["2"], 3)])
def test_the_next_version(tmp_path, names, version):
  for name in names:
    (tmp_path / name).mkdir()
  assert exporter.next_version(str(tmp_path)) == version


def test_a_limit_below_the_runs_own_steps(trained_run, tmp_path):
  with pytest.raises(config_lib.ConfigError, match="max_steps=5: must lie between the run's own 6 steps"):
    exporter.export_run(trained_run, str(tmp_path / "model"), max_steps=5)
  assert not list(tmp_path.iterdir())


def test_a_run_that_is_not_there(tmp_path):
  with pytest.raises(config_lib.ConfigError, match="run_dir="):
    exporter.export_run(str(tmp_path / "absent"), str(tmp_path / "model"))
  assert not list(tmp_path.iterdir())


def test_a_path_through_a_file(trained_run, tmp_path):
  (tmp_path / "file").write_text("mine")
  with pytest.raises(NotADirectoryError):
    exporter.export_run(trained_run, str(tmp_path / "file" / "model"))
  assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("flags, message", [
    (["--export_dir=m"], "--run_dir=: must name"), (["--run_dir=r"], "--export_dir=: must name"),
    (["--run_dir=r", "--export_dir=m", "--max_steps=-1"], "--max_steps=-1: must lie in"),
    (["--run_dir=r", "--export_dir=m", "--max_steps=many"], "max_steps"), (["--steps=3"], "steps"),
    (["r"], "unexpected argument 'r'")], ids=str)
def test_wrong_flags_are_one_line(tmp_path, flags, message):
  finished = subprocess.run([sys.executable, EXPORT_MAIN, *flags], capture_output=True, text=True, check=False,
                            cwd=tmp_path)
  assert finished.returncode == 2 and not finished.stdout
  assert len(finished.stderr.splitlines()) == 1 and finished.stderr.startswith("error: ") and message in finished.stderr
  assert not list(tmp_path.iterdir())


def test_a_full_disk(trained_run, tmp_path):
  """As an error of writing, with nothing left behind. A limit on the size of files stands in for the disk."""
  script = ("import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); sys.argv = sys.argv[1:]; "
            "runpy.run_path(sys.argv[0], run_name='__main__')")
  flags = [f"--run_dir={trained_run}", f"--export_dir={tmp_path / 'model'}", "--nopng"]
  finished = subprocess.run([sys.executable, "-c", script, EXPORT_MAIN, *flags], capture_output=True, text=True,
                            check=False)
  assert finished.returncode == 2, finished.stderr
  assert finished.stderr.splitlines()[-1].startswith("error: --export_dir")
  assert not list(tmp_path.iterdir())
