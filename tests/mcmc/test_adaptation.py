"""How h follows the acceptance: Robbins and Monro's rule in numbers."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.mcmc import adaptation


def test_the_gain_of_burn_in_falls_as_t_to_the_minus_0_6():
  gains = np.array([adaptation.burn_in_gain(tf.constant(step)).numpy() for step in (0, 1, 9, 99)])
  np.testing.assert_allclose(gains, [1.0, 2 ** -0.6, 10 ** -0.6, 100 ** -0.6], rtol=1e-5)


def test_h_grows_when_more_is_accepted_than_aimed_at():
  change = adaptation.log_change(tf.constant([1.0, 0.574, 0.0]), 0.574, 0.5).numpy()
  np.testing.assert_allclose(change, [0.213, 0.0, -0.287], atol=1e-6)


@pytest.mark.parametrize("acceptance, expected", [(0.9, 0.1 * np.exp(0.6)), (0.6, 0.1), (0.2, 0.1 * np.exp(-0.8))])
def test_between_chains_h_moves_by_the_gain(acceptance, expected):
  moved = adaptation.between_chains(tf.constant(0.1), tf.constant(acceptance), 0.6, 2.0).numpy()
  assert moved == pytest.approx(expected, rel=1e-5)


def test_between_chains_h_stays_within_its_range():
  steps = tf.constant([1.1e-5, 3.9])
  for acceptance, expected in ((0.0, [1e-5, 3.9 * np.exp(-0.5)]), (1.0, [1.1e-5 * np.exp(0.5), 4.0])):
    moved = adaptation.between_chains(steps, tf.fill([2], acceptance), 0.5, 1.0).numpy()
    np.testing.assert_allclose(moved, expected, rtol=1e-5)
