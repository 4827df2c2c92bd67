"""MALA as plain functions of a density, for tests that have no kernel at hand."""

import tensorflow as tf

from stic_tf.mcmc import adaptation
from stic_tf.mcmc import kernel
from stic_tf.mcmc import mala
from stic_tf.mcmc import run


def initial_state(position, density) -> kernel.ChainState:
  """The state at float32 [B, D]."""
  return mala.Mala(density, position.shape[1]).init(position)


def one_step(state, density, noise, log_uniform, step_size, adjust=True):
  """(state, info) after one step with noise [B, D]."""
  inputs = kernel.StepInputs(tf.constant(0), noise, log_uniform, step_size)
  return mala.Mala(density, noise.shape[1], adjust=adjust).one_step(state, inputs)


def run_chain(density, position, seeds, num_steps, step_size, burn_in_steps=0,
              target_acceptance=adaptation.TARGET_ACCEPTANCE, adjust=True, **settings):
  """`run.run` of a MALA kernel."""
  return run.run(mala.Mala(density, position.shape[1], adjust=adjust), position, seeds, num_steps, step_size,
                 burn_in_steps, target_acceptance, **settings)
