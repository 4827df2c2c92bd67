"""Ports taken before anything is loaded: one that cannot be had is said at once, not after the warm-up."""

import socket

from serving import flag_error


def reserve(flag: str, host: str, port: int) -> socket.socket:
  """A socket bound to the port, 0 for any that is free, and not listening: until it does, clients are refused.

  Raises:
    FlagError: the address cannot be had.
  """
  try:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM,
                                                            flags=socket.AI_PASSIVE)[0]
  except (OSError, UnicodeError) as problem:
    raise flag_error.FlagError(f"--host={host}: no such address ({problem})") from problem
  one = socket.socket(family, kind, protocol)
  try:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that is started again takes its port back
    one.bind(address)
  except OSError as problem:
    one.close()
    raise flag_error.FlagError(f"--{flag}={port}: cannot be had on {host} ({problem.strerror})") from problem
  return one
