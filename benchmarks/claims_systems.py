"""Systems that only an experiment needs: STIC by other fakes or JEM's own objective, Score-STIC by other lessons."""

import dataclasses

import tensorflow as tf

from stic_tf import registries
from stic_tf.config import require
from stic_tf.networks import build
from stic_tf.systems import score
from stic_tf.systems import stic
from stic_tf.targets import energies
from stic_tf.training import losses


def register_systems() -> None:
  """Makes the systems that only experiments have known by name."""
  for base, names in (("stic", ("canvas_fakes", "frozen_fakes", "log_sum_exp")),
                      ("score", ("negatives", "class_of_fakes"))):
    for name in names:
      target = f"{__name__}:{name.title().replace('_', '')}"
      registries.SYSTEMS[name] = dataclasses.replace(registries.SYSTEMS[base], target=target)


class FrozenFakes(stic.STIC):
  """Learns in every pass from the drawings that the classifier of pass 0 made after it."""

  kind = "frozen_fakes"

  def keep_fakes(self, number):
    if not number:
      super().keep_fakes(number)


class CanvasFakes(stic.STIC):
  """Learns from draws of the reference measure q0, which no network has moved."""

  kind = "canvas_fakes"

  def keep_fakes(self, number):
    """Nothing: rendered, they would have been moved by the network."""

  def _move(self, rows, mine, class_weights, randomness):
    target = self.targets["network"]
    canvases = target.blank(self._kernel(None, self.preconditioner.size).blank(self._chain_seeds(mine)))
    return target.to_images(canvases), tf.constant(self.config.sampler.target_acceptance)


class LogSumExp(stic.STIC):
  """Learns p(x) ∝ Σ_k exp f_k(x) by chains in it, whatever class they are of, and draws a class y from exp f_y.

  The objective of JEM (Grathwohl et al. 2020, arXiv 1912.03263, eq. 7), where STIC learns the density of each class.
  """

  kind = "log_sum_exp"

  @classmethod
  def check(cls, config, num_classes):
    super().check(config, num_classes)
    for name in ("gram_weight", "denoising_weight"):
      require(not getattr(config.walk, name), name, getattr(config.walk, name), "is not of this objective")

  def energy_of_logits(self, logits, class_weights):
    return tf.reduce_logsumexp(logits, axis=1)

  def energy(self, network):
    if network is self.average:
      return super().energy(network)

    def same_for_all(images):
      logits, features = build.logits_and_features(network, images)
      return tf.zeros_like(logits) + tf.reduce_logsumexp(logits, axis=1, keepdims=True), features

    return energies.ClassEnergy(same_for_all)


class Negatives(score.ScoreSTIC):
  """Fakes are negatives of an energy where there is little noise: logistic loss of E_w at σ up to .3, weight .05."""

  kind = "negatives"

  def loss_of_fakes(self, real, fake):
    loss = 0.0
    for sign, (images, levels, weights, class_energies) in ((-1.0, real), (1.0, fake)):
      energy = energies.weighted_logit(self.learnt(images, levels, class_energies), weights)
      loss += tf.reduce_mean(tf.where(levels <= 0.3, tf.nn.softplus(sign * energy), 0.0))
    return 0.05 * loss


class ClassOfFakes(score.ScoreSTIC):
  """Fakes are class K + 1, whose E is 0: cross-entropy of all K + 1 at every level, weight .05."""

  kind = "class_of_fakes"

  def loss_of_fakes(self, real, fake):
    loss = 0.0
    for is_fake, (images, levels, weights, class_energies) in ((0.0, real), (1.0, fake)):
      logits = tf.pad(self.learnt(images, levels, class_energies), [[0, 0], [0, 1]])
      labels = tf.concat([(1.0 - is_fake) * weights, tf.fill([tf.shape(weights)[0], 1], is_fake)], axis=1)
      loss += losses.soft_cross_entropy(labels, logits)
    return 0.05 * loss
