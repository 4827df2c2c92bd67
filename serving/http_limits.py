"""uvicorn's HTTP/1.1 connection with limits in time and number, and with errors as JSON.

uvicorn itself ends a connection that is idle between two requests. Here one also ends whose client takes too long over
the head of a request, sends on after it was answered, or does not read its answer; and when there are as many
connections as may be, the one that has been waiting for its client longest makes room.
"""

import asyncio
import dataclasses
import sys
import time
from typing import Optional

import h11
import orjson
from uvicorn.protocols.http import h11_impl

_DISCARD_PAUSE = 0.05  # seconds


@dataclasses.dataclass(frozen=True)
class Limits:
  """Attributes:
    connections: open at a time.
    header_seconds: from the first byte of a request, or the connection, to the end of the request's head.
    header_bytes: of a request's head.
    idle_seconds: between two requests of a connection, and for a client to read its answer.
    linger_seconds: for a client to send the rest of a body that was answered before its end.
  """

  connections: int = 512
  header_seconds: float = 10.0
  header_bytes: int = 64 << 10
  idle_seconds: float = 60.0
  linger_seconds: float = 5.0


def error_body(message: str) -> bytes:
  return orjson.dumps({"error": message.encode(errors="replace").decode()})


class Connection(h11_impl.H11Protocol):
  """A connection; `limits` are set by a subclass."""

  limits = Limits()

  def __init__(self, *arguments, **options):
    super().__init__(*arguments, **options)
    self._timer: Optional[asyncio.TimerHandle] = None
    self._waits_since = time.monotonic()

  def connection_made(self, transport) -> None:
    super().connection_made(transport)
    self._watch()
    if len(self.connections) > self.limits.connections:
      waiting = [one for one in self.connections if one is not self and one.waits_for_client()]
      if waiting:
        min(waiting, key=lambda one: one._waits_since).abort()
      else:
        self._refuse(503, f"at most {self.limits.connections} connections")

  def connection_lost(self, exc) -> None:
    self._unwatch()
    super().connection_lost(exc)

  def data_received(self, data: bytes) -> None:
    if self.transport.is_closing():
      return
    super().data_received(data)
    self._watch()
    if self._is_quiet() and self.conn.their_state is h11.SEND_BODY:
      # The rest of a body that was refused: read, so that the client comes to read its answer, but slowly.
      self.transport.pause_reading()
      self.loop.call_later(_DISCARD_PAUSE, self._resume)

  def _resume(self) -> None:
    if not self.transport.is_closing():
      self.transport.resume_reading()

  def on_response_complete(self) -> None:
    self._waits_since = time.monotonic()
    super().on_response_complete()
    if self.conn.their_state is not h11.IDLE:
      self._watch()

  def timeout_keep_alive_handler(self) -> None:
    self.abort()

  def _is_quiet(self) -> bool:
    """Whether there is no request that was not answered."""
    return self.cycle is None or self.cycle.response_complete

  def waits_for_client(self) -> bool:
    """Whether nothing is being computed for it: no whole request of it has come that was not answered."""
    return self._is_quiet() or self.cycle.more_body

  def abort(self) -> None:
    """Ends the connection at once; a closing one would wait for its client to read what is left."""
    self._unwatch()
    self._unset_keepalive_if_required()
    self.transport.abort()

  def _unwatch(self) -> None:
    if self._timer:
      self._timer.cancel()
      self._timer = None

  def _watch(self) -> None:
    """Gives the client a total time for what it owes: the head of a request, the rest of one that was answered, or, on
    a connection that ends, to read its answer."""
    if not self._is_quiet():
      self._unwatch()
    elif self._timer is None:
      owes_head = self.conn.their_state is h11.IDLE
      seconds = (self.limits.header_seconds if owes_head else self.limits.linger_seconds
                 if self.conn.their_state is h11.SEND_BODY else self.limits.idle_seconds)
      self._timer = self.loop.call_later(seconds, self._time_is_up, owes_head)

  def _time_is_up(self, owes_head: bool) -> None:
    self._timer = None
    if not owes_head and self.conn.their_state is h11.IDLE:  # the rest came in time
      self._watch()
    elif owes_head and self.conn.trailing_data[0] and self.conn.our_state is h11.IDLE:
      self._refuse(408, f"the head of a request must arrive within {self.limits.header_seconds:g} seconds")
    else:
      self.abort()

  def send_400_response(self, msg: str) -> None:
    """uvicorn's answer, inside its except clause, to what is no HTTP; h11 knows a better code than 400."""
    problem = sys.exc_info()[1]
    code = getattr(problem, "error_status_hint", 400)
    self._refuse(code, f"{msg} ({problem})" if problem else msg)

  def _refuse(self, code: int, message: str) -> None:
    """Answers and ends the connection."""
    body = error_body(message)
    if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
      headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
                 (b"connection", b"close")]
      response = h11.Response(status_code=code, headers=headers, reason=h11_impl.STATUS_PHRASES[code])
      is_head = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
      self.transport.write(self.conn.send(response) + self.conn.send(h11.Data(data=b"" if is_head else body))
                           + self.conn.send(h11.EndOfMessage()))
    self._unwatch()
    self.transport.close()
    # A client that does not read would keep a closing connection open.
    self._timer = self.loop.call_later(self.limits.linger_seconds, self.transport.abort)
