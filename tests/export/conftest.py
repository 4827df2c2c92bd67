"""One exported version of the tiny run, a request that asks for everything, and the live model's answer to it."""

import os
import subprocess
import sys
from typing import Dict

import numpy as np
import pytest
import tensorflow as tf

import stic_tf
from tests import tiny_run
from tests import untrained_classifiers

EXPORT_MAIN = tiny_run.MAIN.replace(os.path.join("trainers", "main.py"), os.path.join("export", "main.py"))
COUNT = untrained_classifiers.COUNT
# The tiny run's own, fewer and more.
STEPS, TEMPERATURES = (6, 1, 20), (1.0, 0.5)
OUTPUTS = ("images", "probabilities", "log_density", "acceptance_rate")


@pytest.fixture(scope="session")
def classifier(trained_run):
  """The live model."""
  return stic_tf.load(trained_run)


@pytest.fixture(scope="session")
def model_dir(trained_run, tmp_path_factory) -> str:
  """The folder of version 1, made by the command."""
  export_dir = tmp_path_factory.mktemp("models") / "deep" / "stic"
  finished = subprocess.run(
      [sys.executable, EXPORT_MAIN, f"--run_dir={trained_run}", f"--export_dir={export_dir}", "--max_steps=50",
       "--nopng"],
      capture_output=True, text=True, check=False)
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout.strip() == str(export_dir / "1") and not finished.stderr
  return str(export_dir / "1")


@pytest.fixture(scope="session")
def signatures(model_dir):
  """The version as tf.saved_model.load gives it: {name: function of arrays, to arrays}."""
  loaded = tf.saved_model.load(model_dir)

  def make(function):
    return lambda **inputs: {name: value.numpy() for name, value in
                             function(**{name: tf.constant(value) for name, value in inputs.items()}).items()}

  # The functions live as long as what was loaded.
  return {"loaded": loaded, **{name: make(function) for name, function in loaded.signatures.items()}}


@pytest.fixture(scope="session")
def request_rows() -> Dict[str, np.ndarray]:
  """COUNT rows for `synthesize`: hard and soft classes, and settings of their own."""
  weights, seeds = untrained_classifiers.request()
  return {"class_weights": weights, "seed": seeds,
          "num_steps": np.array([STEPS[i % len(STEPS)] for i in range(COUNT)], np.int32),
          "temperature": np.array([TEMPERATURES[i % len(TEMPERATURES)] for i in range(COUNT)], np.float32)}


@pytest.fixture(scope="session")
def drawn_live(classifier, request_rows) -> Dict[str, np.ndarray]:
  """`classifier.draw` of those rows, one call for each pair of settings."""
  live = {}
  for num_steps in STEPS:
    for temperature in TEMPERATURES:
      rows = np.flatnonzero((request_rows["num_steps"] == num_steps) & (request_rows["temperature"] == temperature))
      drawings = classifier.draw(request_rows["class_weights"][rows], request_rows["seed"][rows], num_steps=num_steps,
                                 temperature=temperature)
      for name in OUTPUTS:
        values = getattr(drawings, name)
        live.setdefault(name, np.zeros([COUNT, *values.shape[1:]], values.dtype))[rows] = values
  return live
