"""The client: the live model's bytes over gRPC, what is sent again and what is not, and the command.

tests/export/test_served.py draws with a real export and a real server.
"""

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
import types

import grpc
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from serving import client as client_lib
from serving import drawing_client
from stic_tf import config as config_lib
from stic_tf import drawing_file
from stic_tf import picture_file
from tests.serving import running_server as server_lib
from tests.serving import stand_in
from tests.serving.model_server import ModelServer

_COMMAND = str(server_lib.ROOT / "serving" / "client.py")
_UNAVAILABLE, _INVALID = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT


class Live:
  """What was saved, called without a server."""

  class_names = stand_in.SETTINGS["class_names"].tolist()

  def __init__(self, folder: str):
    self._loaded = tf.saved_model.load(folder)

  def _call(self, signature, **inputs):
    outputs = self._loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}

  def draw(self, weights, seeds=0, num_steps=stand_in.OWN_STEPS, temperature=1.0) -> drawing_client.Drawings:
    weights = np.eye(10)[weights] if np.ndim(weights) == 1 else weights
    weights, count = np.asarray(weights, np.float32), len(weights)
    seeds = np.int64([(seeds, number) for number in range(count)] if np.ndim(seeds) == 0 else seeds)
    drawn = self._call("synthesize", class_weights=weights, seed=seeds, num_steps=np.full(count, num_steps, np.int32),
                       temperature=np.full(count, temperature, np.float32))
    return drawing_client.Drawings(class_weights=weights, seeds=seeds, **drawn)

  def classify(self, images):
    return self._call("serving_default", images=images)["probabilities"]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> str:
  return stand_in.save(str(tmp_path_factory.mktemp("stic") / "1"))


@pytest.fixture(scope="module")
def classifier(model_dir) -> Live:
  return Live(model_dir)


@pytest.fixture(scope="module")
def running_server(model_dir, classifier):
  server = ModelServer(model_dir)
  yield server
  server.stop()


@pytest.fixture
def server(running_server):
  running_server.failures, running_server.version = [], 1
  running_server.requests.clear()
  return running_server


@pytest.fixture
def client(server):
  with drawing_client.Client(server.address, backoff=0.01) as client:
    yield client


def _assert_same(drawings, expected):
  for name in ("images", "class_weights", "seeds", "log_density", "probabilities", "acceptance_rate"):
    np.testing.assert_array_equal(getattr(drawings, name), getattr(expected, name), err_msg=name)
    assert getattr(drawings, name).dtype == getattr(expected, name).dtype


def test_it_draws_the_live_images_in_any_batches(client, server, classifier):
  expected = classifier.draw([3, 7, 7, 0, 1, 2, 3], seeds=5)
  _assert_same(client.draw([3, 7, 7, 0, 1, 2, 3], seeds=5), expected)
  seen = []
  _assert_same(client.draw([3, 7, 7, 0, 1, 2, 3], seeds=5, batch_size=3, on_batch=seen.append), expected)
  assert seen == [3, 6, 7] and len(server.requests) == 1 + 3


def test_soft_classes_own_seeds_and_settings(client, classifier):
  weights, seeds = [[0.5, 0.5, *[0.0] * 8], [0.1] * 10], [[1, -2], [2 ** 40, 3]]
  _assert_same(client.draw(weights, seeds, num_steps=9, temperature=0.5),
               classifier.draw(weights, seeds, num_steps=9, temperature=0.5))


def test_classes_by_name(client, classifier):
  _assert_same(client.draw(["3", "7"], seeds=5), classifier.draw([3, 7], seeds=5))


def test_it_classifies(client, classifier):
  images = np.random.default_rng(0).integers(0, 256, [20, 8, 8, 1]).astype(np.uint8)
  np.testing.assert_array_equal(client.classify(images, batch_size=8), classifier.classify(images))
  assert client.classify(images[:0]).shape == (0, 10)


def test_it_draws_on_from_images(client, server, classifier):
  images = classifier.draw([3, 7], seeds=5).images
  drawings = client.draw([3, 7], seeds=5, num_steps=1, canvas_images=images)
  assert server.requests[0].model_spec.signature_name == "refine"
  blank = client.draw([3, 7], seeds=5, num_steps=1)
  assert np.abs(drawings.images - images.astype(float)).mean() < np.abs(blank.images - images.astype(float)).mean()


def test_what_the_server_says_of_the_model(client, classifier):
  assert client.describe() == drawing_client.ServedModel(
      version=1, num_steps=6, temperature=1.0, max_steps=50, temperature_range=(np.float32(0.01), 100.0),
      class_names=tuple(classifier.class_names), image_shape=(8, 8, 1))


# ---- failures ----

def test_an_unavailable_server_is_asked_again(client, server, classifier):
  server.failures = [_UNAVAILABLE] * 4
  _assert_same(client.draw([3], seeds=5), classifier.draw([3], seeds=5))
  assert len(server.requests) == 5


def test_a_large_request_is_sent_again_too(client, server):
  server.failures = [_UNAVAILABLE]
  images = np.zeros([20_000, 8, 8, 1], np.uint8)
  assert images.nbytes > 4 * 256 * 1024
  assert len(client.classify(images, batch_size=len(images))) == len(images)
  assert len(server.requests) == 2


def test_it_gives_up_in_the_end(client, server):
  server.failures = [_UNAVAILABLE] * 9
  with pytest.raises(drawing_client.ServingError, match="UNAVAILABLE: as ordered") as caught:
    client.draw([3])
  assert caught.value.code == _UNAVAILABLE and len(server.requests) == 5


def test_a_server_that_is_slow_to_greet_is_waited_for(server, classifier):
  """A busy machine takes its time over a connection: one that comes after most of a second is as good as any."""
  host, _, port = server.address.rpartition(":")
  with socket.create_server(("127.0.0.1", 0)) as listener:

    def pass_on():
      near, _ = listener.accept()
      time.sleep(0.7)
      with contextlib.suppress(OSError), near, socket.create_connection((host, int(port))) as far:
        sockets = {near: far, far: near}
        while True:
          for readable in select.select(list(sockets), [], [])[0]:
            data = readable.recv(1 << 16)
            if not data:
              return
            sockets[readable].sendall(data)

    threading.Thread(target=pass_on, daemon=True).start()
    with drawing_client.Client(f"127.0.0.1:{listener.getsockname()[1]}", retries=0) as client:
      np.testing.assert_array_equal(client.draw([3], seeds=1).images, classifier.draw([3], seeds=1).images)


def test_no_retries_if_none_are_asked_for(server):
  server.failures = [_UNAVAILABLE]
  with drawing_client.Client(server.address, retries=0) as client:
    with pytest.raises(drawing_client.ServingError, match="UNAVAILABLE"):
      client.draw([3])
  assert len(server.requests) == 1


@pytest.mark.parametrize("code", [_INVALID, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED,
                                  grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.NOT_FOUND])
def test_other_failures_are_final(client, server, code):
  server.failures = [code]
  with pytest.raises(drawing_client.ServingError, match=f"{code.name}: as ordered") as caught:
    client.draw([3])
  assert caught.value.code == code and len(server.requests) == 1


def test_it_outlives_a_restart(model_dir, classifier):
  """The connection is refused for a while, then the port is open again."""
  server = ModelServer(model_dir)
  with drawing_client.Client(server.address, backoff=0.3) as client:
    model = client.describe()
    server.stop()

    def restart(done):
      """Between two batches."""
      if done == 1:
        server.start(int(server.address.rpartition(":")[2]))

    with pytest.raises(drawing_client.ServingError, match="UNAVAILABLE"):
      with drawing_client.Client(server.address, retries=0) as impatient:
        impatient.draw([3], model=model)
    restart(1)
    _assert_same(client.draw([3, 7], seeds=5, batch_size=1, model=model), classifier.draw([3, 7], seeds=5))
  server.stop()


def test_two_versions_never_mix_in_one_drawing(client, server):
  def swap(done):
    server.version = 2

  with pytest.raises(drawing_client.ServingError, match="from version 1 of stic to 2 meanwhile"):
    client.draw([3, 7], batch_size=1, on_batch=swap)
  assert client.draw([3]).images.shape == (1, 8, 8, 1)


def test_another_model(server):
  with drawing_client.Client(server.address, "zz") as client:
    with pytest.raises(drawing_client.ServingError, match=r"NOT_FOUND: .*Latest\(zz\)"):
      client.draw([3])


@pytest.mark.parametrize("settings, message", [
    ({"class_weights": [10]}, "class_weights=10"), ({"class_weights": ["three"]}, "class_weights=three"),
    ({"seeds": 2 ** 63}, "seeds=9223372036854775808: must be integers of 64 bits"), ({"seeds": 0.5}, "seeds=0.5"),
    ({"seeds": np.uint64([[0, 2 ** 63]])}, "seeds=9223372036854775808"),
    ({"class_weights": [[0.1] * 9]}, "class_weights"),
    ({"class_weights": [[np.nan] * 10]}, "class_weights"), ({"seeds": [[1, 2], [3, 4]]}, "seeds"),
    ({"num_steps": 51}, r"num_steps=51: must lie in 1\.\.50, the export's limit"), ({"num_steps": -1}, "num_steps"),
    ({"temperature": 1e-9}, "temperature"), ({"temperature": np.nan}, "temperature"),
    ({"batch_size": 0}, "batch_size"), ({"canvas_images": np.zeros([1, 9, 8, 1], np.uint8)}, "images"),
    ({"canvas_images": np.zeros([2, 8, 8, 1], np.uint8)}, "canvas_images")], ids=str)
def test_wrong_input_is_never_sent(client, server, settings, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    client.draw(**{"class_weights": [3], **settings})
  assert not server.requests


@pytest.mark.parametrize("arguments, message", [
    ({"server": "localhost"}, "server=localhost: must be HOST:PORT"), ({"server": "host:port"}, "server"),
    ({"timeout": 0.0}, "timeout"), ({"timeout": np.nan}, "timeout"), ({"retries": 5}, r"0\.\.4"),
    ({"retries": -1}, "retries")], ids=str)
def test_wrong_arguments(arguments, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    drawing_client.Client(**{"server": "localhost:8500", **arguments})


# ---- the command ----

def _values(server, **changes):
  defaults = dict(model_name="stic", model_version=None, classes=None, soft=None, canvas=None, classify=None,
                  num_images=4, seed=0, num_steps=None, temperature=None, batch_size=16, out=None, timeout=60.0,
                  retries=4, tls_ca=None, tls_cert=None, tls_key=None, scale=0, no_resize=False, guidance=None,
                  canvas_noise=None)
  return types.SimpleNamespace(**{"server": server.address, **defaults, **changes})


def test_the_command_writes_the_live_drawings(server, classifier, tmp_path):
  finished = subprocess.run(
      [sys.executable, _COMMAND, f"--server={server.address}", "--batch_size=2", f"--out={tmp_path / 'served.npz'}",
       "--classes=3,7", "--num_images=5", "--seed=9"], capture_output=True, text=True, check=False)
  assert finished.returncode == 0 and not finished.stderr, finished.stderr
  assert "5 drawings, acceptance 0." in finished.stdout
  # As `trainers/main.py --mode=sample` writes them.
  drawing_file.write(str(tmp_path / "live.npz"), classifier.draw([3, 7, 3, 7, 3], seeds=9))
  with np.load(tmp_path / "served.npz") as served, np.load(tmp_path / "live.npz") as live:
    assert served.files == live.files
    for name in live.files:
      np.testing.assert_array_equal(served[name], live[name], err_msg=name)
      assert served[name].dtype == live[name].dtype


def test_a_picture_and_a_soft_class(server, classifier, tmp_path, capsys):
  client_lib.run(_values(server, soft="3:0.5,8:0.5", out=str(tmp_path / "x.png"), num_images=2))
  weights = 0.5 * (np.eye(10)[3] + np.eye(10)[8])
  picture = np.asarray(PIL.Image.open(tmp_path / "x.png"))
  np.testing.assert_array_equal(picture[1:33:4, 35:67:4],
                                classifier.draw([weights, weights], seeds=0).images[1, :, :, 0])
  assert "2 drawings" in capsys.readouterr().out


def test_classifying_and_drawing_on_from_a_picture(server, classifier, tmp_path, capsys):
  image = classifier.draw([3], seeds=1).images[0, :, :, 0]
  PIL.Image.fromarray(image).save(tmp_path / "image.png")
  client_lib.run(_values(server, classify=str(tmp_path / "image.png")))
  probabilities = classifier.classify(image[np.newaxis, :, :, np.newaxis])[0]
  first = capsys.readouterr().out.splitlines()[0].split()
  assert first == [str(probabilities.argmax()), f"{probabilities.max():.4f}"]
  client_lib.run(_values(server, canvas=str(tmp_path / "image.png"), classes="3", num_images=2,
                         out=str(tmp_path / "x.npz")))
  with np.load(tmp_path / "x.npz") as drawn:
    assert drawn["images"].shape == (2, 8, 8, 1) and (drawn["images"][0] != drawn["images"][1]).any()


def test_any_picture_is_classified(server, classifier, tmp_path, capsys):
  """A photograph of 16 times the size, with a transparent half, and in 16 bits: what was done is said."""
  image = classifier.draw([3], seeds=1).images[0, :, :, 0]
  large = image.repeat(16, 0).repeat(16, 1)
  PIL.Image.fromarray(np.stack([large] * 3 + [np.full_like(large, 255)], 2)).save(tmp_path / "rgba.png")
  PIL.Image.fromarray(large.astype(np.uint16) * 257).save(tmp_path / "deep.png")
  expected = classifier.classify(image[np.newaxis, :, :, np.newaxis])[0].argmax()
  for name in ("rgba", "deep"):
    client_lib.run(_values(server, classify=str(tmp_path / f"{name}.png")))
    printed = capsys.readouterr()
    assert printed.out.split()[0] == str(expected)
    assert printed.err == (f"--classify={tmp_path}/{name}.png: converted to grey, resized to 8×8 from 128×128 pixels\n")


def test_what_is_transparent_is_white(tmp_path):
  PIL.Image.fromarray(np.zeros([8, 8, 4], np.uint8)).save(tmp_path / "clear.png")
  pixels, _ = picture_file.read(str(tmp_path / "clear.png"), (8, 8, 3), "classify")
  assert pixels.shape == (8, 8, 3) and (pixels == 255).all()


@pytest.mark.parametrize("scale", [1, 3, 16])
def test_another_scale(server, classifier, tmp_path, scale):
  client_lib.run(_values(server, classes="3", num_images=1, scale=scale, out=str(tmp_path / "x.png")))
  picture = np.asarray(PIL.Image.open(tmp_path / "x.png"))
  assert picture.shape == (8 * scale + 2, 8 * scale + 2)
  np.testing.assert_array_equal(picture[1:-1:scale, 1:-1:scale], classifier.draw([3]).images[0, :, :, 0])


@pytest.fixture(scope="module")
def wrong_pictures(tmp_path_factory):
  """A folder with one that is too large, one that fills the memory and one that is cut off."""
  folder = tmp_path_factory.mktemp("pictures")
  PIL.Image.fromarray(np.zeros([9, 10], np.uint8)).save(folder / "large.png")
  PIL.Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
  (folder / "cut.png").write_bytes((folder / "large.png").read_bytes()[:45])
  return folder


@pytest.mark.parametrize("changes, message", [
    ({"out": "x.jpg"}, "out=x.jpg: must end in"), ({"num_images": 0}, "num_images=0"), ({"seed": -1}, "seed=-1"),
    ({"classes": "12"}, "classes=12"), ({"soft": "3:0.5"}, "soft=3:0.5: weights"),
    ({"soft": "3:1", "classes": "3"}, "soft=3:1: cannot be given together"),
    ({"classify": "absent.png"}, "classify=absent.png: cannot be read"), ({"tls_ca": "absent.pem"}, "tls_ca"),
    ({"tls_cert": "a.pem", "tls_ca": "a.pem"}, "tls_key=: must be given with tls_cert"),
    ({"tls_cert": "a.pem", "tls_key": "a.pem"}, "tls_cert=a.pem: goes with tls_ca"),
    ({"scale": 65}, "scale=65"), ({"classify": "bomb.png"}, "classify=bomb.png: cannot be read as an image"),
    ({"classify": "cut.png"}, "classify=cut.png: cannot be read as an image"),
    ({"canvas": "large.png", "no_resize": True}, "canvas=.*is 10×9 pixels, must be 8×8")], ids=str)
def test_what_the_command_refuses(server, wrong_pictures, monkeypatch, changes, message):
  monkeypatch.chdir(wrong_pictures)
  with pytest.raises(config_lib.ConfigError, match=message):
    client_lib.run(_values(server, **{"out": "x.npz", **changes}))
  assert sorted(os.listdir()) == ["bomb.png", "cut.png", "large.png"] and not server.requests


def test_a_server_that_is_not_there(tmp_path, capsys):
  """One line and exit code 1: the input may well be right."""
  nowhere = types.SimpleNamespace(address="127.0.0.1:1")
  with pytest.raises(SystemExit) as ended:
    client_lib.run(_values(nowhere, out=str(tmp_path / "x.npz"), retries=0))
  assert ended.value.code == 1 and not list(tmp_path.iterdir())
  error = capsys.readouterr().err
  assert len(error.splitlines()) == 1 and error.startswith("error: --server=127.0.0.1:1: UNAVAILABLE")
