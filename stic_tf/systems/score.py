"""Score-STIC: one network conditioned on a noise level, whose logits are class energies.

Each pass ends with fresh fakes from blank canvases, drawn by the averaged network. In the next pass they are noised as
the real images are, and a head of the network, where it has one, learns the log ratio of the real density to theirs:
beside the rest of the network, or in last passes alone, so that it knows the drawings that it is to correct.
"""

from typing import Optional

import numpy as np
import tensorflow as tf
from scipy import special

from stic_tf import config as config_lib
from stic_tf.datasets import pixel_range
from stic_tf.networks import precond
from stic_tf.preconditioners import build as preconditioners
from stic_tf.systems import annealing
from stic_tf.systems import base
from stic_tf.targets import energies
from stic_tf.targets import gradient as gradient_lib
from stic_tf.training import losses
from stic_tf.training import randomness as randomness_lib

# Noise levels the answer is made from; the schedule's range cuts them.
_ANSWER_LEVELS = tuple(np.geomspace(0.02, 0.6, precond.ANSWERS))
_ANSWERED_AT_ONCE = 256
# Adam is blind to it, and so is the common clipping of gradients to the head's then.
_HEADS_SHARE = 1e-3


class ScoreSTIC(base.System):
  """A System whose network knows the noise level.

  Args:
    network: any trunk, as networks.precond.EnergyPrecond takes one, or such an energy.
    num_classes and others: as for System.

  `noise_level` is the one the network answers at, or the geometric mean of those whose answers it mixes, as validation
  images chose (`choose_answer`).
  """

  kind = "score"
  conditioned = True
  fake_sources = ("previous_pass", "none")
  jits_updates = True

  def __init__(self, network, num_classes, *args, **kwargs):
    super().__init__(network, num_classes, *args, **kwargs)
    score = self.config.score
    self.drawer(self.config)  # refuses what does not go with the network
    config_lib.require(not score.head_passes or self.network.has_evidence, "head_passes", score.head_passes,
                       "must be 0 with a network without real/fake logits")
    levels = np.clip(_ANSWER_LEVELS, score.sigma_min, score.sigma_max)
    self.average.answer_levels.assign(levels)
    self._answer_with(np.full(len(levels), 1.0 / len(levels)))
    self._answers = tf.function(self._answers_at, autograph=False)
    self._head_alone = False  # within a pass

  @classmethod
  def check(cls, config, num_classes):
    super().check(config, num_classes)
    annealing.check(config)
    head_passes, training = config.score.head_passes, config.training
    config_lib.require(head_passes < training.num_passes, "head_passes", head_passes,
                       f"must be below --num_passes={training.num_passes}")
    config_lib.require(not head_passes or training.fakes, "head_passes", head_passes,
                       "needs fakes to learn from, --fakes_from=previous_pass")
    config_lib.require(not head_passes or training.fake_weight > 0, "fake_weight", training.fake_weight,
                       "must be above 0 with --head_passes")

  def prepare(self, network):
    if isinstance(network, precond.EnergyPrecond):
      config_lib.require(network.gaussian_name == self.config.score.gaussian, "gaussian", self.config.score.gaussian,
                         f"must be {network.gaussian_name}, which the network has")
      return network
    return precond.EnergyPrecond(network, self.image_shape, self.num_classes, self.config.score.gaussian)

  def make_preconditioner(self):
    return preconditioners.build(self.config.sampler.preconditioner, self.image_shape, levels=True)

  def on_statistics(self):
    self.preconditioner.fit(self.statistics)
    for network in (self.network, self.average):
      network.fit_moments(self.statistics)

  def logits(self, images):
    return self.average.answer(images, self.config.score.mirrored_answer)

  def log_density(self, images, class_weights, temperature):
    logits = self.logits(images) / temperature[:, tf.newaxis]
    return (tf.reduce_logsumexp(logits, axis=1) if class_weights is None
            else energies.weighted_logit(logits, class_weights))

  def drawer(self, config):
    if config.strokes.drawing == "strokes":
      return annealing.AnnealedStrokes(self, config)
    config_lib.require(self.average.tile_grid > 0 or config.strokes == config_lib.StrokesConfig(config.strokes.drawing),
                       "sweep_every", config.strokes.sweep_every, "is of strokes, which need a network that attends")
    return annealing.Annealing(self, config)

  def fake_drawer(self):
    # Without the correction that they are to teach, in whole-image steps; guided, as what it corrects will be.
    return self.drawer(self.config.replace(correction=0.0, drawing="whole"))

  # --- training ---

  def make_optimizer(self):
    return super().make_optimizer(global_clipnorm=self.config.score.clip_norm)

  def logged(self):
    return ["loss_denoising", "loss_classification", "loss_mixup"] + ["loss_generative"] * self._learns_evidence

  @property
  def _learns_evidence(self) -> bool:
    training = self.config.training
    return bool(training.fakes and training.fake_weight and self.network.has_evidence)

  @property
  def _reads_fakes(self) -> bool:
    """Whether the updates of this pass read fakes."""
    return self._learns_evidence and (self._head_alone or not self.config.score.head_passes)

  def _is_of_the_head(self, number: int) -> bool:
    left = max(self.num_passes - number, 1)  # a pass beyond those that were announced is a last one too
    return left <= self.config.score.head_passes

  def on_pass(self, number):
    alone = self._is_of_the_head(number)
    if alone and not self._is_of_the_head(number - 1) and not int(self.pass_updates.numpy()):
      for mean, value in self.averaged():
        value.assign(mean)  # which draws
    if alone != self._head_alone:
      self._head_alone = alone
      self.make_train_function(force=True)

  def keep_fakes(self, number):
    # Without a head nobody reads them. Those of a network that is still to move would teach it nothing of the one that
    # stands.
    if self._learns_evidence and (not self.config.score.head_passes or self._is_of_the_head(number + 1)):
      super().keep_fakes(number)

  @property
  def updates_averaged(self):
    return self.pass_updates if self._head_alone else self.updates_done

  def make_fakes(self, streams, randomness):
    """Fakes of the last pass and some of past ones, noisy; chains do not move within a pass."""
    training = self.config.training
    if not self._reads_fakes:
      return {}, None, {}
    rows = randomness.rows(randomness_lib.ROWS, training.batch_size, training.chains)
    mine = randomness_lib.replica_rows(rows)
    images, weights = tf.gather(self.chains.images, mine), self.chains.class_weights(mine, self.num_classes)
    if not self._head_alone:
      images, weights, _ = self.with_past(images, weights, randomness)
    noisy, levels = self._noisy(images, randomness, randomness_lib.FAKE_LEVELS, randomness_lib.FAKE_NOISE)
    return {"fake_images": noisy, "fake_levels": levels, "fake_weights": weights}, None, {}

  def _noisy(self, images, randomness, level_use: int, noise_use: int, noise_mean: Optional[float] = None):
    """(images + σ·noise, σ [B]) of one replica's images: ln σ normal, within the schedule's range."""
    score, count = self.config.score, tf.shape(images)[0] * self.num_replicas
    noise_mean = score.noise_mean if noise_mean is None else noise_mean
    levels = tf.exp(noise_mean + score.noise_std * randomness.normal(level_use, [count]))
    levels = randomness_lib.replica_rows(tf.clip_by_value(levels, score.sigma_min, score.sigma_max))
    noise = randomness_lib.replica_rows(randomness.normal(noise_use, tf.concat([[count], self.image_shape], 0)))
    return images + levels[:, tf.newaxis, tf.newaxis, tf.newaxis] * noise, levels

  def learn(self, streams, randomness):
    """Denoising and cross-entropy on real images, cross-entropy on mixtures, and real against fake.

    The gradient goes through the input gradient that denoises. energy_bound is the largest |g| of the denoising stream,
    which is of one size at all levels; f's Gaussian part grows with the canvas.
    """
    if self._head_alone:
      return self._learn_head(streams, randomness)
    clean, labels = streams["generative_images"], streams["generative_labels"]
    logs = dict.fromkeys(self.logged(), tf.constant(0.0))
    noisy, levels = self._noisy(clean, randomness, randomness_lib.LEVELS, randomness_lib.NOISE)
    variance = tf.square(levels)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    with tf.GradientTape(persistent=True) as tape:

      def energy_of(images):
        energies_of_classes, evidence = self.network.level_energies(images, levels)
        return energies.weighted_logit(energies_of_classes, labels), (energies_of_classes, evidence)

      _, (class_energies, evidence), score = gradient_lib.energy_and_gradient(energy_of, noisy)
      denoised = gradient_lib.denoise(noisy, score, variance)
      logs["loss_denoising"] = losses.denoising(denoised, clean, self.network.gaussian.denoising_error(levels))
      logs["loss_classification"] = losses.soft_cross_entropy(labels, class_energies)
      if self.config.score.mixup_weight:
        logs["loss_mixup"] = self._of_mixtures(streams, randomness)
      loss = (logs["loss_denoising"] + self.config.score.cross_entropy_weight * logs["loss_classification"]
              + self.config.score.mixup_weight * logs["loss_mixup"]) * self.replica_share
      if self._reads_fakes:
        fake_energies, logs["loss_generative"], head_loss = self._real_against_fakes(evidence, labels, streams)
        of_fakes = self.loss_of_fakes((noisy, levels, labels, class_energies), (
            streams["fake_images"], streams["fake_levels"], streams["fake_weights"], fake_energies))
        if of_fakes is not None:
          loss += tf.where(self.passes_done > 0, of_fakes, 0.0) * self.replica_share
    # The head is a reading of features that denoise: let into them, its loss costs more FID than its ratio gains.
    head = self.network.evidence_variables
    apart = {variable.ref() for variable in head}
    body = [variable for variable in self.network.trainable_variables if variable.ref() not in apart]
    gradients = tape.gradient(loss, body, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    gradients += tape.gradient(head_loss, head) if self._reads_fakes else [tf.zeros_like(value) for value in head]
    self.apply_gradients(gradients, body + head)
    logs[base.LARGEST] = tf.reduce_max(tf.abs(self.learnt(noisy, levels, class_energies)))
    return logs

  def _of_mixtures(self, streams, randomness):
    """Cross-entropy of mixup images, in noise of their own."""
    images, levels = self._noisy(streams["mixup_images"], randomness, randomness_lib.MIXUP_LEVELS,
                                 randomness_lib.MIXUP_NOISE, self.config.score.mixup_noise_mean)
    return losses.soft_cross_entropy(streams["mixup_labels"], self.network.level_logits(images, levels))

  def _real_against_fakes(self, evidence, labels, streams):
    """(class energies of the fakes, the logistic loss of real images against them, the head's loss)."""
    fake_energies, fake_evidence = self.network.level_energies(streams["fake_images"], streams["fake_levels"])
    generative = losses.logistic(energies.weighted_logit(evidence, labels),
                                 energies.weighted_logit(fake_evidence, streams["fake_weights"]), 0.0)
    generative = tf.where(self.passes_done > 0, generative, 0.0)  # there are no fakes before the second pass
    return fake_energies, generative, _HEADS_SHARE * self.config.training.fake_weight * generative * self.replica_share

  def _learn_head(self, streams, randomness):
    """An update of the head, which reads the features of a network that stands still."""
    noisy, levels = self._noisy(streams["generative_images"], randomness, randomness_lib.LEVELS, randomness_lib.NOISE)
    head = self.network.evidence_variables
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(head)
      class_energies, evidence = self.network.level_energies(noisy, levels)
      _, generative, loss = self._real_against_fakes(evidence, streams["generative_labels"], streams)
    self.apply_gradients(tape.gradient(loss, head), head)
    return {**dict.fromkeys(self.logged(), tf.constant(0.0)), "loss_generative": generative,
            base.LARGEST: tf.reduce_max(tf.abs(self.learnt(noisy, levels, class_energies)))}

  def learnt(self, images, levels, class_energies):
    """(f - log density of the Gaussian) over its gain: of one size at all levels, small before training. [B, K]."""
    beyond = class_energies - self.network.in_common(images, levels)[:, tf.newaxis]
    return beyond / self.network.gaussian.gain(levels)[:, tf.newaxis]

  def loss_of_fakes(self, real, fake):
    """What fakes teach the energies themselves: nothing, None.

    Args:
      real, fake: (noisy images [B, H, W, C], σ [B], class weights [B, K], class energies [B, K]).
    """

  # --- the answer ---

  def choose_answer(self, images, labels):
    """Takes what classifies most validation images right, of one level and the mixture of all; of equals, the one of
    least cross-entropy."""
    levels = self.average.answer_levels.numpy()
    log_probabilities = np.stack([self._log_probabilities_at(images, level) for level in levels])
    candidates = [*np.eye(len(levels)), np.full(len(levels), 1.0 / len(levels))]

    def merit(weights):
      mixed = special.logsumexp(log_probabilities, axis=0, b=weights[:, np.newaxis, np.newaxis])
      return np.mean(mixed.argmax(1) == labels), np.mean(mixed[np.arange(len(labels)), labels])

    self._answer_with(max(candidates, key=merit))

  def _answer_with(self, weights) -> None:
    self.average.answer_weights.assign(weights)
    self.noise_level.assign(np.exp(weights @ np.log(self.average.answer_levels.numpy())))

  def _answers_at(self, images, level):
    """Log probabilities of uint8 images at one σ."""
    images = pixel_range.from_uint8(images)
    mirrored = self.config.score.mirrored_answer
    return tf.nn.log_softmax(self.average.mixture(images, level[tf.newaxis], tf.ones([1]), mirrored))

  def _log_probabilities_at(self, images, level) -> np.ndarray:
    parts = []
    for start in range(0, len(images), _ANSWERED_AT_ONCE):
      rows = np.arange(start, start + _ANSWERED_AT_ONCE) % len(images)
      parts.append(self._answers(images[rows], tf.constant(level, tf.float32)).numpy())
    return np.concatenate(parts)[:len(images)]
