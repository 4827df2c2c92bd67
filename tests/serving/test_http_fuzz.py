"""Thousands of malformed HTTP requests, by grammar, body and base64: none is a 500, none stops the server."""

import base64
import gzip
import json
import socket

import numpy as np

from tests.serving import running_server

_NUMBER = 5000
_TARGETS = ("/v1/models/m:predict",) * 6 + (
    "/v1/models/m", "/v1/models/m/metadata", "/v1/models/m/versions/1:predict", "/v1/models/m/versions/9999999999",
    "/v1/models", "/v1/models/%00%ff:predict", "/v1/models/m/labels/%2f:predict", "//[", "*", "http://h/v1/models/m",
    "/" + "a" * 9000, "/monitoring/prometheus/metrics", "/v1/models/m:predict?x=%", "é")
_METHODS = ("POST",) * 8 + ("GET", "GET", "PUT", "OPTIONS", "HEAD", "DELETE", "CONNECT", "TRACE", "post", "\x00", "")
_VALUES = ("1", "-0", "1e400", "1e39", "16777217", "NaN", "-Infinity", "true", "null", '"a"', '"\\ud800"', "[]", "{}",
           "[[1], 2]", "9" * 400, '{"b64": "AP8="}', '{"b64": "?"}', '{"b64": 1}', "[" * 1100, '{"x": 1, "w": 2}',
           '{"x": [1, 2], "w": [3, 4]}', "[[0, 255]]", '"\\u0000"', "1.5", "[1, [2]]", "[true, 1]")
_SIGNATURES = ("serving_default", "pair", "total", "positive", "text", "image", "nope", "__saved_model_init_op", "é\\n")


def _body(random) -> bytes:
  """JSON with any number of things wrong."""
  values = [str(random.choice(_VALUES)) for _ in range(random.integers(1, 4))]
  value = values[0] if random.random() < 0.4 else "[" + ",".join(values) + "]"
  parts = [f'"{random.choice(["instances", "inputs", "inputs", "odd"])}": {value}']
  if random.random() < 0.6:
    parts.append(f'"signature_name": "{random.choice(_SIGNATURES)}"')
  text = ("{" + ",".join(parts) + "}").encode()
  kind = random.integers(0, 12)
  if kind == 0:
    return text[:random.integers(0, len(text))]
  if kind == 1:
    return base64.b64encode(random.bytes(30))
  if kind == 2:
    changed = bytearray(text)
    for place in random.integers(0, len(text), 2):
      changed[place] = random.integers(0, 256)
    return bytes(changed)
  return text


def _request(random) -> bytes:
  """Bytes of a request, its grammar now and then broken."""
  body, headers = _body(random), ["Host: h"]
  if random.random() < 0.1:
    body = gzip.compress(body) if random.random() < 0.7 else body
    headers.append("Content-Encoding: " + str(random.choice(["gzip", "gzip", "br", "identity", "gzip, gzip"])))
  kind = random.integers(0, 20)
  if kind == 0:
    headers.append("Transfer-Encoding: " + str(random.choice(["chunked", "chunked, chunked", "odd"])))
    size = f"{len(body):x}" if random.random() < 0.5 else str(random.choice(["-1", "zz", "f" * 30, "0"]))
    body = size.encode() + b"\r\n" + body + b"\r\n0\r\n\r\n"
  elif kind == 1:
    headers.append("Content-Length: " + str(random.choice(["-1", "x", "9" * 5000, "1, 2", "", "999999999"])))
  else:
    headers.append(f"Content-Length: {len(body)}")
  if random.random() < 0.05:
    headers.append(str(random.choice(["Expect: 100-continue", "Connection: upgrade\r\nUpgrade: websocket", "no colon",
                                      ": empty", "X: \x00", "X:" + "y" * 100_000, "Content-Length: 3"])))
  target, method = str(random.choice(_TARGETS)), str(random.choice(_METHODS))
  version = "HTTP/1.1" if random.random() < 0.95 else str(random.choice(["HTTP/1.0", "HTTP/2.0", "HTTP", "", "\x00"]))
  head = f"{method} {target} {version}\r\n" + "\r\n".join([*headers, "Connection: close"]) + "\r\n\r\n"
  return head.encode(errors="replace") + body


def _send(address, data: bytes) -> bytes:
  with socket.create_connection(address, timeout=30) as one:
    try:
      one.sendall(data)
      one.shutdown(socket.SHUT_WR) if len(data) % 2 else None
      answer = b""
      while part := one.recv(1 << 16):
        answer += part
    except ConnectionError:
      return b""
  return answer


def test_malformed_requests(served):
  host, port = served.rest.split("//")[1].split(":")
  random = np.random.default_rng(11)
  statuses = {}
  for _ in range(_NUMBER):
    data = _request(random)
    head, _, body = _send((host, int(port)), data).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head else 0
    statuses[status] = statuses.get(status, 0) + 1
    assert status in (0, 200, 400, 404, 408, 413, 415, 429, 431, 501, 504), (data[:300], head)
    if status >= 400 and not data.startswith(b"HEAD"):
      assert list(json.loads(body)) == ["error"], (data[:300], body)
  # They went everywhere; a connection without an answer is one that its client half closed.
  assert statuses[400] > 1500 and statuses[200] > 40 and statuses[404] > 20 and statuses[413] > 5, statuses
  running_server.wait_until(lambda: served.states()[1][0] == 30, "the state")
