"""REST as HTTP: connections, chunks, gzip, CORS, and the limits that slow, silent and greedy clients meet."""

import asyncio
import gc
import gzip
import http.client
import json
import select
import socket
import threading
import time
import tracemalloc
import weakref
from concurrent import futures

import numpy as np
import orjson
import pytest
import uvicorn
from uvicorn import server as uvicorn_server

from serving import deadline
from serving import http_limits
from serving import rest
from serving import rest_json
from tests.serving import running_server
from tests.serving import small_models

_BODY = json.dumps({"inputs": [1.0]}).encode()
_ANSWER = {"outputs": {"y": [2.0], "z": [2.0]}}


@pytest.fixture(scope="module")
def limited(tmp_path_factory, version_folder):
  """A client of a server with small limits, but not in time, and CORS."""
  base = tmp_path_factory.mktemp("limited")
  small_models.copy(version_folder, str(base / "1"))
  with running_server.in_process(
      "--model_name=m", f"--model_base_path={base}", "--max_message_bytes=1000000", "--rest_api_max_values=1000",
      "--rest_api_max_held_bytes=1500000", "--rest_api_max_connections=20", "--max_request_rows=100",
      "--rest_api_enable_cors_support", "--grpc_max_threads=2", "--max_queued_requests=2") as client:
    yield client


@pytest.fixture(scope="module")
def hasty(tmp_path_factory, version_folder):
  """A client of a server that waits for a second at most: for what must end, not for what must succeed."""
  base = tmp_path_factory.mktemp("hasty")
  small_models.copy(version_folder, str(base / "1"))
  with running_server.in_process(
      "--model_name=m", f"--model_base_path={base}", "--max_message_bytes=1000000", "--rest_api_header_seconds=1",
      "--rest_api_idle_seconds=1", "--rest_api_timeout_in_ms=1000") as client:
    yield client


@pytest.fixture
def held(monkeypatch):
  """(bodies of the requests that have a thread, an event that lets them go on)."""
  bodies, go_on = [], threading.Event()
  parse = rest_json.parse

  def wait(body):
    bodies.append(bytes(body))
    assert go_on.wait(60)
    return parse(body)

  monkeypatch.setattr(rest_json, "parse", wait)
  yield bodies, go_on
  go_on.set()


def _address(client):
  host, port = client.rest.split("//")[1].split(":")
  return host, int(port)


def _connection(client) -> http.client.HTTPConnection:
  return http.client.HTTPConnection(*_address(client), timeout=30)


def _post(connection, body=_BODY, headers=(), **options):
  """(status, parsed answer, headers) of a predict request over a connection that stays."""
  connection.request("POST", "/v1/models/m:predict", body, dict(headers), **options)
  response = connection.getresponse()
  return response.status, json.loads(response.read()), response.headers


def _raw(client, data: bytes) -> socket.socket:
  one = socket.create_connection(_address(client), timeout=30)
  one.sendall(data)
  return one


def test_a_connection_is_kept(limited):
  connection = _connection(limited)
  for _ in range(3):
    status, answer, headers = _post(connection)
    own = connection.sock.getsockname()
    assert (status, answer) == (200, _ANSWER) and headers.get("Connection") != "close"
    assert connection.sock.getsockname() == own


def test_chunks_and_gzip(limited):
  packed = {"Content-Encoding": "gzip"}
  connection = _connection(limited)
  assert _post(connection, iter([_BODY[:5], _BODY[5:]]), encode_chunked=True)[:2] == (200, _ANSWER)
  assert _post(connection, gzip.compress(_BODY), packed)[:2] == (200, _ANSWER)
  assert _post(connection, iter([gzip.compress(_BODY)]), packed, encode_chunked=True)[:2] == (200, _ANSWER)


@pytest.mark.parametrize("body, status, message", [
    (_BODY, 400, "the body is not gzip"), (gzip.compress(_BODY)[:-4], 400, "not one whole gzip stream"),
    (gzip.compress(_BODY) + b"more", 400, "not one whole gzip stream"),
    (gzip.compress(b" " * 50_000_000), 413, "at most 1000000 bytes")], ids=["plain", "cut", "more", "bomb"])
def test_gzip_that_is_refused(limited, body, status, message):
  got, answer, _ = _post(_connection(limited), body, {"Content-Encoding": "gzip"})
  assert got == status and message in answer["error"]


def test_cors(limited, served):
  connection = _connection(limited)
  connection.request("OPTIONS", "/v1/models/m:predict", headers={"Origin": "http://x"})
  response = connection.getresponse()
  expected = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "POST, GET",
              "Access-Control-Allow-Headers": "Content-Type"}
  assert response.status == 200 and not response.read()
  assert {name: response.headers[name] for name in expected} == expected
  assert _post(connection)[2]["Access-Control-Allow-Origin"] == "*"
  for one, headers in ((connection, {}), (_connection(served), {"Origin": "http://x"})):
    one.request("OPTIONS", "/v1/models/m:predict", headers=headers)
    response = one.getresponse()
    assert response.status == 400
    assert json.load(response)["error"] == "Malformed request: OPTIONS /v1/models/m:predict"
  assert "Access-Control-Allow-Origin" not in _post(_connection(served))[2]


@pytest.mark.parametrize("text", [
    b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"x" * 70_000, b"GET / HTTP/1.1\r\n\r\n",
    b"GET //[ HTTP/1.1\r\nHost: h\r\n\r\n", b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
    b"GET /v1/models/m/versions/" + b"9" * 5000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /v1/models/%ff%00 HTTP/1.1\r\nHost: h\r\n\r\n"], ids=lambda text: text[:12].decode())
def test_errors_are_json(limited, text):
  with _raw(limited, text) as one, http.client.HTTPResponse(one) as response:
    response.begin()
    assert 400 <= response.status < 500 and response.headers["Content-Type"] == "application/json"
    assert list(json.load(response)) == ["error"]


_SLOW = {
    "silent": (b"", b""), "line": (b"POST /v1", b"x"), "header": (b"GET /v1/models/m HTTP/1.1\r\nA: ", b"x"),
    "body": (b"POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n", b" "),
    "refused body": (b"POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n", b" "),
    "chunks": (b"POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


def _trickle(client, first: bytes, rest: bytes) -> bool:
  """Whether the server ends a connection that gets a byte every now and then, as long as it stands."""
  end = time.monotonic() + 60
  with _raw(client, first) as one:
    one.settimeout(0.3)
    while time.monotonic() < end:
      try:
        one.sendall(rest)
        if not one.recv(1 << 16):
          return True
      except socket.timeout:
        continue
      except OSError:
        return True
  return False


def test_a_slow_client_has_a_total_time(hasty):
  """A byte every now and then buys no more: fails with a limit on the pause between two bytes."""
  with futures.ThreadPoolExecutor(len(_SLOW)) as pool:  # each of them waits for seconds
    ended = dict(zip(_SLOW, pool.map(lambda case: _trickle(hasty, *case), _SLOW.values())))
  assert ended == dict.fromkeys(_SLOW, True)


def test_an_idle_connection_ends(hasty):
  with _raw(hasty, b"GET /v1/models/m HTTP/1.1\r\nHost: h\r\n\r\n") as one:
    data = b""
    while part := one.recv(1 << 16):  # ends with the connection, which nobody asked to end
      data += part
  assert data.startswith(b"HTTP/1.1 200") and b"connection: close" not in data.lower()


@pytest.mark.parametrize("data", [
    b"", b"POST /v1/models/m:predict HTTP/1.1\r\nContent-",
    b"POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n "], ids=["silent", "head", "body"])
def test_slow_clients_hold_nobody_up(limited, data):
  """Three times as many of them as there may be connections: those that have been slow longest make room."""
  slow = []
  for _ in range(60):
    slow.append(_raw(limited, data))
    assert _post(_connection(limited))[:2] == (200, _ANSWER)
  for one in slow:
    one.close()


@pytest.mark.parametrize("body, status, message", [
    (b" " * 1_000_001, 413, "at most 1000000 bytes"),
    (b'{"inputs": [' + b"1," * 1001 + b"1]}", 413, "at most 1000 values"),
    (json.dumps({"inputs": [0.0] * 101}).encode(), 400, "Task size 101 is larger than maximum input batch size 100"),
], ids=["bytes", "values", "rows"])
def test_limits_of_a_request(limited, body, status, message):
  signature = b'{"signature_name": "pair", "inputs": {"x": %s, "w": %s}}'
  if status == 400:
    body = signature % ((json.dumps([0.0] * 101).encode(),) * 2)
  got, answer, _ = _post(_connection(limited), body)
  assert got == status and message in answer["error"]


def test_all_bodies_together_have_a_limit(limited):
  head = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n"
  with _raw(limited, head + b" " * 899_999) as one, _raw(limited, head + b" " * 899_999) as other:
    answered, _, _ = select.select([one, other], [], [], 30)
    refused, = answered
    assert refused.recv(100).startswith(b"HTTP/1.1 503")
    kept = other if refused is one else one
    kept.sendall(b" ")
    assert kept.recv(100).startswith(b"HTTP/1.1 400")
  assert _post(_connection(limited))[0] == 200


def test_requests_beyond_the_queue_are_refused(limited, held):
  """Two that run and two that wait are as many as may be."""
  _, go_on = held
  with futures.ThreadPoolExecutor(8) as pool:
    sent = [pool.submit(_post, _connection(limited)) for _ in range(8)]
    running_server.wait_until(lambda: sum(one.done() for one in sent) >= 4, "refusals")
    assert [one.result()[0] for one in sent if one.done()] == [429] * 4
    go_on.set()
    assert sorted(one.result()[0] for one in sent) == [200] * 4 + [429] * 4


def test_a_client_that_leaves_is_not_answered(limited, held, monkeypatch):
  """What waits for a thread when its client leaves is never run."""
  bodies, go_on = held
  begun, run, ended, end = [], rest.RestApp._run, [], deadline.Deadline.end
  monkeypatch.setattr(rest.RestApp, "_run", lambda *given: begun.append(given) or run(*given))
  monkeypatch.setattr(deadline.Deadline, "end", lambda one: ended.append(one) or end(one))
  with futures.ThreadPoolExecutor(2) as pool:
    busy = [pool.submit(_post, _connection(limited)) for _ in range(2)]
    running_server.wait_until(lambda: len(bodies) == 2, "two that hold the threads")
    left = _raw(limited, b"POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
    running_server.wait_until(lambda: len(begun) == 3, "one that waits")
    left.close()
    running_server.wait_until(lambda: ended, "the end of the request")
    go_on.set()
    assert [future.result()[0] for future in busy] == [200, 200]
  assert _post(_connection(limited))[0] == 200
  assert bodies == [_BODY] * 3


@pytest.mark.parametrize("body, status", [(_BODY, 200), (b'{"inputs": "a"}', 400)])
def test_a_request_leaves_nothing_behind(limited, monkeypatch, body, status):
  """What it held is free with its answer, not when Python next looks for rings."""
  class Document(dict):
    __hash__ = object.__hash__  # for the set

  documents, parse = weakref.WeakSet(), rest_json.parse

  def noted(body):
    document = Document(parse(body))
    documents.add(document)
    return document

  monkeypatch.setattr(rest_json, "parse", noted)
  gc.collect()
  gc.disable()
  try:
    assert _post(_connection(limited), body)[0] == status
    running_server.wait_until(lambda: not documents, "its end", patience=10)
  finally:
    gc.enable()


def test_a_number_costs_little():
  """At most ten times what parsing alone costs in the same run; ranges asked for number by number took a hundred times.

  benchmarks/rest.py has it in seconds.
  """
  class Info:
    class tensor_shape:
      unknown_rank = False
      dim = [type("Dim", (), {"size": size}) for size in (-1, 64, 64, 3)]
    dtype = 4

  pixels = np.random.default_rng(0).integers(0, 256, [8, 64, 64, 3], np.uint8)
  body = json.dumps({"inputs": pixels.tolist()}).encode()

  def least_seconds(function):
    seconds = []
    for _ in range(7):
      start = time.process_time()
      result = function()
      seconds.append(time.process_time() - start)
    return min(seconds), result

  cost, array = least_seconds(lambda: rest_json._array("x", rest_json.parse(body)["inputs"], Info))
  np.testing.assert_array_equal(array, pixels)
  assert cost < 10 * least_seconds(lambda: orjson.loads(body))[0]


def test_a_wrong_shape_is_refused_before_its_values_are_read():
  class Info:
    class tensor_shape:
      unknown_rank = False
      dim = [type("Dim", (), {"size": size}) for size in (-1, 8)]
    dtype = 1

  value = [[0.5] * 9] * 100_000
  tracemalloc.start()
  with pytest.raises(Exception, match=r"Shape of input x \[100000,9\] is not compatible"):
    rest_json._array("x", value, Info)
  _, most = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert most < 100_000


@pytest.mark.parametrize("head", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"],
                         ids=["HTTP/1.0", "close"])
def test_an_answer_on_a_connection_that_ends_may_be_read_slowly(head):
  """Not within the seconds in which a client may send on after it was answered."""
  size = 32 << 20  # more than a socket holds

  async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(size).encode())]})
    await send({"type": "http.response.body", "body": bytes(size)})

  class Connection(http_limits.Connection):
    limits = http_limits.Limits(linger_seconds=0.1)

  async def fetch():
    config = uvicorn.Config(answer, lifespan="off", log_config=None)
    config.load()
    listening = await asyncio.get_running_loop().create_server(
        lambda: Connection(config, uvicorn_server.ServerState(), {}), "127.0.0.1", 0)
    async with listening:
      reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname(), limit=1 << 16)
      writer.write(head)
      received = len(await reader.readuntil(b"\r\n\r\n"))
      await asyncio.sleep(0.5)
      while part := await reader.read(1 << 16):
        received += len(part)
      writer.close()
    return received

  assert asyncio.run(fetch()) > size
