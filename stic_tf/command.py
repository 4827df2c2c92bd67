"""How a command answers wrong input: one line on stderr and an exit code. It knows no flags and no TensorFlow."""

import contextlib
import sys
from typing import Callable, Iterator, NoReturn, Sequence

from stic_tf import atomic_file
from stic_tf.config import ConfigError


def fail(message, code: int = 2) -> NoReturn:
  """Prints "error: message" in one line and exits; code 2 says that the user's input is wrong."""
  text = message.as_flags if isinstance(message, ConfigError) else str(message)
  print("error: " + " ".join(text.split()), file=sys.stderr)
  sys.exit(code)


def parser(parse: Callable, error: type) -> Callable:
  """`parse`, a function of argv, with its `error` answered by `fail`."""

  def parse_or_fail(argv):
    try:
      return parse(argv)
    except error as problem:
      fail(problem)

  return parse_or_fail


@contextlib.contextmanager
def answering(argv: Sequence[str], written_flag: Callable[[], str]) -> Iterator[None]:
  """Around the work of a command: refuses arguments that are no flags, and answers wrong input by `fail`.

  Args:
    argv: what the flags left over, the command's own name first.
    written_flag: gives the flag ("--out=x.png") to name where what the command writes cannot be written.
  """
  try:
    if len(argv) > 1:
      raise ConfigError(f"unexpected argument {argv[1]!r}: every setting is a --flag")
    yield
  except ConfigError as problem:
    fail(problem)
  except OSError as problem:
    reason = atomic_file.why_unwritable(problem)
    if reason is None:
      raise
    fail(f"{written_flag()}: {reason} ({problem})")
