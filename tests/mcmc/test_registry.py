"""A kernel from elsewhere: one class and one line of the registry."""

import numpy as np
import tensorflow as tf

from stic_tf import registries
from stic_tf.mcmc import kernel as kernel_lib
from stic_tf.mcmc import mala
from stic_tf.mcmc import metropolis
from stic_tf.mcmc import run
from tests import statistical
from tests.mcmc import densities


class RandomWalk(kernel_lib.Kernel):
  """Random-walk Metropolis: no gradient in the proposal."""

  def propose(self, state, inputs):
    return mala.Proposal(state.position + tf.sqrt(2.0 * inputs.step_size)[:, tf.newaxis] * inputs.noise, state.gradient)

  def finish(self, state, proposal, evaluation, inputs):
    proposed = kernel_lib.ChainState(proposal.position, *evaluation)
    return metropolis.accept_or_reject(state, proposed, evaluation[0] - state.log_density, inputs)


def test_a_kernel_from_elsewhere_is_exact(monkeypatch):
  """5,000 chains; the kernel aimed at 1.2·log p is the negative control."""
  monkeypatch.setitem(registries.KERNELS, "random_walk", registries.Entry(RandomWalk))
  gaussian, seeds = densities.Gaussian(), tf.constant([[0, row] for row in range(5000)], tf.int64)

  def moved(density):
    kernel = registries.KERNELS.load("random_walk")(density, gaussian.size)
    start = tf.constant(gaussian.sample(5000, 0))
    return tf.function(lambda: run.run(kernel, start, seeds, 60, 0.1), autograph=False)().state.position.numpy()

  statistical.assert_plausible(statistical.standard_normal_p_value(gaussian.whiten(moved(gaussian))))
  statistical.assert_refused(
      statistical.standard_normal_p_value(gaussian.whiten(moved(densities.sharpened(gaussian, 1.2)))))


def test_kernels_by_name():
  assert all(registries.KERNELS.load(name)(None, 3).size == 3 for name in registries.KERNELS)
  exact = {name: registries.KERNELS.load(name)(None, 3).exact for name in ("grmala", "unadjusted", "jem_sgld")}
  assert exact == {"grmala": True, "unadjusted": False, "jem_sgld": False}
  assert np.shape(registries.KERNELS.load("jem_sgld")(None, 3).blank(tf.zeros([2, 2], tf.int64))) == (2, 3)
