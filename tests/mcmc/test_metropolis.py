"""Accept / reject alone, at the ends of the scale."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.mcmc import metropolis
from tests import statistical

RATIOS = tf.constant([100.0, -100.0, 0.0, np.nan, np.inf, -np.inf, 1e38, -1e38])


@pytest.mark.parametrize("log_uniform, expected", [
    (-1e-7, [True, False, True, False, False, False, True, False]),
    (-16.0, [True, False, True, False, False, False, True, False]),
    (-99.0, [True, False, True, False, False, False, True, False]),
    (-101.0, [True, True, True, False, False, False, True, False]),
])
def test_accept(log_uniform, expected):
  accepted = metropolis.accept(RATIOS, tf.fill(RATIOS.shape, log_uniform))
  assert accepted.numpy().tolist() == expected


def test_acceptance_probability():
  probability = metropolis.acceptance_probability(RATIOS).numpy()
  np.testing.assert_allclose(probability, [1, 0, 1, 0, 0, 0, 1, 0], atol=1e-40)
  probabilities = metropolis.acceptance_probability(tf.math.log([0.25, 0.5])).numpy()
  np.testing.assert_allclose(probabilities, [0.25, 0.5], rtol=1e-6)


def test_accepted_as_often_as_the_probability_says():
  # 100,000 each: a rate off by 0.012 is found.
  count = 100000
  assert statistical.z_power(0.012 / 0.5, count, hypotheses=3) > 0.99
  log_uniforms = tf.math.log(tf.constant(np.random.default_rng(0).uniform(size=count), tf.float32))
  for probability in (0.1, 0.574, 0.9):
    accepted = metropolis.accept(tf.fill([count], np.float32(np.log(probability))), log_uniforms).numpy()
    statistical.assert_plausible(statistical.mean_p_value(accepted, probability, probability * (1 - probability)))
    statistical.assert_refused(
        statistical.mean_p_value(accepted, probability + 0.012, probability * (1 - probability)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_choose_does_not_leak_the_branch_not_taken(bad):
  accepted = tf.constant([True, False])
  for shape in ([2], [2, 3], [2, 2, 2]):
    good, broken = tf.ones(shape), tf.fill(shape, np.float32(bad))
    chosen = metropolis.choose(accepted, good, broken).numpy()
    assert (chosen[0] == 1).all() and not np.isfinite(chosen[1]).any()
    chosen = metropolis.choose(accepted, broken, good).numpy()
    assert (chosen[1] == 1).all() and not np.isfinite(chosen[0]).any()
