"""tools/play.sh, behind `make play`: what it exports, how often, and what it serves."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

# resolve(): under Bazel this file is a link into the checkout, and the script is what this is about.
SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "tools" / "play.sh"
# In place of Python: notes what it was asked, and makes a version folder where it is to export.
_PYTHON = """#!/bin/bash
echo "$*" >>asked
for one in "$@"; do case $one in --export_dir=*) mkdir -p "${one#*=}/1" ;; esac; done
"""


@pytest.fixture
def checkout(tmp_path):
  """A folder that looks like a checkout with its .venv, and runs the script."""
  for folder in ("tools", "export", "stic_tf", ".venv/bin", "runs/digits"):
    (tmp_path / folder).mkdir(parents=True)
  shutil.copy(SCRIPT, tmp_path / "tools")
  (tmp_path / "runs/digits/flags.txt").write_text("")
  python = tmp_path / ".venv/bin/python"
  python.write_text(_PYTHON)
  python.chmod(0o755)

  def play(*arguments):
    """The commands that were run, and how it ended."""
    (tmp_path / "asked").write_text("")
    ended = subprocess.run(["bash", "tools/play.sh", *arguments], cwd=tmp_path, capture_output=True, text=True,
                           check=False)
    return (tmp_path / "asked").read_text().splitlines(), ended

  return tmp_path, play


def test_a_run_is_exported_once_and_served(checkout):
  folder, play = checkout
  first, ended = play()
  assert ended.returncode == 0, ended.stderr
  assert first[0] == f"export/main.py --run_dir=runs/digits/ --export_dir={folder}/models/playground/digits"
  assert first[1].startswith("serving/server.py ")
  assert first[1].endswith(
      " --rest_port=8501 --playground --tensorflow_intra_op_parallelism=1 --tensorflow_inter_op_parallelism=-1")
  config = (folder / "models/playground/models.config").read_text()
  assert f'name: "digits" base_path: "{folder}/models/playground/digits"' in config
  assert len(play()[0]) == 1
  newer = os.stat(folder / "models/playground/digits.exported").st_mtime + 5
  os.utime(folder / "runs/digits/flags.txt", (newer, newer))
  assert len(play()[0]) == 2


def test_all_of_the_zoo_is_served_instead(checkout):
  folder, play = checkout
  for name in ("mnist_score", "digits_score"):
    (folder / "zoo" / name).mkdir(parents=True)
  commands, _ = play()
  exports = [command.split("/")[-1] for command in commands if command.startswith("export/main.py")]
  assert exports == ["digits_score", "mnist_score"] and len(commands) == 3 and commands[0].startswith("export/")
  assert (folder / "models/playground/models.config").read_text().count("name:") == 2


def test_models_of_many_steps_join_a_server_that_runs(checkout):
  folder, play = checkout
  for name, steps in (("mnist", 1000), ("mnist_score", 10)):
    (folder / "zoo" / name).mkdir(parents=True)
    (folder / "zoo" / name / "settings.json").write_text(f'{{\n "num_steps": {steps}\n}}')
  config = folder / "models/playground/models.config"
  python = folder / ".venv/bin/python"
  # The server waits for the second model, and notes what was listed when it started and when it ended; that export
  # waits for the first note. A note is written at once, as both write to one file.
  python.write_text(_PYTHON + f"""
listed() {{ echo $(grep -o 'name: "[a-z_]*"' {config}) >>asked; }}
case "$*" in
  *zoo/mnist/*) for i in $(seq 400); do [ -e noted ] && break; sleep 0.05; done ;;
  serving/*)
    listed; echo >noted
    for i in $(seq 400); do grep -q '"mnist"' {config} && break; sleep 0.05; done
    listed ;;
esac
""")
  commands, ended = play()
  assert ended.returncode == 0, ended.stderr
  assert commands[0].endswith("/mnist_score") and "--model_config_file_poll_wait_seconds=2" in " ".join(commands)
  listed = [line.split() for line in commands if line.startswith("name:")]
  assert listed == [["name:", '"mnist_score"'], ["name:", '"mnist_score"', "name:", '"mnist"']]
  assert sum(line.startswith("export/main.py") for line in commands) == 2


def test_a_model_that_cannot_be_exported_keeps_no_other_out(checkout):
  folder, play = checkout
  for name in ("a", "b", "c"):
    (folder / "zoo" / name).mkdir(parents=True)
  half = folder / "models/playground/c/export.abc.tmp"  # of an export that was ended
  half.mkdir(parents=True)
  config = folder / "models/playground/models.config"
  (folder / ".venv/bin/python").write_text(_PYTHON + f"""
case "$*" in
  *zoo/b/*) exit 1 ;;
  serving/*) for i in $(seq 400); do grep -q '"c"' {config} && break; sleep 0.05; done ;;
esac
""")
  assert play()[1].returncode == 0
  listed = [name for name in "abc" if f'name: "{name}"' in config.read_text()]
  assert listed == ["a", "c"] and not half.exists()


def test_nothing_to_play_with_is_one_line(checkout):
  commands, ended = checkout[1]("runs/none")
  assert ended.returncode == 2 and not commands
  assert ended.stderr == ("Nothing to play with: runs/none is no run folder. `make demo` trains one, RUN_DIR=… names "
                          "another.\n")


def test_export_alone_and_flags_of_the_server(checkout):
  _, play = checkout
  exported, ended = play("--export")
  assert ended.returncode == 0 and len(exported) == 1 and exported[0].startswith("export/main.py")
  assert play("--host=0.0.0.0")[0][0].endswith(" --tensorflow_inter_op_parallelism=-1 --host=0.0.0.0")


def test_an_export_ends_with_the_server(checkout):
  folder, _ = checkout
  for name, steps in (("mnist", 1000), ("mnist_score", 10)):
    (folder / "zoo" / name).mkdir(parents=True)
    (folder / "zoo" / name / "settings.json").write_text(f'{{\n "num_steps": {steps}\n}}')
  # The server leaves once the second export has begun, which would take ten minutes.
  (folder / ".venv/bin/python").write_text(_PYTHON + """
case "$*" in
  *zoo/mnist/*) echo $$ >begun; exec sleep 600 ;;
  serving/*) for i in $(seq 400); do [ -s begun ] && break; sleep 0.05; done ;;
esac
""")
  assert subprocess.call(["bash", "tools/play.sh"], cwd=folder, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL) == 0
  export = int((folder / "begun").read_text())
  for _ in range(300):
    try:
      os.kill(export, 0)
    except ProcessLookupError:
      break
    time.sleep(0.1)
  else:
    os.kill(export, signal.SIGKILL)
    pytest.fail("the export goes on without a server")
  assert 'name: "mnist"' not in (folder / "models/playground/models.config").read_text()
  assert not (folder / "models/playground/mnist.exported").exists()
