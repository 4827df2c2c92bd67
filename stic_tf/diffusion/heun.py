"""Heun's second-order step (Karras et al. 2022, algorithm 1 without churn)."""

from stic_tf.diffusion import solver


class Heun(solver.Solver):
  """The mean of the slopes at both ends; two evaluations a level."""

  stages = 1

  def trial(self, rows, score, before, level):
    return rows + (level - before) * (-before * score)

  def advance(self, state, rows, score, trial_score, before, level):
    return rows + (level - before) * 0.5 * (-before * score - level * trial_score), state
