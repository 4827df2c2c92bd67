"""docs/tutorial.ipynb: its code is run as it stands there, with a shorter training, and its outputs are in it."""

import json
import os
import pathlib

import matplotlib
import numpy as np
import pytest

import stic_tf

NOTEBOOK = pathlib.Path(__file__).resolve().parents[1] / "docs" / "tutorial.ipynb"


def _code():
  cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
  return [cell for cell in cells if cell["cell_type"] == "code"]


def test_its_outputs_are_in_it():
  outputs = [output for cell in _code() for output in cell["outputs"]]
  assert not [output for output in outputs if output["output_type"] == "error"]
  assert len([output for output in outputs if "image/png" in output.get("data", {})]) >= 8
  assert "the same bytes: True" in "".join(line for output in outputs for line in output.get("text", []))


@pytest.mark.skipif(not (NOTEBOOK.parents[1] / "zoo" / "digits_score").exists(), reason="there is no zoo")
def test_its_code_runs(tmp_path, monkeypatch, capsys):
  matplotlib.use("Agg")
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("PYTHONPATH", os.fspath(NOTEBOOK.parents[1]))
  names = {}
  for number, cell in enumerate(_code()):
    exec(compile("".join(cell["source"]).replace("updates = 150", "updates = 5"), f"cell {number}", "exec"), names)
  assert isinstance(names["classifier"], stic_tf.DrawingClassifier)
  assert len(names["history"].history["loss_denoising"]) == 4 and names["drawn"].images.shape == (10, 8, 8, 1)
  assert np.array_equal(names["served"].images, names["drawings"].images)
  assert "the same bytes: True" in capsys.readouterr().out
