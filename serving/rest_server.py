"""uvicorn around the REST application, on a thread of its own."""

import logging
import socket
import ssl
import threading
import time

import uvicorn

from serving import http_limits
from serving import rest
from serving import server_config


class RestServer:
  """Listens on a socket that is bound, after `start`."""

  def __init__(self, app: rest.RestApp, listener: socket.socket, settings: server_config.ServerConfig):
    self._socket = listener
    self.port = listener.getsockname()[1]
    protocol = type("LimitedConnection", (http_limits.Connection,), {"limits": settings.http_limits})
    tls = {}
    if settings.tls_files:
      certificate, key, authority = settings.tls_files
      tls = {"ssl_certfile": certificate, "ssl_keyfile": key, "ssl_ca_certs": authority,
             "ssl_cert_reqs": ssl.CERT_REQUIRED if authority else ssl.CERT_NONE}
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # it warns of every client that speaks no HTTP
    self._server = uvicorn.Server(uvicorn.Config(
        app, http=protocol, loop="asyncio", ws="none", lifespan="off", log_config=None, access_log=False,
        proxy_headers=False, server_header=False, backlog=1024,
        timeout_keep_alive=settings.http_limits.idle_seconds, timeout_graceful_shutdown=settings.drain_seconds,
        h11_max_incomplete_event_size=settings.http_limits.header_bytes, **tls))
    self._thread = threading.Thread(target=self._server.run, args=([listener],), name="rest", daemon=True)

  def start(self) -> None:
    """Returns when clients are accepted."""
    self._thread.start()
    while not self._server.started:
      if not self._thread.is_alive():
        raise RuntimeError("the REST server ended as it started")
      time.sleep(0.01)

  def stop(self) -> None:
    """Accepts no more, and returns when requests under way have ended, or after the seconds of draining."""
    if self._thread.is_alive():
      self._server.should_exit = True
      self._thread.join()
    self._socket.close()
