"""benchmarks/serving.py runs on a model with the signature of an export, and writes its keys."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import serving
from tests.serving import running_server

_STATE = 64


class StandIn(tf.Module):
  """`synthesize` as an export has it: a chain whose rows depend on their own inputs only."""

  def __init__(self, num_classes: int = 3):
    super().__init__()
    random = np.random.default_rng(0)
    self.mix = tf.Variable((random.standard_normal([_STATE, _STATE]) / 8).astype(np.float32))
    self.start = tf.Variable(random.standard_normal([num_classes, _STATE]).astype(np.float32))

  @tf.function(autograph=False, input_signature=[
      tf.TensorSpec([None, 3], tf.float32, "class_weights"), tf.TensorSpec([None, 2], tf.int64, "seed"),
      tf.TensorSpec([None], tf.int32, "num_steps"), tf.TensorSpec([None], tf.float32, "temperature")])
  def synthesize(self, class_weights, seed, num_steps, temperature):
    # Sums over an axis, not products of matrices: those of one row and of sixteen add up in another order.
    state = tf.reduce_sum(class_weights[:, :, tf.newaxis] * self.start, axis=1)
    state += tf.cast(seed[:, 1:] % 7, tf.float32)

    def step(number, state):
      moved = tf.tanh(tf.reduce_sum(state[:, :, tf.newaxis] * self.mix, axis=1))
      return number + 1, tf.where((number < num_steps)[:, tf.newaxis], moved, state)

    _, state = tf.while_loop(lambda number, _: number < tf.reduce_max(num_steps), step, [tf.constant(0), state])
    images = tf.cast(tf.round(127.5 * (state + 1.0)), tf.uint8)
    return {"images": tf.reshape(images, [-1, 8, 8, 1]), "probabilities": class_weights,
            "log_density": tf.reduce_sum(state, axis=1) * temperature, "acceptance_rate": temperature}


def test_the_benchmark(tmp_path):
  model = StandIn()
  tf.saved_model.save(model, str(tmp_path / "export" / "1"), signatures={"synthesize": model.synthesize})
  out = tmp_path / "serving.json"
  ended = subprocess.run(
      [sys.executable, "benchmarks/serving.py", f"--export_dir={tmp_path / 'export'}", f"--out={out}", "--num_steps=5",
       "--repetitions=2", "--calls=1", "--memory_requests=50", "--threads=1"],
      cwd=running_server.ROOT, capture_output=True, text=True, timeout=300)
  assert ended.returncode == 0, ended.stderr
  report = json.loads(out.read_text())
  assert report["p50_over_in_process"] > 0 and report["batched_throughput_over_in_process"] > 0
  assert abs(report["memory_growth_mib"]) < 200
  assert report["threads"] == 1 and report["versions"]["tensorflow"] == tf.__version__ and report["device"]


def test_an_empty_export_folder_is_named(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["serving.py", f"--export_dir={tmp_path}", "--out=x"])
  with pytest.raises(SystemExit) as caught:
    serving.main()
  assert caught.value.code == 2
  assert capsys.readouterr().err.endswith(f"--export_dir={tmp_path}: has no numbered folder\n")
