"""Drawing down a schedule, with closed-form energies of Gaussian mixtures in place of a network."""

import types

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import drawing as drawing_lib
from stic_tf.diffusion import schedule
from stic_tf.preconditioners import build
from stic_tf.preconditioners import statistics as statistics_lib
from stic_tf.systems import annealing
from tests import statistical

SHAPE = (1, 2, 1)
COUNT = 6000
# Six levels from far outside the data to a little noise on it: coarse, so that the predictor errs.
COARSE = config_lib.RunConfig(model="score").replace(sigma_min=0.2, sigma_max=10.0, rho=5.0)
LEVELS, CORRECTIONS, STEP_SIZE = 6, 20, 0.8


class Classes:
  """Two classes in the plane; the first has two modes of unlike width and weight, which overlap with the second."""

  priors = np.array([0.6, 0.4])
  class_of = np.array([0, 0, 1])
  weights = np.array([0.75, 0.25, 1.0])  # within the class
  means = np.array([[-1.0, -0.4], [1.0, 0.6], [0.3, -1.2]])
  scales = np.array([0.35, 0.6, 0.45])

  def sample(self, count, seed, label=None, noise=0.0):
    """Exact samples plus noise, float64 [count, 2]: of one class, or of both."""
    rng = np.random.default_rng(seed)
    share = self.priors[self.class_of] * self.weights if label is None else self.weights * (self.class_of == label)
    component = rng.choice(3, count, p=share)
    samples = self.means[component] + self.scales[component, np.newaxis] * rng.normal(size=(count, 2))
    return samples + noise * rng.normal(size=(count, 2))

  def terms(self, rows, noise_level):
    """log of weight times density of each component at its noise level, [B, 3]."""
    variance = tf.constant(self.scales ** 2, tf.float32) + tf.square(noise_level)[:, tf.newaxis]
    distance = tf.reduce_sum(tf.square(rows[:, tf.newaxis] - tf.constant(self.means, tf.float32)), axis=2)
    return tf.constant(np.log(self.weights), tf.float32) - tf.math.log(variance) - 0.5 * distance / variance

  def energies(self, images, noise_level):
    """f_k = log p(k) + log p(x | k, σ); the real/fake logit favours the right half of the plane."""
    rows = tf.reshape(images, [-1, 2])
    terms = self.terms(rows, noise_level)
    first = tf.reduce_logsumexp(terms[:, :2], axis=1)
    energies = tf.stack([first, terms[:, 2]], axis=1) + tf.constant(np.log(self.priors), tf.float32)
    return energies, 2.0 * tf.stack([rows[:, 0], rows[:, 0]], axis=1)

  def responsibilities(self, samples, noise):
    """Posterior probability of each component under the mixture of all, [N, 3]: its mean is the component's weight."""
    rows = tf.constant(samples, tf.float32)
    terms = self.terms(rows, tf.fill([len(samples)], tf.constant(noise, tf.float32)))
    share = np.log(self.priors[self.class_of]).astype(np.float32)
    return tf.nn.softmax(terms + share).numpy()


CLASSES = Classes()


def _preconditioner(name):
  preconditioner = build.build(name, SHAPE, levels=True)
  images = CLASSES.sample(50000, 7).reshape(-1, *SHAPE)
  preconditioner.fit(statistics_lib.ImageStatistics.fit(images))
  return preconditioner


def _seeds(count, seed=0):
  return tf.constant(np.stack([np.full(count, seed), np.arange(count)], axis=1), tf.int64)


def _drawer(settings, preconditioner="identity", adjust=True, trained=COARSE, energies=CLASSES.energies, h_held=False):
  """A drawer of a system whose network is the classes' closed form; its h follows no acceptance where it is held."""
  config = settings.replace(sampler="grmala" if adjust else "unadjusted")
  system = types.SimpleNamespace(average=types.SimpleNamespace(level_energies=energies, has_evidence=True),
                                 preconditioner=_preconditioner(preconditioner), image_shape=SHAPE,
                                 is_exact=lambda config: adjust and not h_held,
                                 config=trained)
  return annealing.Annealing(system, config)


class End:
  """Where images stand at the last level: rows [B, 2], and the corrector's acceptance rate [B]."""

  def __init__(self, drawing):
    self.rows, self.acceptance_rate = tf.reshape(drawing.walk, [-1, 2]), drawing.acceptance_rate


def _run(settings, class_weights=(1.0, 0.0), count=COUNT, num_steps=LEVELS, step_size=STEP_SIZE, adjust=True,
         preconditioner="identity"):
  drawer = _drawer(settings, preconditioner, adjust, settings)
  weights = tf.tile(tf.constant([class_weights], tf.float32), [count, 1])
  request = drawing_lib.normalise(weights, _seeds(count), num_steps, 1.0, step_size)
  return End(tf.function(lambda: drawer.draw(request), autograph=False)())


def _p_value(rows, label=None):
  """Of the hypothesis that rows are of the density at the last level: proportions, moments and marginals."""
  exact = CLASSES.sample(20 * COUNT, 99, label, COARSE.score.sigma_min)
  # Of one class, the proportions that matter are of its modes; of both, of the classes too.
  shares = [CLASSES.responsibilities(samples, COARSE.score.sigma_min)[:, :2] for samples in (rows, exact)]
  directions = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]).T
  projected = [samples @ directions for samples in (rows, exact)]
  p_values = [statistical.same_mean_p_value(*shares), statistical.same_mean_p_value(*projected),
              statistical.same_mean_p_value(*(np.square(samples) for samples in projected)),
              statistical.same_distribution_p_value(*projected)]
  return min(1.0, len(p_values) * min(p_values))


def _corrected(**settings):
  return COARSE.replace(**{"corrector_steps": CORRECTIONS, **settings})


@pytest.mark.parametrize("preconditioner, settings, levels", [
    ("identity", {}, LEVELS), ("identity", {"predictor": "dpm_solver_pp"}, LEVELS), ("gram", {}, LEVELS),
    ("gram", {"predictor": "none", "corrector_steps": 2 * CORRECTIONS}, 2 * LEVELS)], ids=str)
def test_with_correction_modes_and_moments_are_right(preconditioner, settings, levels):
  """6,000 images at six levels: a proportion, mean or second moment off by 0.09 standard deviations is found."""
  assert statistical.z_power(0.09, COUNT, hypotheses=20) > 0.9
  end = _run(_corrected(**settings), preconditioner=preconditioner, num_steps=levels)
  assert 0.3 < end.acceptance_rate.numpy().mean() < 0.98
  statistical.assert_plausible(_p_value(end.rows.numpy(), 0))


def test_without_correction_they_are_not():
  statistical.assert_refused(_p_value(_run(COARSE).rows.numpy(), 0))


def test_an_unadjusted_corrector_is_found():
  statistical.assert_refused(_p_value(_run(_corrected(), adjust=False, preconditioner="gram").rows.numpy(), 0))


def test_class_free_drawing_has_the_classes_in_their_proportions():
  statistical.assert_plausible(_p_value(_run(_corrected(guidance=-1.0)).rows.numpy()))
  statistical.assert_refused(_p_value(_run(COARSE.replace(guidance=-1.0)).rows.numpy()))


def test_guidance_and_correction_add_to_the_energy():
  images = tf.constant(CLASSES.sample(40, 3).reshape(-1, *SHAPE), tf.float32)
  level, weights = tf.fill([40], 0.4), tf.constant(np.random.default_rng(0).dirichlet([1, 1], 40), tf.float32)
  energies, evidence = (value.numpy() for value in CLASSES.energies(images, level))
  own, ratio = (energies * weights).numpy().sum(1), (evidence * weights).numpy().sum(1)
  anyone = np.logaddexp(*energies.T)
  for guidance, correction in ((0.0, 0.0), (0.7, 0.0), (-1.0, 0.0), (0.0, 0.5), (2.0, 1.0)):
    settings = COARSE.replace(guidance=guidance, correction=correction)
    energy = _drawer(settings).energy(images, level, weights)
    np.testing.assert_allclose(energy, own + guidance * (own - anyone) + correction * ratio, rtol=1e-4, atol=1e-4)


def _held(weight, levels):
  """At which of some noise levels a weight on the interval from 0.5 to 3 holds; at the others it is 0. Bool [N]."""
  repeated = np.tile(levels, 8)
  count = len(repeated)
  images = tf.constant(CLASSES.sample(count, 3).reshape(-1, *SHAPE), tf.float32)
  interval, own, everywhere = (_drawer(COARSE.replace(**settings)).energy(
      images, tf.constant(repeated), tf.one_hot(np.arange(count) % 2, 2)).numpy() for settings in (
          {weight: 1.5, f"{weight}_from": 0.5, f"{weight}_to": 3.0}, {}, {weight: 1.5}))
  told_apart = np.abs(everywhere - own) > 1e-3
  held = np.isclose(interval, everywhere, rtol=1e-5, atol=1e-4)
  np.testing.assert_allclose(interval, np.where(held, everywhere, own), rtol=1e-5, atol=1e-4)
  assert told_apart.mean() > 0.8
  return np.array([held[(repeated == level) & told_apart].all() for level in levels])


@pytest.mark.parametrize("weight", ["guidance", "correction"])
def test_guidance_and_correction_hold_within_their_noise_levels(weight):
  """Each image at its own level: outside the interval the energy is the class's own."""
  levels = np.array([0.25, 0.5, 1.0, 3.0, 8.0], np.float32)
  np.testing.assert_array_equal(_held(weight, levels), (levels >= 0.5) & (levels <= 3.0))


@pytest.mark.parametrize("weight", ["guidance", "correction"])
def test_guidance_and_correction_hold_at_ends_that_a_schedule_comes_to_within_rounding(weight):
  ends = np.array([[0.5], [3.0]], np.float32)
  outwards = np.array([[-1.0], [1.0]])
  for by, held in ((1e-6, True), (-1e-6, True), (1e-3, False), (-1e-3, True)):
    levels = np.float32(ends * (1.0 + by * outwards)).ravel()
    assert (levels != ends.ravel()).all()
    assert (_held(weight, levels) == held).all(), by


def test_guidance_of_all_levels_on_one_side_holds_wherever_a_schedule_ends():
  """With a small ρ the last level comes out below σ_min by more than rounding."""
  least, most = COARSE.score.sigma_min, COARSE.score.sigma_max
  below, above = (_drawer(COARSE.replace(guidance=1.5, guidance_from=first, guidance_to=last))._within(
      first, last, tf.constant([least * 0.99, 0.5 * (least + most), most * 1.01]), 1.5).numpy()
                  for first, last in ((least, 0.9 * most), (1.1 * least, most)))
  np.testing.assert_array_equal(below, [1.5, 1.5, 0.0])
  np.testing.assert_array_equal(above, [0.0, 1.5, 1.5])


def test_many_small_steps_need_no_correction():
  """The predictor is consistent: of 60 levels its moments are those of the density."""
  end = _run(COARSE.replace(sigma_max=40.0), num_steps=60)
  statistical.assert_plausible(_p_value(end.rows.numpy(), 0))


# ---- the schedule ----


def test_the_schedule_falls_from_the_largest_level_to_the_least():
  settings = config_lib.ScoreConfig(sigma_min=0.02, sigma_max=20.0, rho=7.0)
  counts = np.array([1, 2, 18, 40])
  falling = schedule.Schedule(settings.sigma_min, settings.sigma_max, settings.rho)
  levels = np.array([falling.level(tf.constant(step), tf.constant(counts)).numpy() for step in range(41)])
  np.testing.assert_allclose(levels[0], 20.0, rtol=1e-5)
  for column, count in enumerate(counts[1:], 1):
    assert (np.diff(levels[:count, column]) < 0).all()
    np.testing.assert_allclose(levels[count - 1:, column], 0.02, rtol=1e-4)
  # Karras et al. 2022, eqn 5.
  expected = (20 ** (1 / 7) + 5 / 17 * (0.02 ** (1 / 7) - 20 ** (1 / 7))) ** 7
  np.testing.assert_allclose(levels[5, 2], expected, rtol=1e-4)


@pytest.mark.parametrize("settings", [
    {}, {"corrector_steps": 3}, {"predictor": "none", "corrector_steps": 2}, {"predictor": "dpm_solver_pp"}], ids=str)
@pytest.mark.parametrize("num_steps", [1, 5])
def test_network_evaluations_are_counted(settings, num_steps):
  settings = COARSE.replace(**settings)
  calls = tf.Variable(0)

  def energies(images, noise_level):
    with tf.control_dependencies([calls.assign_add(1)]):
      return CLASSES.energies(images, noise_level)

  drawer = _drawer(settings, energies=energies)
  request = drawing_lib.normalise(tf.ones([4, 2]) / 2, _seeds(4), num_steps, 1.0, 0.3)
  tf.function(lambda: drawer.draw(request), autograph=False)()
  assert calls.numpy() == drawer.network_evaluations(num_steps)


def test_each_image_follows_its_own_schedule_and_nothing_traces_again():
  drawer = _drawer(_corrected(corrector_steps=2), "gram")
  counts, traces = np.array([1, 7, 3, 7]), []
  weights = tf.constant([[1, 0], [0, 1], [0.5, 0.5], [0, 1]], tf.float32)

  @tf.function(autograph=False, input_signature=[
      tf.TensorSpec([None, 2]), tf.TensorSpec([None, 2], tf.int64), tf.TensorSpec([None], tf.int32), tf.TensorSpec([]),
      tf.TensorSpec([])])
  def draw(*arguments):
    traces.append(1)
    return drawer.draw(drawing_lib.normalise(*arguments))

  together = draw(weights, _seeds(4), tf.constant(counts, tf.int32), 1.0, 0.3)
  for row, count in enumerate(counts):
    alone = draw(weights[row:row + 1], _seeds(4)[row:row + 1], tf.constant([count], tf.int32), 1.0, 0.3)
    np.testing.assert_allclose(alone.walk[0], together.walk[row], atol=1e-5)
    np.testing.assert_allclose(alone.log_density[0], together.log_density[row], atol=1e-4)
    np.testing.assert_allclose(alone.acceptance_rate[0], together.acceptance_rate[row], atol=1e-5)
  # The same class and count, another seed: another image. Other temperatures and step sizes: too.
  assert np.abs(together.walk[1] - together.walk[3]).max() > 1e-3
  for temperature, step_size in ((2.0, 0.3), (1.0, 0.1)):
    other = draw(weights, _seeds(4), tf.constant(counts, tf.int32), temperature, step_size)
    assert np.abs(other.walk - together.walk).max() > 1e-3
  assert len(traces) == 1


def test_temperature_divides_the_density_and_its_score_and_leaves_the_rendering():
  """So that a denoising step of the colder density is that of its own noise."""
  drawer, rows, level = _drawer(COARSE), tf.constant([[0.3, -0.2], [1.0, 0.5]]), tf.fill([2], 0.4)

  def request(temperature):
    return drawing_lib.normalise(tf.eye(2), _seeds(2), 3, temperature, 0.3)

  found = {temperature: drawer.target(request(temperature))(rows, level) for temperature in (1.0, 0.5)}
  for whole, colder in zip(found[1.0][:2], found[0.5][:2]):
    np.testing.assert_allclose(colder, 2.0 * whole, rtol=1e-5)
  images = [drawer._render(request(temperature))(types.SimpleNamespace(noise_level=level, state=types.SimpleNamespace(
      position=rows, gradient=values[1]))) for temperature, values in found.items()]
  np.testing.assert_array_equal(*images)
  assert np.ptp(images[0]) > 20


def test_a_schedule_beyond_the_trained_levels_is_refused():
  for settings in ({"sigma_max": 11.0}, {"sigma_min": 0.1}):
    with pytest.raises(config_lib.ConfigError, match=r"trained range \[0.2, 10\]"):
      _drawer(COARSE.replace(**settings))
  assert _drawer(COARSE.replace(sigma_max=5.0, guidance=1.0)).guidance == 1.0


@pytest.mark.parametrize("corrector_steps, h_held", [(0, False), (1, True), (1, False)])
def test_drawing_on_from_images_keeps_to_them(corrector_steps, h_held):
  """A corrector moves some of them on to the density's other mode, not all; more where its h follows its acceptance.

  Of 2000 drawings, at whose rates here the standard error is .007: .884 stay with the corrector at a held h (that of
  many more), so that less than .85 would be 5 of these.
  """
  drawer = _drawer(_corrected(corrector_steps=corrector_steps), h_held=h_held)
  weights = tf.tile(tf.constant([[1.0, 0.0]]), [2000, 1])
  canvas_images = tf.constant(np.tile(np.uint8([20, 80]).reshape(1, *SHAPE), [2000, 1, 1, 1]))  # by the first mode
  drawn, fresh = (
      drawer.draw(drawing_lib.normalise(weights, _seeds(2000), 8, 1.0, 0.3, canvas)).walk.numpy().reshape(2000, 2)
      for canvas in (canvas_images, None))
  near = [np.mean(CLASSES.responsibilities(rows, COARSE.score.sigma_min)[:, 0]) for rows in (drawn, fresh)]
  assert near[0] > near[1] + 0.05 and 0.9 > near[1] + 0.05
  assert near[0] > (0.85 if corrector_steps else 0.9) or corrector_steps and not h_held
