"""From a blank canvas to rendered images, on a linear classifier whose density is Gaussian and known."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special
from scipy import stats

from stic_tf import config as config_lib
from stic_tf import drawing as drawing_lib
from stic_tf.mcmc import adaptation
from stic_tf.mcmc import mala
from stic_tf.mcmc import run as run_lib
from stic_tf.mcmc import sgld
from stic_tf.systems import accepted
from stic_tf.systems import stic
from tests import statistical

IMAGE_SHAPE, NOISE_LEVEL = (2, 3, 1), 0.3
SIZE = int(np.prod(IMAGE_SHAPE))
# Logits W x of two classes: log π_w(x) is Gaussian with the covariance M and the mean moved by M Wᵀw / T.
SLOPES = np.random.default_rng(0).normal(size=(SIZE, 2))


@pytest.fixture(autouse=True)
def images_of_any_range(monkeypatch):
  """These are numbers of a known density, not pixels."""
  monkeypatch.setattr(accepted, "_LARGEST_PIXEL", 100.0)


def _logits(images):
  return tf.matmul(tf.reshape(images, [-1, SIZE]), tf.constant(SLOPES, tf.float32))


def _system(sampler="grmala", logits=_logits, **settings):
  config = config_lib.RunConfig().replace(
      **settings, sampler=sampler, preconditioner="pixels" if sampler == "jem_sgld" else "gram",
      reference="flat" if sampler == "jem_sgld" else "gaussian")
  system = stic.STIC(logits, 2, config, average=logits, image_shape=IMAGE_SHAPE)
  system.adapt(0.3 * np.random.default_rng(1).normal(size=(60, *IMAGE_SHAPE)).cumsum(axis=1))
  system.set_noise_level(NOISE_LEVEL)
  return system


def _draw(system, weights, seeds, num_steps, temperature, step_size, noise_level, burn_in_fraction=0.5):
  """A drawing of walks at one noise level that are rendered as if at another, `noise_level`."""
  system.noise_level.assign(noise_level)
  drawer = system.drawer(system.config.replace(burn_in_fraction=burn_in_fraction))
  return drawer.draw(drawing_lib.normalise(weights, seeds, num_steps, temperature, step_size))


def _blank(system, seeds):
  kernel = sgld.Sgld if system.config.sampler.sampler == "jem_sgld" else mala.Mala
  return kernel(None, SIZE).blank(seeds)


def _seeds(count, first=0):
  return tf.constant(np.stack([np.full(count, first), np.arange(count)], axis=1), tf.int64)


def _weights(count):
  """Hard classes and a soft one in turn."""
  return np.array([[1, 0], [0, 1], [0.3, 0.7]], np.float32)[np.arange(count) % 3]


def test_the_canvas_is_a_draw_from_the_reference():
  statistical.assert_plausible(statistical.standard_normal_p_value(_blank(_system(), _seeds(5000)).numpy()))


def test_sgld_starts_from_uniform_noise():
  start = _blank(_system("jem_sgld"), _seeds(5000)).numpy()
  assert np.abs(start).max() <= 1
  statistical.assert_plausible(statistical.distribution_p_value(start, stats.uniform(-1, 2).cdf))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_drawings_have_the_known_distribution(temperature):
  # 6,000 of 6 dimensions; a kernel at 1.1·log p is the negative control of test_invariance.
  system, count = _system(), 6000
  target = system.targets["average"]
  weights = _weights(count)
  drawing = tf.function(lambda: _draw(system, tf.constant(weights), _seeds(count), 80, temperature, 0.3, 0.0),
                        autograph=False)()
  factor = target.preconditioner.color(tf.eye(SIZE)).numpy().T.astype(np.float64)
  walk = drawing.walk.numpy().reshape(count, SIZE) - target.preconditioner.mean.numpy()
  shift = weights @ SLOPES.T / temperature @ factor  # in whitened coordinates
  whitened = np.linalg.solve(factor, walk.T).T
  statistical.assert_plausible(statistical.standard_normal_p_value(whitened - shift))
  statistical.assert_refused(statistical.standard_normal_p_value(whitened - 0.8 * shift))
  np.testing.assert_allclose(drawing.log_density.numpy(),
                             np.sum(drawing.walk.numpy().reshape(count, SIZE) @ SLOPES * weights, axis=1) / temperature
                             - 0.5 * np.square(whitened).sum(axis=1), atol=2e-3)
  assert abs(drawing.acceptance_rate.numpy().mean() - adaptation.TARGET_ACCEPTANCE) < 0.1


def test_drawings_of_no_class_have_the_known_distribution():
  """Guidance of -1: log Σ exp f_k and q0, a mixture of a normal a class in whitened coordinates."""
  system, count = _system(logits=lambda images: 3.0 * _logits(images)), 6000
  target = system.targets["average"]
  drawer = system.drawer(system.config.replace(guidance=-1.0))
  drawing = tf.function(lambda: drawer.draw(drawing_lib.normalise(
      tf.constant(_weights(count)), _seeds(count), 120, 1.0, 0.3)), autograph=False)()
  means = 3.0 * SLOPES.T @ target.preconditioner.color(tf.eye(SIZE)).numpy().T.astype(np.float64)
  direction = (means[0] - means[1]) / np.linalg.norm(means[0] - means[1])
  places = target.to_whitened(drawing.walk).numpy() @ direction
  at_mean = 3.0 * SLOPES.T @ target.preconditioner.mean.numpy().ravel()
  shares = special.softmax(at_mean + 0.5 * np.square(means).sum(axis=1))
  assert shares.min() > 0.05 and np.ptp(means @ direction) > 1  # what follows tells one class from two

  def cumulative(shares):
    return lambda values: sum(share * stats.norm.cdf(values - mean) for share, mean in zip(shares, means @ direction))

  statistical.assert_plausible(statistical.distribution_p_value(places, cumulative(shares)))
  statistical.assert_refused(statistical.distribution_p_value(places, cumulative([0.5, 0.5])))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_densities_are_those_that_are_walked_in(temperature):
  """And of no class that of log Σ exp(f_k / T) and q0."""
  system, weights = _system(), tf.constant(_weights(12))
  target, position = system.targets["average"], _blank(_system(), _seeds(12))
  images, temperatures = target.to_images(position), tf.fill([12], temperature)
  np.testing.assert_allclose(system.log_density(images, weights, temperatures),
                             target.whitened(weights, temperatures)(position)[0], rtol=1e-4, atol=1e-4)
  expected = special.logsumexp(_logits(images).numpy() / temperature, axis=1) - 0.5 * np.square(position).sum(axis=1)
  np.testing.assert_allclose(system.log_density(images, None, temperatures), expected, rtol=1e-4, atol=1e-4)


def test_a_canvas_gets_the_noise_that_is_walked_in():
  """A tenth more or less of it is found."""
  system, canvas = _system(), tf.fill([4000, *IMAGE_SHAPE], tf.constant(128, tf.uint8))
  drawer = system.drawer(system.config)
  request = drawing_lib.normalise(tf.constant(_weights(4000)), _seeds(4000), 3, 1.0, 0.3, canvas)
  start = drawer.start(drawer.chain(request)[0], request)
  noise = (system.targets["average"].to_images(start) - (128 / 127.5 - 1)).numpy().reshape(4000, SIZE) / NOISE_LEVEL
  statistical.assert_plausible(statistical.standard_normal_p_value(noise))
  for factor in (0.9, 1.1):
    statistical.assert_refused(statistical.standard_normal_p_value(factor * noise))


def test_guidance_is_a_row_each():
  """And a request's own is that of the drawer; there is none where the drawer has none."""
  system, weights = _system(), tf.constant(_weights(12))
  arguments = (weights, _seeds(12), 30, 1.0, 0.3)
  guided = system.drawer(system.config.replace(guidance=3))
  assert guided.guidance == 3.0 and system.drawer(system.config).guidance is None
  own = guided.draw(drawing_lib.normalise(*arguments)).walk.numpy()
  each = tf.constant(np.where(np.arange(12) % 2, 3.0, 0.0), tf.float32)
  rows = guided.draw(drawing_lib.normalise(*arguments, guidance=each)).walk.numpy()
  np.testing.assert_array_equal(rows[1::2], own[1::2])
  plain = system.drawer(system.config).draw(drawing_lib.normalise(*arguments)).walk.numpy()
  np.testing.assert_allclose(rows[::2], plain[::2], atol=1e-4)
  assert np.abs(own - plain).max() > 0.1


def test_what_is_learnt_from_is_not_guided():
  system, weights = _system(guidance=3.0), tf.constant(_weights(12))
  fakes = system.fake_drawer().draw(drawing_lib.normalise(weights, _seeds(12), 30, 1.0, 0.3))
  plain, guided = (system.drawer(system.config.replace(guidance=guidance)).draw(
      drawing_lib.normalise(weights, _seeds(12), 30, 1.0, 0.3)) for guidance in (0.0, 3.0))
  np.testing.assert_array_equal(fakes.walk, plain.walk)
  assert np.abs(fakes.walk - guided.walk).max() > 0.1


def test_a_guided_walk_is_rendered_by_the_guided_score():
  system, weights = _system(), tf.constant(_weights(12))
  target, guidance = system.targets["average"], tf.fill([12], 3.0)
  drawing = system.drawer(system.config.replace(guidance=3.0)).draw(
      drawing_lib.normalise(weights, _seeds(12), 30, 1.0, 0.3))
  whitened = target.to_whitened(drawing.walk)

  def rendered(guidance):
    _, gradient = target.whitened(weights, tf.ones([12]), guidance)(whitened)
    jumped = target.jump(whitened, gradient, NOISE_LEVEL, tf.ones([12])).numpy()
    return np.clip(np.round((jumped + 1) * 127.5), 0, 255)

  images = drawing.images.numpy().astype(float)
  assert np.abs(images - rendered(guidance)).max() <= 1 and np.abs(images - rendered(None)).max() > 1


def test_images_are_the_walk_after_one_jump():
  system, count = _system(), 50
  target = system.targets["average"]
  weights = tf.constant(_weights(count))
  drawing = _draw(system, weights, _seeds(count), 20, 1.0, 0.3, NOISE_LEVEL)
  walk = drawing.walk
  whitened = target.to_whitened(walk)
  _, gradient = target.whitened(weights, tf.ones([count]))(whitened)
  jumped = target.jump(whitened, gradient, NOISE_LEVEL, tf.ones([count])).numpy()
  expected = np.clip(np.round((jumped + 1) * 127.5), 0, 255)
  assert drawing.images.dtype == tf.uint8 and drawing.images.shape == (count, *IMAGE_SHAPE)
  assert np.abs(drawing.images.numpy().astype(float) - expected).max() <= 1  # rounding of the inverse
  assert not np.array_equal(drawing.images.numpy(), np.clip(np.round((walk.numpy() + 1) * 127.5), 0, 255))


def test_burn_in_is_the_first_share_of_the_steps():
  system, weights = _system(), tf.constant(_weights(16))
  drawings = [_draw(system, weights, _seeds(16), steps, 1.0, 0.3, 0.3, fraction)
              for steps, fraction in ((20, 0.5), (40, 0.25), (20, 0.0))]
  np.testing.assert_array_equal(drawings[0].step_size.numpy(), drawings[1].step_size.numpy())  # ten steps both
  np.testing.assert_allclose(drawings[2].step_size.numpy(), 0.3, rtol=1e-6)
  assert (drawings[0].step_size.numpy() != drawings[2].step_size.numpy()).all()


def test_settings_an_image():
  """Steps, temperature and step size as one number or one an image."""
  system, weights = _system(), tf.constant(_weights(16))
  one = _draw(system, weights, _seeds(16), 8, 0.7, 0.2, 0.3)
  each = _draw(system, weights, _seeds(16), tf.fill([16], 8), tf.fill([16], 0.7), tf.fill([16], 0.2), 0.3)
  for value, expected in zip(tf.nest.flatten(each), tf.nest.flatten(one)):
    np.testing.assert_array_equal(value.numpy(), expected.numpy())


def test_an_unadjusted_drawing_moves_at_every_step():
  system, weights = _system(), tf.constant(_weights(16))
  arguments = (weights, _seeds(16), 1, 1.0, 20.0, 0.0, 0.0)
  start = system.targets["average"].to_images(_blank(system, _seeds(16))).numpy()
  stays = (_draw(system, *arguments).walk.numpy() == start).all(axis=(1, 2, 3))
  assert stays.mean() > 0.5
  unadjusted = _draw(_system("unadjusted"), *arguments)
  assert not (unadjusted.walk.numpy() == start).all(axis=(1, 2, 3)).any()
  assert unadjusted.acceptance_rate.numpy().mean() < 0.5  # it says what it should have been


def test_sgld_steps_are_jems():
  """x' = x + 1.0·∇ + 0.01·ξ without an accept test: here with a constant gradient, so the sum is known."""
  system, count, steps = _system("jem_sgld"), 2000, 9
  weights, start = tf.constant(_weights(count)), _blank(system, _seeds(count))
  kernel = sgld.Sgld(system.targets["average"].whitened(weights, tf.ones([count])), SIZE)
  result = run_lib.run(kernel, start, _seeds(count), steps, 0.1)
  drift = steps * sgld.GRADIENT_STEP * _weights(count) @ SLOPES.T
  noise = (result.state.position.numpy() - start.numpy() - drift) / (sgld.NOISE * np.sqrt(steps))
  statistical.assert_plausible(statistical.standard_normal_p_value(noise))
  assert (result.acceptance_rate.numpy() == 1).all()
  num_steps = np.where(np.arange(count) % 2, steps, 4).astype(np.int32)
  mixed = run_lib.run(kernel, start, _seeds(count), tf.constant(num_steps), 0.1).state.position.numpy()
  np.testing.assert_array_equal(mixed[1::2], result.state.position.numpy()[1::2])
  four = run_lib.run(kernel, start, _seeds(count), 4, 0.1).state.position.numpy()
  np.testing.assert_array_equal(mixed[::2], four[::2])


@pytest.mark.parametrize("sampler", ["grmala", "unadjusted", "jem_sgld"])
def test_a_static_batch_of_one(sampler):
  system, weights = _system(sampler), tf.constant(_weights(1))
  drawing = tf.function(lambda: _draw(system, weights, _seeds(1), 3, 1.0, 0.2, 0.3), autograph=False)()
  assert drawing.images.shape == (1, *IMAGE_SHAPE)
