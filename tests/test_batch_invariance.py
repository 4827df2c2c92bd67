"""An image depends on its own seed pair and weights alone: not on the batch, its order, the block or the replicas.

Compared to the last bit, log density and acceptance included: where floats differ, some accept test will too.
"""

import ast
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests import untrained_classifiers

COUNT = untrained_classifiers.COUNT


def _drawn(classifier, rows, batch_size=100):
  weights, seeds = untrained_classifiers.request()
  return classifier.draw(weights[rows], seeds[rows], batch_size=batch_size)


FIELDS = ("images", "log_density", "acceptance_rate", "step_size", "probabilities")


def _assert_same(drawings, whole, rows):
  for field in FIELDS:
    np.testing.assert_array_equal(getattr(drawings, field), getattr(whole, field)[rows], err_msg=field)


@pytest.fixture(scope="module", params=untrained_classifiers.CLASSIFIERS)
def classifier_and_drawings(request):
  classifier = untrained_classifiers.CLASSIFIERS[request.param]()
  return classifier, _drawn(classifier, np.arange(COUNT))


def test_drawings_differ_from_each_other(classifier_and_drawings):
  """Otherwise the tests below would say nothing."""
  _, whole = classifier_and_drawings
  assert len(np.unique(whole.images, axis=0)) == COUNT
  assert 0.05 < whole.acceptance_rate.mean() < 0.95


@pytest.mark.parametrize("rows", [[3], [0, 1, 2, 3, 4], [5, 3], list(range(15)), list(range(16)), [3] * 3],
                         ids=lambda rows: f"{len(rows)} from {rows[0]}")
def test_an_image_does_not_depend_on_its_batch(classifier_and_drawings, rows):
  classifier, whole = classifier_and_drawings
  _assert_same(_drawn(classifier, rows), whole, rows)


def test_nor_on_how_many_a_graph_draws(classifier_and_drawings):
  """As an export has it: a graph for any number of rows, which its network computes alone where it can."""
  classifier, whole = classifier_and_drawings
  weights, seeds = untrained_classifiers.request()
  sampler = classifier.config.sampler
  draw = tf.function(lambda *rows: classifier.draw_tensors(*rows, sampler.num_steps, sampler.temperature),
                     autograph=False, input_signature=[tf.TensorSpec([None, 10]), tf.TensorSpec([None, 2], tf.int64)])
  for start, count in ((3, 1), (5, 3), (0, COUNT)):
    drawn = draw(weights[start:start + count], seeds[start:start + count])
    for field in FIELDS:
      np.testing.assert_array_equal(drawn[field], getattr(whole, field)[start:start + count], err_msg=field)


def test_drawings_of_all_numbers_of_rows_have_one_graph(monkeypatch):
  classifier, calls = untrained_classifiers.small(), []
  draw = classifier.draw_tensors
  monkeypatch.setattr(classifier, "draw_tensors", lambda *rows, **further: calls.append(1) or draw(*rows, **further))
  for rows in ([3], np.arange(COUNT)):
    _drawn(classifier, rows)
  assert len(calls) == 1
  classifier.draw(*(rows[:1] for rows in untrained_classifiers.request()), num_frames=2)
  assert len(calls) == 2  # what is drawn besides has a graph of its own


def test_an_image_does_not_depend_on_its_place(classifier_and_drawings):
  classifier, whole = classifier_and_drawings
  permutation = np.random.default_rng(2).permutation(COUNT)
  _assert_same(_drawn(classifier, permutation), whole, permutation)


def test_an_image_does_not_depend_on_the_batch_size(classifier_and_drawings):
  classifier, whole = classifier_and_drawings
  for batch_size in (1, 6, 16) if classifier.image_shape[0] == 8 else (16,):
    _assert_same(_drawn(classifier, np.arange(COUNT), batch_size), whole, np.arange(COUNT))


def test_an_answer_does_not_depend_on_its_batch(classifier_and_drawings):
  classifier, whole = classifier_and_drawings
  np.testing.assert_array_equal(classifier.classify(whole.images), whole.probabilities)
  np.testing.assert_array_equal(classifier.classify(whole.images[4:5]), whole.probabilities[4:5])
  np.testing.assert_array_equal(classifier.classify(whole.images, batch_size=5), whole.probabilities)


def test_another_seed_draws_another_image(classifier_and_drawings):
  """The negative control: of one bit in either number of the pair."""
  classifier, whole = classifier_and_drawings
  weights, seeds = untrained_classifiers.request()
  for change in ([1, 0], [0, 1]):
    other = classifier.draw(weights[:3], seeds[:3] ^ np.array(change))
    assert (other.images != whole.images[:3]).any(axis=(1, 2, 3)).all()


# Logical CPUs must exist before TensorFlow touches a device, hence a process of its own.
_SCRIPT = """
import sys
import numpy as np
from stic_tf import replicas
from tests import test_batch_invariance as case
from tests import untrained_classifiers
strategy = replicas.make_strategy(2)
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
  classifier = untrained_classifiers.small()
assert classifier.strategy is strategy
drawings = case._drawn(classifier, np.arange(case.COUNT), batch_size=9)
np.savez(sys.argv[1], **{field: getattr(drawings, field) for field in case.FIELDS})
"""


def test_one_and_two_replicas_draw_the_same(tmp_path):
  """Seventeen do not split over two: batches are filled up, and halves have other sizes than the whole."""
  out = str(tmp_path / "two.npz")
  finished = subprocess.run([sys.executable, "-c", _SCRIPT, out], capture_output=True, text=True, check=False,
                            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
  assert finished.returncode == 0, finished.stderr
  whole = _drawn(untrained_classifiers.small(), np.arange(COUNT))
  with np.load(out) as two:
    for field in FIELDS:
      np.testing.assert_array_equal(two[field], getattr(whole, field), err_msg=field)


ROOT = pathlib.Path(__file__).resolve().parents[1]


def _imports_tensorflow_first(source):
  """Whether a file imports TensorFlow before what turns on oneDNN, whose convolutions do not depend on the batch."""
  for statement in ast.parse(source).body:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
      continue  # a docstring
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
      modules = [getattr(statement, "module", None) or name.name for name in statement.names]
      if any(module.split(".")[0] in ("keras", "tensorflow") for module in modules):
        return True
    if "stic_tf" in ast.unparse(statement) or "TF_ENABLE_ONEDNN_OPTS" in ast.unparse(statement):
      return False
  return False


def test_no_script_imports_tensorflow_before_it_is_set_up():
  scripts = [path for folder in ("benchmarks", "export", "serving", "tools", "trainers")
             for path in sorted((ROOT / folder).glob("*.py")) if '__name__ == "__main__"' in path.read_text("utf-8")]
  assert len(scripts) > 20
  assert not [path.name for path in scripts if _imports_tensorflow_first(path.read_text("utf-8"))]
  assert _imports_tensorflow_first("import os\nimport tensorflow as tf\nimport stic_tf")
  assert not _imports_tensorflow_first("import stic_tf\nimport keras")
