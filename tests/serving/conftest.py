"""A saved version, and a server of it, for all tests of the folder."""

import os

import pytest

from tests.serving import running_server
from tests.serving import small_models


@pytest.fixture(scope="session")
def version_folder(tmp_path_factory) -> str:
  """A saved small model: y = x + 1. Not to be written to; `small_models.copy` makes versions of it."""
  return small_models.save(small_models.Small(1.0), str(tmp_path_factory.mktemp("saved") / "1"))


@pytest.fixture(scope="session")
def other_version_folder(tmp_path_factory) -> str:
  """The same with y = x + 100."""
  return small_models.save(small_models.Small(100.0), str(tmp_path_factory.mktemp("saved") / "2"))


@pytest.fixture(scope="session")
def served(tmp_path_factory, version_folder):
  """A client of a server of that model, version 1, without batching."""
  base = tmp_path_factory.mktemp("models")
  os.mkdir(base / "m")
  small_models.copy(version_folder, str(base / "m" / "1"))
  monitoring = base / "monitoring.txt"
  monitoring.write_text("prometheus_config { enable: true }")
  with running_server.in_process("--model_name=m", f"--model_base_path={base / 'm'}", "--max_message_bytes=1000000",
                                 f"--monitoring_config_file={monitoring}") as client:
    yield client
