"""Clients that others wrote, each in its own process, skipped where it is absent.

ovmsclient 2023.1 is no requirement of the project, as it brings protos of its own that clash with TensorFlow's, nor is
Node's grpc-js. Where they are wanted:

    pip install --no-deps --target=FOLDER ovmsclient==2023.1 && STIC_OVMSCLIENT=FOLDER pytest tests/serving
    npm install --prefix=FOLDER @grpc/grpc-js @grpc/proto-loader && STIC_NODE=FOLDER/node_modules pytest tests/serving
    apt-get install curl wrk apache2-utils
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import requests

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


_BODY = '{"instances": [1.0, 2.5]}'
_ROWS = [{"y": 2.0, "z": 2.0}, {"y": 3.5, "z": 5.0}]


def _ran(program: str, *arguments: str, **options) -> subprocess.CompletedProcess:
  """The finished process; skips where there is no such program."""
  path = shutil.which(program)
  if path is None:
    pytest.skip(f"{program} is not installed")
  return subprocess.run([path, *arguments], capture_output=True, timeout=120, **options)


def test_grpc_js_is_served(served):
  modules = os.environ.get("STIC_NODE", "")
  environment = {**os.environ, "NODE_PATH": modules}
  if _ran("node", "-e", "require('@grpc/grpc-js'); require('@grpc/proto-loader')", env=environment).returncode:
    pytest.skip("STIC_NODE names no folder with grpc-js")
  script = running_server.ROOT / "tests" / "serving" / "foreign_client.js"
  ended = _ran("node", str(script), served.address, str(running_server.ROOT / "serving" / "protos"), env=environment)
  assert ended.returncode == 0, ended.stderr
  assert json.loads(ended.stdout) == {"y": [2.0, 3.5], "version": 1, "code": 5,
                                      "details": "Servable not found for request: Latest(zz)"}


@pytest.mark.parametrize("more", [(), ("-H", "Transfer-Encoding: chunked"), ("--http1.0",),
                                  ("-H", "Expect: 100-continue")], ids=" ".join)
def test_curl_is_served(served, more):
  ended = _ran("curl", "-sS", "--fail", *more, "-d", _BODY, f"{served.rest}/v1/models/m:predict")
  assert json.loads(ended.stdout) == {"predictions": _ROWS}, ended.stderr


def test_requests_is_served(served):
  url = f"{served.rest}/v1/models/m:predict"
  with requests.Session() as session:
    for _ in range(3):
      assert session.post(url, data=_BODY, timeout=30).json() == {"predictions": _ROWS}
    packed = session.post(url, data=gzip.compress(_BODY.encode()), headers={"Content-Encoding": "gzip"}, timeout=30)
    assert packed.json() == {"predictions": _ROWS}
    assert session.post(url, data=iter([_BODY.encode()]), timeout=30).json() == {"predictions": _ROWS}
    refused = session.post(url, data=b" " * 2_000_000, timeout=30)
    assert (refused.status_code, refused.json()) == (413, {"error": "at most 1000000 bytes"})


def test_ab_is_served(served, tmp_path):
  (tmp_path / "body").write_text(_BODY)
  ended = _ran("ab", "-k", "-n", "500", "-c", "16", "-p", str(tmp_path / "body"), f"{served.rest}/v1/models/m:predict")
  text = ended.stdout.decode()
  assert re.search(r"Complete requests:\s+500\n", text) and re.search(r"Failed requests:\s+0\n", text), text
  assert "Non-2xx" not in text


def test_wrk_is_served(served, tmp_path):
  (tmp_path / "post.lua").write_text(f"wrk.method = 'POST'\nwrk.body = '{_BODY}'\n")
  ended = _ran("wrk", "-d", "2s", "-t", "1", "-c", "32", "--timeout", "60s", "-s", str(tmp_path / "post.lua"),
               f"{served.rest}/v1/models/m:predict")
  text = ended.stdout.decode()
  assert int(re.search(r"(\d+) requests in", text)[1]) > 0, text
  assert "Non-2xx" not in text and "Socket errors" not in text, text
