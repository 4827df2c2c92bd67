"""The client without TensorFlow: with grpcio, protobuf, NumPy and Pillow alone, and messages that are TensorFlow's."""

import os
import pathlib
import re
import subprocess
import sys
import sysconfig

import pytest
from google.protobuf import descriptor_pool
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import predict_pb2

from serving import api_protos
from tests.serving import running_server
from tests.serving import stand_in
from tests.serving.model_server import ModelServer

_PACKAGES = ("grpc", "google/protobuf", "google/_upb", "numpy", "numpy.libs", "PIL", "pillow.libs")
_COMMAND = str(running_server.ROOT / "serving" / "client.py")


@pytest.fixture
def environment(tmp_path):
  """That of a Python which finds these packages and no others."""
  packages = pathlib.Path(sysconfig.get_paths()["platlib"])
  os.makedirs(tmp_path / "only" / "google")
  for name in _PACKAGES:
    if (packages / name).exists():
      os.symlink(packages / name, tmp_path / "only" / name)
  return {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "only"), "PYTHONDONTWRITEBYTECODE": "1"}


def _run(environment, *arguments):
  return subprocess.run([sys.executable, "-S", *arguments], env=environment, capture_output=True, text=True,
                        timeout=120)


@pytest.mark.parametrize("name", ["tensorflow", "tensorflow_serving", "absl", "tqdm", "ml_dtypes"])
def test_the_environment_has_nothing_else(environment, name):
  assert "ModuleNotFoundError" in _run(environment, "-c", f"import {name}").stderr


def test_it_draws_there(environment, tmp_path):
  server = ModelServer(stand_in.save(str(tmp_path / "stic" / "1")))
  try:
    ended = _run(environment, _COMMAND, f"--server={server.address}", "--classes=3,7", "--num_images=2",
                 f"--out={tmp_path / 'x.png'}")
    assert ended.returncode == 0 and not ended.stderr and (tmp_path / "x.png").exists()
    ended = _run(environment, _COMMAND, f"--server={server.address}", f"--classify={tmp_path / 'x.png'}")
    assert ended.returncode == 0 and len(ended.stdout.splitlines()) == 3
  finally:
    server.stop()


def test_it_starts_in_a_second(environment):
  """Of processor time, the interpreter's own included, where TensorFlow's import alone took several."""
  code = "import sys, time; sys.path[0] = sys.argv[1]; import serving.client; print(time.process_time())"
  seconds = [float(_run(environment, "-c", code, str(running_server.ROOT)).stdout) for _ in range(3)]
  assert min(seconds) < 1.0


def _messages(descriptor):
  yield descriptor
  for nested in descriptor.nested_types:
    yield from _messages(nested)


def _all_messages():
  for name in ("tensorflow.proto", "tensorflow_serving.proto"):
    for descriptor in api_protos.POOL.FindFileByName(name).message_types_by_name.values():
      yield from _messages(descriptor)


def test_the_messages_are_tensorflows():
  """Each field has the number, the type and the label that it has there."""
  assert predict_pb2 and get_model_metadata_pb2  # which bring all of them
  count = 0
  for ours in _all_messages():
    theirs = descriptor_pool.Default().FindMessageTypeByName(ours.full_name)
    for field in ours.fields:
      other = theirs.fields_by_name[field.name]
      for name in ("number", "type", "label"):
        assert getattr(field, name) == getattr(other, name), (ours.full_name, field.name)
      count += 1
  assert count > 50


def test_what_protoc_made_is_what_the_proto_files_say():
  stated = []
  for name in ("tensorflow.proto", "tensorflow_serving.proto"):
    text = (running_server.ROOT / "serving" / "protos" / name).read_text()
    text = re.sub(r"//.*|enum \w+ \{[^}]*\}|^\w.*;$", "", text, flags=re.MULTILINE)
    stated += re.findall(r"(\w+) = (\d+)(?: \[packed = true\])?;", text)
  compiled = [(field.name, str(field.number)) for message in _all_messages() if not message.GetOptions().map_entry
              for field in message.fields]
  assert sorted(stated) == sorted(compiled)
