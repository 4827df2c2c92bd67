"""JEM's SGLD as a kernel of the common loop."""

import numpy as np
import tensorflow as tf

from stic_tf.mcmc import kernel as kernel_lib
from stic_tf.mcmc import run as run_lib
from stic_tf.mcmc import sgld
from tests import statistical
from tests.mcmc import densities

SIZE = 6
SLOPE = np.linspace(-1.0, 2.0, SIZE).astype(np.float32)


def _seeds(count):
  return tf.constant(np.stack([np.full(count, 3), np.arange(count)], axis=1), tf.int64)


def _constant_gradient(position):
  """log p(x) = slope·x, so that the sum of the steps is known."""
  return tf.linalg.matvec(position, SLOPE), tf.ones_like(position) * SLOPE


def _run(num_steps, density=_constant_gradient, count=2000, kernel=sgld.Sgld, **settings):
  kernel = kernel(density, SIZE)
  start = kernel.blank(_seeds(count))
  return start.numpy(), run_lib.run(kernel, start, _seeds(count), num_steps, 0.1, **settings)


class _TooLoud(sgld.Sgld):
  """A tenth too much noise."""

  def propose(self, state, inputs):
    return super().propose(state, inputs._replace(noise=1.1 * inputs.noise))


def test_a_step_is_a_gradient_and_a_hundredth_of_noise():
  """2,000 chains of 6 dimensions and 9 steps; one with a tenth more noise is the negative control."""
  assert sgld.GRADIENT_STEP == 1.0 and sgld.NOISE == 0.01

  def noise(kernel):
    start, result = _run(9, kernel=kernel)
    return (result.state.position.numpy() - start - 9 * SLOPE) / (0.01 * np.sqrt(9))

  statistical.assert_plausible(statistical.standard_normal_p_value(noise(sgld.Sgld)))
  statistical.assert_refused(statistical.standard_normal_p_value(noise(_TooLoud)))


def test_a_chain_of_fewer_steps_stays_where_it_is():
  """In the loop of all kernels: each chain of a mixed batch is, bit for bit, the chain of its own number of steps."""
  numbers = np.array([9, 0, 4, 1] * 10, np.int32)
  start, mixed = _run(tf.constant(numbers), densities.Gaussian(SIZE), 40)
  np.testing.assert_array_equal(mixed.steps.numpy(), numbers)
  for steps in (9, 4, 1):
    _, alone = _run(steps, densities.Gaussian(SIZE), 40)
    for value, expected in zip(mixed.state, alone.state):
      np.testing.assert_array_equal(value.numpy()[numbers == steps], expected.numpy()[numbers == steps])
    assert (alone.state.position.numpy() != start).all()
  np.testing.assert_array_equal(mixed.state.position.numpy()[numbers == 0], start[numbers == 0])


def test_the_state_is_what_the_target_says():
  gaussian = densities.Gaussian(SIZE)
  _, result = _run(tf.constant(np.array([5, 2] * 10, np.int32)), gaussian, 20)
  for cached, fresh in zip(result.state[1:], gaussian(result.state.position)):
    np.testing.assert_allclose(cached.numpy(), fresh.numpy(), rtol=1e-5, atol=1e-5)


def test_every_step_counts_as_taken_and_h_is_left_alone():
  _, result = _run(8, densities.Gaussian(SIZE), 40, burn_in_steps=8)
  assert (result.acceptance_rate.numpy() == 1).all()
  np.testing.assert_allclose(result.step_size.numpy(), 0.1, rtol=1e-6)
  kernel = sgld.Sgld(_constant_gradient, SIZE)
  state, info = kernel.one_step(kernel.init(tf.zeros([3, SIZE])), kernel_lib.StepInputs(
      tf.constant(0), tf.ones([3, SIZE]), tf.fill([3], -1.0), tf.fill([3], 7.0)))
  assert info.accepted.numpy().all() and (info.acceptance_probability.numpy() == 1).all()
  np.testing.assert_allclose(state.position.numpy(), np.tile(SLOPE + 0.01, [3, 1]), rtol=1e-5)
