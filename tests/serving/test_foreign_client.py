"""ovmsclient 2023.1, an independent client of tensorflow_model_server, in its own process.

It is no requirement of the project, as it brings protos of its own that clash with TensorFlow's. Where it is wanted:

    pip install --no-deps --target=FOLDER ovmsclient==2023.1 && STIC_OVMSCLIENT=FOLDER pytest tests/serving
"""

import json
import os
import subprocess
import sys

import pytest

from tests.serving import running_server


@pytest.fixture(scope="module")
def answers(served):
  environment = {**os.environ, "PYTHONPATH": os.environ.get("STIC_OVMSCLIENT", "")}
  probe = subprocess.run([sys.executable, "-c", "import ovmsclient"], env=environment, capture_output=True, text=True)
  if probe.returncode:
    pytest.skip(f"ovmsclient cannot be imported: {probe.stderr.strip().splitlines()[-1]}")
  script = running_server.ROOT / "tests" / "serving" / "foreign_client.py"
  ended = subprocess.run([sys.executable, script, served.address, served.rest.split("//")[1]], env=environment,
                         capture_output=True, text=True, timeout=120)
  assert ended.returncode == 0, ended.stderr
  return json.loads(ended.stdout)


@pytest.mark.parametrize("way", ["grpc", "rest"])
def test_a_foreign_client_is_served(answers, way):
  found = answers[way]
  status, = found["status"].values()
  assert status["state"] == "AVAILABLE"
  assert way == "rest" or found["metadata"] == [1, ["x"], ["y", "z"]]
  assert found["y"] == [2.0, 3.5]
  assert found["model"][0] == "ModelNotFoundError"
  assert "Servable not found for request: Specific(zz, 1)" in found["model"][1]
  assert found["input"][0] == "InvalidInputError"
