"""What all tests share: a quiet TensorFlow on the CPU, and one tiny finished run."""

import gc
import os
import pathlib

# Before anything imports TensorFlow.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest

import stic_tf  # noqa: F401  before TensorFlow, which it sets up
from tests import tiny_run

# Graphs are millions of objects that live for long: to look through them as often as Python would takes a tenth of the
# time.
gc.set_threshold(50_000, 20, 50)


# Files of half a minute and more, the longest first: begun last, one would keep a process busy and the other idle.
_LONG = ("systems/test_fit.py", "test_batch_invariance.py", "test_tutorial.py", "export/test_bulk.py",
         "export/test_png_signatures.py", "serving/test_benchmark.py", "trainers/test_attentive.py",
         "systems/test_stic.py", "systems/test_score.py", "datasets/test_pipeline.py", "systems/test_score_drawing.py",
         "mcmc/test_invariance.py")
# Fixtures that take long to make and stand for a session: a run, and the server of the page.
_SHARED = ("trained_run", "address")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in this hook too
def pytest_collection_modifyitems(items) -> None:
  """Of tests side by side, all files that read one of _SHARED go to one process, and first: it is then made once."""
  groups = {}
  for item in items:
    for fixture in _SHARED:  # in this order in every process
      if fixture in getattr(item, "fixturenames", ()):
        groups.setdefault(item.path, fixture)
  for item in items:
    item.add_marker(pytest.mark.xdist_group(groups.get(item.path, item.nodeid.split("::")[0])))
  order = {pathlib.Path(__file__).parent / name: place for place, name in enumerate(_LONG)}
  shared = [*_SHARED, None]
  items.sort(key=lambda item: (shared.index(groups.get(item.path)), order.get(item.path, len(_LONG))))


@pytest.fixture(scope="session")
def judge_cache(tmp_path_factory) -> str:
  """A folder for judge networks, so that the session trains one and touches no cache of the user's."""
  return str(tmp_path_factory.mktemp("judges"))


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory, judge_cache) -> str:
  """The folder of a tiny digits run that `trainers/main.py` made, unbroken and profiled. Not to be written to."""
  folder = str(tmp_path_factory.mktemp("runs") / "unbroken")
  tiny_run.train(folder, judge_cache, "--profile_steps=3,6")
  return folder
