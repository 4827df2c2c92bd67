"""The body of a REST request, read within its limits: bytes, values, gzip and what all bodies together may hold."""

import asyncio
import zlib
from typing import AsyncIterator

from starlette import requests

from serving import deadline as deadline_lib


class HttpError(Exception):
  """An answer that HTTP has a code for, and gRPC has not."""

  def __init__(self, code: int, message: str):
    super().__init__(message)
    self.code = code
    self.message = message


class BodyReader:
  """Reads bodies on the event loop.

  Args:
    max_bytes: of one body, unpacked.
    max_values: commas of one body, about as many as its numbers: a list of small numbers takes twenty times its bytes.
    max_held_bytes: of all bodies that are read or answered at a time.
  """

  def __init__(self, max_bytes: int, max_values: int, max_held_bytes: int):
    self._max_bytes, self._max_values, self._max_held_bytes = max_bytes, max_values, max_held_bytes
    self.held_bytes = 0

  async def read(self, request: requests.Request, deadline: deadline_lib.Deadline) -> bytearray:
    """The body, unpacked. `release` it when it has been answered.

    Raises:
      HttpError: it is beyond a limit, late, or packed in a way that is not served.
      ClientDisconnect: the client left.
    """
    body = bytearray()
    try:
      await asyncio.wait_for(self._read_into(body, request), deadline.timeout())
    except BaseException as problem:
      self.release(body)
      if isinstance(problem, asyncio.TimeoutError):
        raise HttpError(408, "the body did not arrive in time") from None
      raise
    return body

  def release(self, body: bytearray) -> None:
    self.held_bytes -= len(body)
    body.clear()

  async def _read_into(self, body: bytearray, request: requests.Request) -> None:
    packing = request.headers.get("content-encoding", "identity").strip().lower()
    length = request.headers.get("content-length", "")
    if packing not in ("identity", "gzip"):
      raise HttpError(415, "Content-Encoding must be gzip or identity")
    # Refused by its head alone, and before a client that asks first has sent it.
    if length.isdecimal() and int(length) > self._max_bytes:
      raise HttpError(413, f"at most {self._max_bytes} bytes")
    parts = request.stream() if packing == "identity" else _unpacked(request.stream(), self._max_bytes)
    commas = 0
    async for part in parts:
      if len(body) + len(part) > self._max_bytes:
        raise HttpError(413, f"at most {self._max_bytes} bytes")
      if self.held_bytes + len(part) > self._max_held_bytes:
        self.release(body)  # now, or others that are read meanwhile would be refused too
        raise HttpError(503, "the bodies of other requests fill the memory; try again")
      commas += part.count(b",")
      if commas > self._max_values:
        raise HttpError(413, f"at most {self._max_values} values")
      body += part
      self.held_bytes += len(part)


async def _unpacked(parts: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
  """gzip to plain bytes, a little more than `most` of them at most."""
  unpacker = zlib.decompressobj(wbits=31)
  try:
    async for part in parts:
      while part and not unpacker.eof:
        yield unpacker.decompress(part, min(most + 1, 1 << 16))
        part = unpacker.unconsumed_tail
    yield unpacker.flush()
  except zlib.error as problem:
    raise HttpError(400, f"the body is not gzip ({problem})") from None
  if not unpacker.eof or unpacker.unused_data:
    raise HttpError(400, "the body is not one whole gzip stream")
