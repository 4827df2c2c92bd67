"""A network, a kernel, a solver and a Gaussian from elsewhere: with a line of their registry a system trains and draws.

A system from elsewhere is in test_fit.py. docs/architecture.md has the table that these hold.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from stic_tf import registries
from stic_tf.diffusion import solver as solver_lib
from stic_tf.mcmc import kernel as kernel_lib
from stic_tf.mcmc import mala
from stic_tf.mcmc import metropolis
from stic_tf.networks import gaussians
from tests.systems import tiny


def linear_network(config, image_shape, num_classes, seed, conditioned):
  """Somebody else's network: one linear layer, which knows no noise level."""
  del config, conditioned
  image = keras.Input(image_shape)
  logits = keras.layers.Dense(num_classes, kernel_initializer=keras.initializers.GlorotUniform(seed), name="linear")
  return keras.Model(image, logits(keras.layers.Flatten()(image)), name="linear")


class RandomWalk(kernel_lib.Kernel):
  """Random-walk Metropolis: no gradient in the proposal."""

  def propose(self, state, inputs):
    return mala.Proposal(state.position + tf.sqrt(2.0 * inputs.step_size)[:, tf.newaxis] * inputs.noise, state.gradient)

  def finish(self, state, proposal, evaluation, inputs):
    proposed = kernel_lib.ChainState(proposal.position, *evaluation)
    return metropolis.accept_or_reject(state, proposed, evaluation[0] - state.log_density, inputs)


class Euler(solver_lib.Solver):
  """First order."""

  def advance(self, state, rows, score, trial_score, before, level):
    return rows - (level - before) * before * score, state


class Narrow(gaussians.Isotropic):
  """EDM's with half the standard deviation."""

  def fit(self, statistics):
    super().fit(statistics)
    self.data_scale.assign(0.5 * self.data_scale)


CASES = {
    "network": ("score", "NETWORKS", "network", linear_network),
    "kernel": ("stic", "KERNELS", "sampler", RandomWalk),
    "solver": ("score", "SOLVERS", "predictor", Euler),
    "gaussian": ("score", "GAUSSIANS", "gaussian", Narrow)}


@pytest.mark.parametrize("kind, registry, setting, part", CASES.values(), ids=CASES)
def test_a_system_trains_and_draws_with_it(monkeypatch, kind, registry, setting, part):
  made = []

  def make(*arguments, **options):
    made.append(part(*arguments, **options))
    return made[-1]

  monkeypatch.setitem(getattr(registries, registry), "elsewhere", registries.Entry(make))
  system = tiny.build_system(kind, learning_rate=1e-2, **{setting: "elsewhere"})
  losses = [tiny.run_pass(system)["loss_classification"] for _ in range(2)]
  drawings = system.draw([0, 1, 2], seeds=1, num_steps=4)
  assert made and losses[1] < losses[0] and np.isfinite(drawings.log_density).all()
  assert drawings.images.shape == (3, *tiny.SHAPE) and (drawings.images[0] != drawings.images[1]).any()
