"""The passes of Score-STIC: the same recurrence, with a noise-conditional network and fakes at all noise levels.

Each pass ends with fresh fakes from blank canvases, drawn by the averaged network. In the next pass they are noised as
the real images are, and a head of the network learns the log ratio of the real density to theirs, at every level.
"""

import keras
import numpy as np
import tensorflow as tf
from scipy import special

from stic_tf import config as config_lib
from stic_tf import replicas
from stic_tf.datasets import pixel_range
from stic_tf.models import build
from stic_tf.models import score as score_lib
from stic_tf.sampler import annealed as annealed_lib
from stic_tf.sampler import level_preconditioner
from stic_tf.self_analysis import recurrence as recurrence_lib
from stic_tf.self_analysis import score_learner

# Noise levels the answer is made from; the schedule's range cuts them.
ANSWER_LEVELS = tuple(np.geomspace(0.02, 0.6, score_lib.ANSWERS))
_DRAWN_AT_ONCE = 96
_ANSWERED_AT_ONCE = 256


def make_annealed(network: keras.Model, preconditioner: level_preconditioner.LevelPreconditioner,
                  sampler: config_lib.SamplerConfig, score: config_lib.ScoreConfig) -> annealed_lib.AnnealedTarget:
  """What a noise-conditional network draws from."""
  return annealed_lib.AnnealedTarget(lambda images, level: build.level_energies(network, images, level), preconditioner,
                                     score, adjust=sampler.sampler == "grmala")


class ScoreRecurrence(recurrence_lib.Recurrence):
  """Recurrence of a noise-conditional network. Arguments as there, and the ScoreConfig.

  `noise_level` is the one the network answers at, or the geometric mean of those whose answers it mixes, as validation
  images chose (`choose_answer`).
  """

  def __init__(self, model, sampler, recurrence, image_shape, num_classes, statistics, seed, strategy,
               score: config_lib.ScoreConfig):
    self.score = score
    super().__init__(model, sampler, recurrence, image_shape, num_classes, statistics, seed, strategy)
    mean, scale = statistics.mean.reshape(self.image_shape), float(np.sqrt(statistics.mean_variance))
    for network in (self.network, self.average):
      network.set_moments(mean, scale)
    self.preconditioner.fit(statistics)
    levels = np.clip(ANSWER_LEVELS, score.sigma_min, score.sigma_max)
    self.average.answer_levels.assign(levels)
    self._answer_with(np.full(len(levels), 1.0 / len(levels)))
    self.annealed = make_annealed(self.average, self.preconditioner, sampler, score)
    self._draw = replicas.compiled(strategy, self._draw_replica)
    self._answers = tf.function(lambda images, level: build.logits(self.average, pixel_range.from_uint8(images), level),
                                autograph=False)

  def _make_preconditioner(self):
    return level_preconditioner.build(self.sampler.preconditioner, self.image_shape)

  def _make_learner(self):
    config, score = self.recurrence, self.score
    learner = score_learner.ScoreLearner(self.network, self.average, config.fake_weight if config.fakes else 0.0,
                                         score.cross_entropy_weight, config.ema_decay)
    learner.compile(optimizer=keras.optimizers.Adam(config.learning_rate, beta_2=0.99, global_clipnorm=score.clip_norm,
                                                    jit_compile=False))
    return learner

  # --- a pass ---

  def _set_noise_level(self, noise_level):
    """All levels are trained in every pass."""

  @property
  def _generates(self):
    return True

  def _add_generative_streams(self, data, generation_stream, rng):
    """Turns the streams into noisy ones; fakes are there from the second pass on."""
    images, labels = (np.asarray(value) for value in next(generation_stream))
    mixup_images, mixup_labels = data["mixup_images"], data["mixup_labels"]
    data.clear()
    data.update(clean_images=images, clean_labels=np.eye(self.num_classes, dtype=np.float32)[labels],
                noise=rng.standard_normal(images.shape, np.float32), clean_levels=self._levels(len(images), rng))
    self._add_noisy(data, "mixup", mixup_images, rng)
    data["mixup_labels"] = mixup_labels
    if self.recurrence.fakes and self.passes_done:
      rows = rng.choice(len(self.chains), len(images), replace=len(self.chains) < len(images))
      weights = self.chains.classes[rows].dense(self.num_classes)
      fakes, data["fake_weights"] = self._with_past(self.chains.images[rows], weights, rng)
      self._add_noisy(data, "fake", fakes, rng)
    return {}

  def _levels(self, count, rng) -> np.ndarray:
    """Noise levels of a training batch: ln σ normal, within the schedule's range. float32 [count]."""
    levels = np.exp(self.score.noise_mean + self.score.noise_std * rng.standard_normal(count))
    return np.clip(levels, self.score.sigma_min, self.score.sigma_max).astype(np.float32)

  def _add_noisy(self, data, name, images, rng) -> None:
    levels = self._levels(len(images), rng)
    noise = rng.standard_normal(images.shape, np.float32)
    data.update({f"{name}_images": images + levels[:, np.newaxis, np.newaxis, np.newaxis] * noise,
                 f"{name}_levels": levels})

  def _end_chains(self) -> None:
    """Draws the pass's fakes, one a chain, from blank canvases."""
    count, strategy = len(self.chains), self.strategy
    seeds = self._chain_seeds(np.arange(count))
    acceptance = []
    at_once = _DRAWN_AT_ONCE * strategy.num_replicas_in_sync
    for start in range(0, count, at_once):
      rows = np.arange(start, start + at_once) % count
      drawn = replicas.join(strategy, self._draw(replicas.split(
          strategy, {"class_weights": self.chains.classes[rows].dense(self.num_classes), "seeds": seeds[rows]}),
                                                 tf.constant(self.step_size, tf.float32)))
      kept = min(at_once, count - start)
      self.chains.images[start:start + kept] = drawn["images"][:kept]
      acceptance.append(drawn["acceptance_rate"][:kept])
    self.network_evaluations += count * annealed_lib.network_evaluations(self.sampler.num_steps, self.score)
    if self.score.corrector_steps and self.sampler.sampler == "grmala":
      # Declared adaptation between passes; h is fixed within each drawing.
      self._adapt_step_size(float(np.concatenate(acceptance).mean()), 2.0)

  def _draw_replica(self, chains, step_size):
    """Fakes for the pool, without the correction that they are to teach."""
    drawing = self.annealed.without_correction().draw(chains["class_weights"], chains["seeds"],
                                                      self.sampler.num_steps, self.sampler.temperature, step_size)
    return {"images": pixel_range.from_uint8(drawing.images), "acceptance_rate": drawing.acceptance_rate}

  # --- the answer ---

  def choose_answer(self, images, labels):
    """Takes what classifies most validation images right, of one level and the mixture of all; of equals, the one of
    least cross-entropy."""
    levels = self.average.answer_levels.numpy()
    log_probabilities = np.stack([special.log_softmax(self._logits(images, level), axis=1) for level in levels])
    candidates = [*np.eye(len(levels)), np.full(len(levels), 1.0 / len(levels))]

    def merit(weights):
      mixed = special.logsumexp(log_probabilities, axis=0, b=weights[:, np.newaxis, np.newaxis])
      return np.mean(mixed.argmax(1) == labels), np.mean(mixed[np.arange(len(labels)), labels])

    self._answer_with(max(candidates, key=merit))

  def _answer_with(self, weights) -> None:
    self.average.answer_weights.assign(weights)
    self.noise_level.assign(np.exp(weights @ np.log(self.average.answer_levels.numpy())))

  def _logits(self, images, level) -> np.ndarray:
    parts = []
    for start in range(0, len(images), _ANSWERED_AT_ONCE):
      rows = np.arange(start, start + _ANSWERED_AT_ONCE) % len(images)
      parts.append(self._answers(images[rows], tf.constant(level, tf.float32)).numpy())
    return np.concatenate(parts)[:len(images)]
