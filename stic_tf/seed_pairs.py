"""The seed pairs of images, int64 [N, 2], and which of them belong to which use. No TensorFlow.

An image is a function of its pair alone, so two uses that share a pair would draw the same image: what is measured
would be what was trained on. The user's own drawings have the pairs (seed, i); every other use has the same first word
and a space of its own in the second: use · 2⁵⁶ + attempt · 2⁴⁶ + update · 2²⁰ + row.
"""

import numpy as np

from stic_tf import config as config_lib

OWN, MEASURED, INTERPOLATED, WATCHED, BESIDE_REAL, CHAINS, FAKES, TRACED = range(8)
MOST_ATTEMPTS, MOST_UPDATES, MOST_ROWS = 1 << 10, 1 << 26, config_lib.MOST_CHAINS


def second_word(use: int, rows, update=0, attempt=0):
  """The second word of the pairs of a use.

  Args:
    use: one of the constants above.
    rows: numbers below `MOST_ROWS` (of OWN, below 2⁵⁶), as int64 of NumPy or TensorFlow.
    update: of training, below `MOST_UPDATES`; the same kind.
    attempt: which training of these updates, below `MOST_ATTEMPTS`; the same kind.
  """
  return use * (MOST_ATTEMPTS * MOST_UPDATES * MOST_ROWS) + (attempt * MOST_UPDATES + update) * MOST_ROWS + rows


def of_rows(use: int, seed: int, rows: np.ndarray, update=0, attempt=0) -> np.ndarray:
  """The pairs of some rows of a use, arguments as for `second_word`: int64 [N, 2]."""
  return np.stack([np.full(len(rows), seed, np.int64), second_word(use, rows, update, attempt)], axis=1)


def of_use(use: int, seed: int, count: int) -> np.ndarray:
  """The first `count` pairs of a use, outside training: int64 [count, 2]."""
  return of_rows(use, seed, np.arange(count, dtype=np.int64))


def of(seeds, count: int) -> np.ndarray:
  """int64 [count, 2]: `seeds` itself, or the pairs (seeds, 0), (seeds, 1), … of an integer.

  Raises:
    ConfigError: another shape, or what is no integer of 64 bits.
  """
  pairs = np.array(seeds, object)  # whose integers have no limit to wrap around at
  if pairs.ndim == 0:
    pairs = np.array([(seeds, number) for number in range(count)], object)
  config_lib.require(pairs.shape == (count, 2), "seeds", list(pairs.shape), f"must have the shape [{count}, 2]")
  for seed in pairs.flat:
    is_whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    config_lib.require(is_whole and -2 ** 63 <= seed < 2 ** 63, "seeds", seed, "must be integers of 64 bits")
  return pairs.astype(np.int64)
