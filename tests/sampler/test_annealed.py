"""Drawing down a schedule, with closed-form energies of Gaussian mixtures in place of a network."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.sampler import annealed
from stic_tf.sampler import gram
from stic_tf.sampler import level_preconditioner
from tests import statistical

SHAPE = (1, 2, 1)
COUNT = 6000
# Six levels from far outside the data to a little noise on it: coarse, so that the predictor errs.
COARSE = config_lib.ScoreConfig(sigma_min=0.2, sigma_max=10.0, rho=5.0)
LEVELS, CORRECTIONS = 6, 20


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
  preconditioner = level_preconditioner.build(name, SHAPE)
  images = CLASSES.sample(50000, 7).reshape(-1, *SHAPE)
  preconditioner.fit(gram.ImageStatistics.fit(images))
  return preconditioner


def _seeds(count, seed=0):
  return tf.constant(np.stack([np.full(count, seed), np.arange(count)], axis=1), tf.int64)


def _run(settings, class_weights=(1.0, 0.0), count=COUNT, num_steps=LEVELS, step_size=0.3, adjust=True,
         preconditioner="identity"):
  target = annealed.AnnealedTarget(CLASSES.energies, _preconditioner(preconditioner), settings, adjust)
  weights = tf.tile(tf.constant([class_weights], tf.float32), [count, 1])
  energy = annealed.guided_energy(CLASSES.energies, settings.guidance, settings.correction)
  run = tf.function(lambda: annealed.run(energy, target.preconditioner, weights, _seeds(count), num_steps, 1.0,
                                         step_size, settings, adjust), autograph=False)
  return run()


def _p_value(rows, label=None):
  """Of the hypothesis that rows are of the density at the last level: proportions, moments and marginals."""
  exact = CLASSES.sample(20 * COUNT, 99, label, COARSE.sigma_min)
  # Of one class, the proportions that matter are of its modes; of both, of the classes too.
  shares = [CLASSES.responsibilities(samples, COARSE.sigma_min)[:, :2] for samples in (rows, exact)]
  directions = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]).T
  projected = [samples @ directions for samples in (rows, exact)]
  p_values = [statistical.same_mean_p_value(*shares), statistical.same_mean_p_value(*projected),
              statistical.same_mean_p_value(*(np.square(samples) for samples in projected)),
              statistical.same_distribution_p_value(*projected)]
  return min(1.0, len(p_values) * min(p_values))


def _corrected(**settings):
  return dataclasses.replace(COARSE, corrector_steps=CORRECTIONS, **settings)


@pytest.mark.parametrize("preconditioner, predictor", [("identity", "heun"), ("gram", "heun"), ("identity", "none")])
def test_with_correction_modes_and_moments_are_right(preconditioner, predictor):
  """20,000 images at six levels. A proportion that is off by 0.02, or a mean by 0.04 standard deviations, is found."""
  assert statistical.z_power(0.04, COUNT, hypotheses=20) > 0.5 and statistical.z_power(0.05, COUNT, hypotheses=20) > 0.9
  settings = _corrected(predictor=predictor, **({"corrector_steps": 60} if 0 else {}))
  end = _run(settings, preconditioner=preconditioner)
  print(preconditioner, predictor, _p_value(end.rows.numpy(), 0), end.acceptance_rate.numpy().mean())
  r=CLASSES.responsibilities(end.rows.numpy(), .2).mean(0); e=CLASSES.responsibilities(CLASSES.sample(400000,99,0,.2), .2).mean(0); print(r,e)
  r=end.rows.numpy(); e=CLASSES.sample(400000,99,0,.2); print(r.mean(0)-e.mean(0), r.var(0)/e.var(0))
  statistical.assert_plausible(_p_value(end.rows.numpy(), 0))


def test_without_correction_they_are_not():
  end = _run(COARSE)
  print(_p_value(end.rows.numpy(), 0))
  r=CLASSES.responsibilities(end.rows.numpy(), .2).mean(0); e=CLASSES.responsibilities(CLASSES.sample(400000,99,0,.2), .2).mean(0); print(r,e)
  r=end.rows.numpy(); e=CLASSES.sample(400000,99,0,.2); print(r.mean(0)-e.mean(0), r.var(0)/e.var(0))
  statistical.assert_refused(_p_value(end.rows.numpy(), 0))


def test_an_unadjusted_corrector_is_found():
  end = _run(_corrected(), adjust=False)
  print(_p_value(end.rows.numpy(), 0))
  statistical.assert_refused(_p_value(end.rows.numpy(), 0))


def test_class_free_drawing_has_the_classes_in_their_proportions():
  end = _run(_corrected(guidance=-1.0))
  print(_p_value(end.rows.numpy()), CLASSES.responsibilities(end.rows.numpy(), .2).mean(0))
  statistical.assert_plausible(_p_value(end.rows.numpy()))
  statistical.assert_refused(_p_value(_run(dataclasses.replace(COARSE, guidance=-1.0)).rows.numpy()))
