"""What a solver is: it carries samples from one noise level to the next along dx/dσ = -σ ∇log p(x; σ).

A solver owns its state, a tuple of tensors [B, …]; the loop hands it back unread. One with `stages = 1` sees the score
at one more point between two levels, its trial.
"""

from typing import Tuple

import tensorflow as tf


class Solver:
  """Rows are float32 [B, D], levels [B, 1] columns; `score` is ∇log p at `rows` and the level before."""

  # Network evaluations between two levels, apart from that on arrival: 0 or 1.
  stages = 0

  def init(self, rows: tf.Tensor) -> tuple:
    """The state at the first level, and wherever samples have been moved by other means."""
    del rows
    return ()

  def state_shape(self, size: int) -> tuple:
    """Shapes of the state, whatever the number of rows."""
    del size
    return ()

  def trial(self, rows: tf.Tensor, score: tf.Tensor, before: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Where else the score at `level` is wanted: [B, D]; asked for with `stages = 1` only."""
    raise NotImplementedError

  def advance(self, state: tuple, rows: tf.Tensor, score: tf.Tensor, trial_score: tf.Tensor, before: tf.Tensor,
              level: tf.Tensor) -> Tuple[tf.Tensor, tuple]:
    """(rows at `level`, state); `trial_score` is None with `stages = 0`."""
    raise NotImplementedError


class Stay(Solver):
  """Leaves all movement to the corrector."""

  def advance(self, state, rows, score, trial_score, before, level):
    return rows, state
