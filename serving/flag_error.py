"""The server's answer to a wrong flag or file: one line that names it. The server needs nothing of the library."""

from typing import Any


class FlagError(ValueError):
  """The user's input is wrong; the message is one line that names the flag and what is allowed."""


def require(condition: bool, flag: str, value: Any, allowed: str) -> None:
  """Raises FlagError "--flag=value: allowed" unless `condition` holds."""
  if not condition:
    raise FlagError(f"--{flag}={value}: {allowed}")
