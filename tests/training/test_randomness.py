"""Random numbers of an update: what they depend on, and what not."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.training import randomness as randomness_lib

USES = range(11)


def _randomness(seed=3, attempt=0, update=5):
  return randomness_lib.Randomness(seed, tf.constant(attempt, tf.int64), tf.constant(update, tf.int64))


def test_every_use_seed_attempt_and_update_has_a_key_of_its_own():
  keys = {tuple(_randomness(seed, attempt, update).key(use).numpy())
          for seed in (0, 1, 2 ** 31, 2 ** 40) for attempt in range(3) for update in range(4) for use in USES}
  assert len(keys) == 4 * 3 * 4 * len(USES)


def test_the_uses_are_all_there_and_differ():
  names = ("ROWS", "RESTART", "SMOOTHING", "PAST", "MIXUP", "LEVELS", "NOISE", "MIXUP_LEVELS", "MIXUP_NOISE",
           "FAKE_LEVELS", "FAKE_NOISE")
  assert sorted(getattr(randomness_lib, name) for name in names) == list(USES)


def test_uses_and_updates_are_independent():
  """Of 40,000 pairs a correlation of 0.025 would be found in 5 standard errors; the control is a number with itself."""
  drawn = [_randomness(update=update).normal(use, [40000]).numpy() for use in USES for update in (0, 1)]
  correlations = np.corrcoef(drawn)
  assert np.abs(correlations - np.eye(len(drawn))).max() < 0.025
  np.testing.assert_allclose(np.diag(correlations), 1.0)


def test_they_are_what_their_names_say():
  """Means of 100,000: standard errors of 0.0009 and 0.003."""
  uniform, normal = (getattr(_randomness(), name)(randomness_lib.NOISE, [100000]).numpy()
                     for name in ("uniform", "normal"))
  assert uniform.min() >= 0 and uniform.max() < 1 and uniform.mean() == pytest.approx(0.5, abs=0.005)
  assert normal.mean() == pytest.approx(0, abs=0.015) and normal.std() == pytest.approx(1, abs=0.012)


def test_the_same_numbers_in_a_graph_and_out_of_it():
  def drawn(attempt, update):
    randomness = randomness_lib.Randomness(3, attempt, update)
    return [randomness.normal(2, [5, 7]), randomness.uniform(1, [9]), randomness.rows(0, 4, 9)]

  arguments = tf.constant(1, tf.int64), tf.constant(8, tf.int64)
  for ours, theirs in zip(drawn(*arguments), tf.function(drawn, autograph=False)(*arguments)):
    np.testing.assert_array_equal(ours, theirs)


def test_rows_are_different_ones_while_there_are_enough():
  seen = np.zeros(20)
  for update in range(400):
    rows = _randomness(update=update).rows(randomness_lib.ROWS, 8, 20).numpy()
    assert len(set(rows)) == 8 and rows.min() >= 0 and rows.max() < 20 and rows.dtype == np.int32
    seen[rows] += 1
  # Each is one of 8 in 20 updates: 160 of 400 with a standard deviation of 9.8.
  np.testing.assert_allclose(seen, 160, atol=50)
  assert sorted(_randomness().rows(randomness_lib.ROWS, 20, 20).numpy()) == list(range(20))
  more = _randomness().rows(randomness_lib.ROWS, 50, 20).numpy()
  assert more.shape == (50,) and more.min() >= 0 and more.max() < 20


def test_numbers_below_a_bound_cover_it():
  drawn = _randomness().below(randomness_lib.PAST, 5000, tf.constant(20)).numpy()
  counts = np.bincount(drawn, minlength=20)
  # 250 each, with a standard deviation of 15.4.
  assert drawn.dtype == np.int32 and len(counts) == 20
  np.testing.assert_allclose(counts, 250, atol=80)
  # Of an empty pool it is the first row, which is then not to be used.
  np.testing.assert_array_equal(_randomness().below(randomness_lib.PAST, 3, tf.constant(0)), [0, 0, 0])


# Logical CPUs must exist before TensorFlow touches a device, hence a process of its own.
_SCRIPT = """
import sys
import numpy as np
import tensorflow as tf
from stic_tf import replicas
from tests.training import test_randomness as case
strategy = replicas.make_strategy(2)
parts = strategy.run(tf.function(case._drawn_by_a_replica, autograph=False))
np.savez(sys.argv[1], **{name: np.concatenate([part.numpy() for part in strategy.experimental_local_results(value)])
                         for name, value in parts.items()})
"""


def _drawn_by_a_replica():
  """This replica's share of each kind of numbers."""
  randomness = _randomness()
  whole = {"normal": randomness.normal(2, [8, 3]), "uniform": randomness.uniform(1, [8]),
           "rows": randomness.rows(0, 8, 30), "below": randomness.below(3, 8, 30)}
  return {name: randomness_lib.replica_rows(value) for name, value in whole.items()}


def test_two_replicas_divide_the_numbers_of_one(tmp_path):
  out = str(tmp_path / "two.npz")
  finished = subprocess.run([sys.executable, "-c", _SCRIPT, out], capture_output=True, text=True, check=False,
                            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
  assert finished.returncode == 0, finished.stderr
  with np.load(out) as two:
    for name, value in _drawn_by_a_replica().items():
      np.testing.assert_array_equal(two[name], value, err_msg=name)
