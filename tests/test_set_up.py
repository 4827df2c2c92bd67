"""tools/find_python.sh: which interpreter a set-up takes."""

import pathlib
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "tools" / "find_python.sh"


@pytest.fixture
def find(tmp_path):
  """find({"python3.12": "3.12", …}) with nothing else on PATH -> (rc, stdout, stderr)."""

  def run(interpreters):
    (tmp_path / "bin").mkdir()
    for name, version in interpreters.items():
      path = tmp_path / "bin" / name
      # Answers what the script asks: its version, whether it can make environments, and where it really is.
      path.write_text(f'#!/bin/bash\ncase "$2" in *version_info*base*|*base_prefix*) echo {path} ;; '
                      f'*version_info*) echo {version} ;; esac\n')
      path.chmod(0o755)
    ended = subprocess.run(["/bin/bash", str(SCRIPT)], env={"PATH": str(tmp_path / "bin")}, capture_output=True,
                           text=True, check=False)
    return ended.returncode, ended.stdout.strip(), ended.stderr

  return run


def test_a_supported_one_comes_first(find, tmp_path):
  assert find({"python3": "3.12", "python3.10": "3.10", "uv": ""})[:2] == (0, str(tmp_path / "bin" / "python3.10"))


def test_uv_where_it_is_installed(find):
  assert find({"python3": "3.12", "uv": ""})[:2] == (0, "uv")


def test_a_later_one_may_fetch_uv(find, tmp_path):
  assert find({"python3": "3.13"})[:2] == (0, f"uv-by {tmp_path / 'bin' / 'python3'}")


def test_one_line_where_there_is_none(find):
  code, out, error = find({"python3": "3.8"})
  assert code == 2 and not out and error.startswith("error: ") and error.count("\n") == 1 and "python3 is 3.8" in error
