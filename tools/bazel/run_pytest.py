"""Runs pytest on one folder of tests inside Bazel's sandbox: run_pytest.py tests/datasets."""

import os
import sys

import pytest


def main() -> int:
  # The environment of `make` has the checkout on its path, where an import that no BUILD file declares would be found.
  sys.path[:] = [entry for entry in sys.path if not os.path.exists(os.path.join(entry, "WORKSPACE"))]
  # Bazel sets no home folder; Keras and Matplotlib want to write to one.
  os.environ.setdefault("HOME", os.environ["TEST_TMPDIR"])
  return pytest.main(["--rootdir=.", "-p", "no:cacheprovider", *sys.argv[1:]])


if __name__ == "__main__":
  sys.exit(main())
