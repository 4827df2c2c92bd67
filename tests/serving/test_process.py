"""The server as its own process: killed and started again, drained, asked for the impossible, and over TLS."""

import datetime
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request

import grpc
import numpy as np
import pytest

from tests.serving import running_server
from tests.serving import small_models

_X = np.float32([1.0])


@pytest.fixture
def base(tmp_path, version_folder):
  os.mkdir(tmp_path / "m")
  small_models.copy(version_folder, str(tmp_path / "m" / "1"))
  return str(tmp_path / "m")


def _flags(base, *more):
  return ("--model_name=m", f"--model_base_path={base}", "--port=0", *more)


def test_killed_started_again_and_drained(tmp_path, base):
  request = small_models.predict_request(x=_X)
  with running_server.process(str(tmp_path / "first.log"), *_flags(base)) as first:
    answer = first.client().prediction.Predict(request)
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
  with running_server.process(str(tmp_path / "second.log"), *_flags(base, "--rest_port=0")) as second:
    client = second.client()
    assert client.prediction.Predict(request) == answer
    # Listening for this machine only.
    assert "Running ModelServer at 127.0.0.1:" in second.text()
    _assert_drains(second, client)


def _assert_drains(server, client):
  """What is under way ends well, what comes later is refused, and the process ends with 0."""
  under_way = client.prediction.Predict.future(small_models.predict_request("loop", n=np.int32([300_000])))
  running_server.wait_until(lambda: under_way.running(), "the request")
  client.prediction.Predict(small_models.predict_request(x=_X))  # so the one before is there too
  server.process.send_signal(signal.SIGTERM)
  server.wait_for("Shutting down")
  late = running_server.Client(int(client.address.split(":")[1]))
  error = running_server.error_of(late.prediction.Predict, small_models.predict_request(x=_X), timeout=5)
  assert error.code() == grpc.StatusCode.UNAVAILABLE
  assert small_models.arrays(under_way.result())["n"].tolist() == [300_000]
  assert server.process.wait(60) == 0


def test_a_signal_within_a_wait_is_not_lost():
  """However far the main thread has come in waiting: here it holds the event's lock, as `wait` does for a moment."""
  code = ("import os, signal, threading; from serving import server; stop = threading.Event();"
          "server.stop_on_signals(stop);"
          "stop._cond.acquire(); os.kill(os.getpid(), signal.SIGTERM); stop._cond.release();"
          "print(stop.wait(30))")
  ended = subprocess.run([sys.executable, "-c", code], cwd=running_server.ROOT, capture_output=True, text=True,
                         timeout=60)
  assert ended.stdout == "True\n", ended.stderr


def test_a_drain_ends_at_its_limit_and_tls(tmp_path, base):
  key, certificate = _self_signed(tmp_path)
  flags = _flags(base, "--drain_seconds=0.2", "--rest_port=0", f"--ssl_key_file={key}",
                 f"--ssl_cert_file={certificate}")
  with running_server.process(str(tmp_path / "log"), *flags) as server:
    port = int(server.wait_for(r"Running ModelServer at \S+:(\d+)")[0])
    with open(certificate, "rb") as file:
      client = running_server.Client(port, credentials=grpc.ssl_channel_credentials(file.read()))
    assert small_models.arrays(client.prediction.Predict(small_models.predict_request(x=_X)))["y"] == [2]
    plain = running_server.Client(port)
    error = running_server.error_of(plain.prediction.Predict, small_models.predict_request(x=_X), timeout=5)
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    rest = server.wait_for(r"HTTP/REST API at:\S+:(\d+)")[0]
    context = ssl.create_default_context(cafile=certificate)
    with urllib.request.urlopen(f"https://localhost:{rest}/v1/models/m", timeout=30, context=context) as response:
      assert response.status == 200
    endless = client.prediction.Predict.future(small_models.predict_request("loop", n=np.int32([small_models.FOREVER])))
    running_server.wait_until(lambda: endless.running(), "the request")
    assert server.end() == 0
    assert endless.exception().code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


def _self_signed(folder):
  """Paths of a key and a certificate for localhost."""
  from cryptography import x509
  from cryptography.hazmat.primitives import hashes
  from cryptography.hazmat.primitives import serialization
  from cryptography.hazmat.primitives.asymmetric import ec

  key = ec.generate_private_key(ec.SECP256R1())
  name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
  now = datetime.datetime.now(datetime.timezone.utc)
  certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                 .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
                 .not_valid_after(now + datetime.timedelta(days=1))
                 .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
                 .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
                 .sign(key, hashes.SHA256()))
  paths = folder / "key.pem", folder / "certificate.pem"
  paths[0].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                         serialization.NoEncryption()))
  paths[1].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
  return tuple(map(str, paths))


@pytest.mark.parametrize("case, flag", [("swapped", "ssl_key_file"), ("another", "ssl_key_file"),
                                        ("authority", "ssl_client_ca_file")])
def test_wrong_certificates_are_wrong_flags(tmp_path, base, case, flag):
  os.mkdir(tmp_path / "other")
  key, certificate = _self_signed(tmp_path)
  files = {"swapped": (certificate, key, certificate), "another": (_self_signed(tmp_path / "other")[0], certificate,
                                                                   certificate),
           "authority": (key, certificate, key)}[case]
  flags = [f"--{name}={path}" for name, path in zip(("ssl_key_file", "ssl_cert_file", "ssl_client_ca_file"), files)]
  ended = subprocess.run([sys.executable, "serving/server.py", *_flags(base), *flags], cwd=running_server.ROOT,
                         capture_output=True, text=True, timeout=60)
  assert ended.returncode == 2 and ended.stderr.startswith(f"error: --{flag}=")
  assert len(ended.stderr.splitlines()) == 1


def test_a_client_shows_its_own_certificate(tmp_path, base):
  """Where the server asks for it: what follows is an answer of the server's, which has no model of ours."""
  key, certificate = _self_signed(tmp_path)
  flags = [f"--ssl_key_file={key}", f"--ssl_cert_file={certificate}", f"--ssl_client_ca_file={certificate}"]
  with running_server.process(str(tmp_path / "log"), *_flags(base), *flags) as server:
    port = server.wait_for(r"Running ModelServer at \S+:(\d+)")[0]
    command = [sys.executable, "serving/client.py", f"--server=localhost:{port}", "--model_name=m", "--retries=0",
               f"--tls_ca={certificate}", f"--out={tmp_path / 'x.png'}"]
    for own, said in (([], "UNAVAILABLE"), ([f"--tls_cert={certificate}", f"--tls_key={key}"],
                                            "m is not a model of export/main.py")):
      ended = subprocess.run([*command, *own], cwd=running_server.ROOT, capture_output=True, text=True, timeout=60)
      assert ended.returncode == 1 and said in ended.stderr, ended.stderr


def test_the_first_line_comes_at_once(tmp_path, base):
  """Before TensorFlow is imported, which takes seconds."""
  start = time.monotonic()
  with running_server.process(str(tmp_path / "log"), *_flags(base)) as server:
    server.wait_for("Starting ModelServer")
    first = time.monotonic() - start
    server.wait_for("Running ModelServer")
    assert first < 0.7 * (time.monotonic() - start)


def test_a_wrong_flag_is_one_line_and_exit_code_2():
  ended = subprocess.run([sys.executable, "serving/server.py", "--prot=1"], cwd=running_server.ROOT,
                         capture_output=True, text=True, timeout=60)
  assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "error: unrecognized arguments: --prot=1\n")
