"""The kernel leaves its target as it is: exact samples in, exact samples out, with power and negative controls."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests import statistical
from tests.mcmc import densities
from tests.mcmc import steps

COUNT, STEPS = 20000, 25


@tf.function(reduce_retracing=True, autograph=False)
def _run(density, start, num_steps, step_size, first_seed, adjust=True, burn_in_steps=0):
  count = tf.shape(start)[0]
  seeds = tf.stack([tf.fill([count], first_seed), tf.range(count, dtype=tf.int64)], axis=1)
  result = steps.run_chain(density, start, seeds, num_steps, step_size, burn_in_steps, adjust=adjust)
  return result.state.position, result.acceptance_rate, result.step_size


def _moved(density, exact, step_size, seed, adjust=True):
  """Exact samples of `exact` after STEPS steps of the kernel aimed at `density`, and its acceptance."""
  positions, acceptance, _ = _run(density, tf.constant(exact.sample(COUNT, seed)), STEPS, step_size,
                                  tf.constant(seed, tf.int64), adjust)
  return positions.numpy(), acceptance.numpy().mean()


# ---- a correlated Gaussian ----

GAUSSIAN = densities.Gaussian()


@pytest.mark.parametrize("step_size", [0.02, 0.25])
def test_invariance_on_a_correlated_gaussian(step_size):
  """20,000 chains; the energy Σu²/2 of 6 dimensions has the standard deviation √3.

  A kernel aimed at 1.1·log p has at equilibrium a mean energy of 3/1.1; half of that shift is found.
  """
  assert statistical.z_power(0.5 * (3 - 3 / 1.1) / np.sqrt(3), COUNT, hypotheses=40) > 0.99
  moved, acceptance = _moved(GAUSSIAN, GAUSSIAN, step_size, seed=1)
  assert 0.4 < acceptance < 0.999
  statistical.assert_plausible(statistical.standard_normal_p_value(GAUSSIAN.whiten(moved)))


def test_a_kernel_aimed_elsewhere_is_found_on_the_gaussian():
  moved, _ = _moved(densities.sharpened(GAUSSIAN), GAUSSIAN, 0.25, seed=1)
  statistical.assert_refused(statistical.standard_normal_p_value(GAUSSIAN.whiten(moved)))


def test_the_unadjusted_kernel_is_found_on_the_gaussian():
  moved, _ = _moved(GAUSSIAN, GAUSSIAN, 0.1, seed=1, adjust=False)
  statistical.assert_refused(statistical.standard_normal_p_value(GAUSSIAN.whiten(moved)))


# ---- a mixture ----

MIXTURE = densities.Mixture()
DIRECTIONS = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-0.6, 0.8]])


def _mixture_p_value(samples):
  """Moments of the weights of the components and the log density, and four marginals, against many exact samples."""
  exact = MIXTURE.sample(20 * COUNT, seed=99)
  log_density = [MIXTURE.log_density(tf.constant(rows, tf.float32)).numpy() for rows in (samples, exact)]
  p_values = [statistical.mean_p_value(MIXTURE.responsibilities(samples)[:, :2], MIXTURE.weights[:2]),
              statistical.same_mean_p_value(*log_density),
              statistical.same_distribution_p_value(*(values[:, np.newaxis] for values in log_density)),
              statistical.same_distribution_p_value(samples @ DIRECTIONS.T, exact @ DIRECTIONS.T)]
  return min(1.0, len(p_values) * min(p_values))


def test_invariance_on_a_mixture():
  """A kernel aimed at 1.1·log p lowers the mean of -log p by about 2/2·(1 - 1/1.1); half of it is found.

  The spread of -log p is about 1 (half of a χ² of 2 degrees of freedom).
  """
  assert statistical.z_power(0.5 * (1 - 1 / 1.1), COUNT, hypotheses=20) > 0.8
  moved, acceptance = _moved(MIXTURE, MIXTURE, 0.3, seed=2)
  assert 0.4 < acceptance < 0.95
  statistical.assert_plausible(_mixture_p_value(moved))


def test_a_kernel_aimed_elsewhere_is_found_on_the_mixture():
  moved, _ = _moved(densities.sharpened(MIXTURE), MIXTURE, 0.3, seed=2)
  statistical.assert_refused(_mixture_p_value(moved))


def test_the_unadjusted_kernel_is_found_on_the_mixture():
  moved, _ = _moved(MIXTURE, MIXTURE, 0.3, seed=2, adjust=False)
  statistical.assert_refused(_mixture_p_value(moved))


def test_a_kernel_with_a_wrong_weight_of_a_component_is_found():
  class Other(densities.Mixture):
    weights = np.array([0.55, 0.25, 0.2])

  moved, _ = _moved(Other(), MIXTURE, 0.3, seed=2)
  statistical.assert_refused(_mixture_p_value(moved))


def test_chains_reach_the_gaussian_from_elsewhere():
  """After a burn-in that adapts h: the fixed kernel then forgets where, and with which h, it began."""
  start = tf.constant(np.full((5000, GAUSSIAN.size), 2.0), tf.float32)
  positions, _, _ = _run(GAUSSIAN, start, 300, 1.0, tf.constant(4, tf.int64), burn_in_steps=100)
  statistical.assert_plausible(statistical.standard_normal_p_value(GAUSSIAN.whiten(positions.numpy())))


# ---- TensorFlow Probability ----

TFP_COUNT, TFP_STEPS = 8000, 50


@tf.function(autograph=False)
def _tfp_mala(log_density, start, tfp_step_size, num_steps, seed):
  """Final positions and the mean acceptance probability of each chain."""
  kernel = tfp.mcmc.MetropolisAdjustedLangevinAlgorithm(log_density, step_size=tfp_step_size)

  def traced(_, results):
    return tf.exp(tf.minimum(results.log_accept_ratio, 0.0))

  positions = tfp.mcmc.sample_chain(1, start, kernel=kernel, num_burnin_steps=num_steps - 1, trace_fn=None, seed=seed)
  _, probabilities = tfp.mcmc.sample_chain(20, positions[0], kernel=kernel, trace_fn=traced, seed=seed + 1)
  return positions[0], tf.reduce_mean(probabilities, axis=0)


def _statistics(positions):
  """What is compared: coordinates, their squares and product, and the log density, [N, 6]."""
  first, second = positions[:, 0], positions[:, 1]
  return np.stack([first, second, first ** 2, second ** 2, first * second,
                   densities.banana(tf.constant(positions)).numpy()], axis=1)


@pytest.fixture(scope="module")
def tfp_equilibrium():
  """TFP's chains on the banana at our h = 0.12: its step size is 2h (drift h/2·∇, noise √h there)."""
  start = tf.constant(np.random.default_rng(0).normal(size=(TFP_COUNT, 2)), tf.float32)
  positions, acceptance = _tfp_mala(densities.banana, start, 2 * 0.12, TFP_STEPS, tf.constant([1, 2]))
  return start, positions.numpy(), acceptance.numpy()


def _ours(start, step_size, density=densities.banana):
  density = densities.with_gradient(density)
  positions, _, _ = _run(density, start, TFP_STEPS, step_size, tf.constant(5, tf.int64))
  _, acceptance, _ = _run(density, positions, 20, step_size, tf.constant(6, tf.int64))
  return positions.numpy(), acceptance.numpy()


def test_agreement_with_tfp(tfp_equilibrium):
  """8,000 chains each: means off by 0.1 standard deviations and an acceptance off by 0.02 are found."""
  start, tfp_positions, tfp_acceptance = tfp_equilibrium
  assert statistical.z_power(0.1, TFP_COUNT // 2, hypotheses=6) > 0.85
  assert statistical.z_power(0.02 / tfp_acceptance.std(), TFP_COUNT // 2) > 0.99
  positions, acceptance = _ours(start, 0.12)
  assert 0.5 < tfp_acceptance.mean() < 0.95
  statistical.assert_plausible(statistical.same_mean_p_value(_statistics(positions), _statistics(tfp_positions)))
  statistical.assert_plausible(
      statistical.same_distribution_p_value(_statistics(positions), _statistics(tfp_positions)))
  statistical.assert_plausible(statistical.same_mean_p_value(acceptance, tfp_acceptance))
  statistical.assert_plausible(statistical.same_distribution_p_value(acceptance, tfp_acceptance))


def test_tfps_step_size_taken_as_ours_is_found(tfp_equilibrium):
  start, _, tfp_acceptance = tfp_equilibrium
  _, acceptance = _ours(start, 0.24)
  statistical.assert_refused(statistical.same_mean_p_value(acceptance, tfp_acceptance))


def test_a_kernel_aimed_elsewhere_is_found_beside_tfp(tfp_equilibrium):
  start, tfp_positions, _ = tfp_equilibrium
  positions, _ = _ours(start, 0.12, lambda position: 1.25 * densities.banana(position))
  statistical.assert_refused(statistical.same_mean_p_value(_statistics(positions), _statistics(tfp_positions)))
