"""Chains in a Target leave it as it is, by each preconditioner, the low-rank one included: exact samples stay exact."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.mcmc import mala
from stic_tf.mcmc import run as run_lib
from stic_tf.preconditioners import build
from stic_tf.preconditioners import low_rank
from stic_tf.preconditioners import statistics as statistics_lib
from stic_tf.targets import density
from stic_tf.targets import energies
from tests import statistical

IMAGE_SHAPE, SIZE, RANK = (4, 3, 1), 12, 3
COUNT, STEPS, STEP_SIZE = 8000, 25, 0.2
NAMES = ("dense", "low_rank", "spectral", "identity")


@pytest.fixture(autouse=True)
def _small_rank(monkeypatch):
  """A low-rank matrix of three directions of twelve, so that nine have one variance."""
  monkeypatch.setattr(statistics_lib, "RANK", RANK)
  monkeypatch.setattr(low_rank, "_RANK", RANK)


def _images():
  rng = np.random.default_rng(0)
  images = rng.normal(size=(500, *IMAGE_SHAPE))
  return 0.4 * (images + np.roll(images, 1, axis=1) + np.roll(images, 1, axis=2)) + 0.1


class Posterior:
  """The Gaussian q0 · exp f of f(x) = -½ Σ (x - a)² / v: its target, exact samples, and whether others are some."""

  def __init__(self, name: str, of: str = ""):
    """`of`: a preconditioner whose covariance q0 has; that of `name` itself where none is given."""
    statistics = statistics_lib.ImageStatistics.fit(_images())
    self.preconditioner, reference = (build.build(kind, IMAGE_SHAPE) for kind in (name, of or name))
    for one in (self.preconditioner, reference):
      one.fit(statistics, 0.3)
    reference = reference if of else self.preconditioner
    rng = np.random.default_rng(1)
    middle, variance = rng.normal(size=SIZE), np.exp(rng.uniform(-2.0, 1.0, SIZE))

    def energy(images):
      rows = tf.reshape(images, [-1, SIZE])
      square = tf.square(rows - tf.constant(middle, tf.float32)) / tf.constant(variance, tf.float32)
      return -0.5 * tf.reduce_sum(square, axis=1, keepdims=True), []

    self.target = density.Target(energies.ClassEnergy(energy), self.preconditioner, IMAGE_SHAPE, reference)
    factor = reference.color(tf.eye(SIZE)).numpy().astype(np.float64)  # its rows are L's columns
    prior, offset = np.linalg.inv(factor.T @ factor), reference.mean.numpy().astype(np.float64)
    precision = prior + np.diag(1.0 / variance)
    self.mean = np.linalg.solve(precision, prior @ offset + middle / variance)
    self.factor = np.linalg.cholesky(np.linalg.inv(precision))

  def moved(self, exact: "Posterior", kernel=mala.Mala):
    """Exact samples of `exact` after STEPS steps of a kernel aimed at this, and the mean acceptance probability."""
    rows = exact.mean + np.random.default_rng(2).normal(size=(COUNT, SIZE)) @ exact.factor.T
    seeds = tf.stack([tf.zeros([COUNT], tf.int64), tf.range(COUNT, dtype=tf.int64)], axis=1)
    evaluate = self.target.whitened(tf.ones([COUNT, 1]), tf.ones([COUNT]))
    start = self.preconditioner.to_whitened(tf.constant(rows, tf.float32))

    @tf.function(autograph=False)
    def chain(start):
      result = run_lib.run(kernel(evaluate, SIZE), start, seeds, STEPS, STEP_SIZE)
      return self.preconditioner.to_rows(result.state.position), result.acceptance_rate

    rows, acceptance = chain(start)
    return rows.numpy().astype(np.float64), float(acceptance.numpy().mean())

  def p_value(self, rows) -> float:
    """Of the hypothesis that rows [N, D] in pixels are independent draws of this."""
    return statistical.standard_normal_p_value(np.linalg.solve(self.factor, (rows - self.mean).T).T)


@pytest.mark.parametrize("name", NAMES)
def test_exact_samples_stay_exact(name):
  """8000 chains; the energy Σu²/2 of 12 dimensions has the standard deviation √6.

  A kernel aimed at 1.1·log p has at equilibrium a mean energy of 6/1.1; half of that shift is found.
  """
  assert statistical.z_power(0.5 * (6 - 6 / 1.1) / np.sqrt(6), COUNT, hypotheses=80) > 0.99
  posterior = Posterior(name)
  rows, acceptance = posterior.moved(posterior)
  assert 0.3 < acceptance < 0.999
  statistical.assert_plausible(posterior.p_value(rows))


@pytest.mark.parametrize("name", ["low_rank", "identity"])
def test_of_a_q0_with_another_covariance_too(name):
  """The power is that of the test above."""
  posterior = Posterior(name, of="dense")
  rows, acceptance = posterior.moved(posterior)
  assert 0.2 < acceptance < 0.999
  statistical.assert_plausible(posterior.p_value(rows))
  statistical.assert_refused(posterior.p_value(posterior.moved(posterior, mala.unadjusted)[0]))


@pytest.mark.parametrize("name", NAMES)
def test_the_unadjusted_kernel_is_found(name):
  posterior = Posterior(name)
  statistical.assert_refused(posterior.p_value(posterior.moved(posterior, mala.unadjusted)[0]))


def test_a_chain_by_the_low_rank_covariance_is_not_one_by_the_whole():
  """So the test above tells q0 of the two apart: what a low rank leaves out has one variance in the one alone."""
  whole, low = Posterior("low_rank", of="dense"), Posterior("low_rank")
  statistical.assert_refused(whole.p_value(low.moved(whole)[0]))
