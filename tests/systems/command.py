"""A script's `main` in this process, which has TensorFlow already: what it says where it refuses its flags."""

import sys

import pytest


def run(monkeypatch, script, *flags: str) -> None:
  """`script.main()` with flags that it takes."""
  monkeypatch.setattr(sys, "argv", [script.__file__, *flags])
  script.main()


def refusal(monkeypatch, script, *flags: str) -> str:
  """What `script.main()` ends with; as sys.exit's argument it is printed to stderr and makes the status 1."""
  with pytest.raises(SystemExit) as ended:
    run(monkeypatch, script, *flags)
  assert isinstance(ended.value.code, str)
  return ended.value.code
