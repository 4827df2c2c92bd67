"""Systems that only an experiment needs: STIC by other fakes, or by JEM's own objective."""

import tensorflow as tf

from stic_tf.networks import build
from stic_tf.systems import stic
from stic_tf.targets import energies


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

  def energy_of_logits(self, logits, class_weights):
    return tf.reduce_logsumexp(logits, axis=1)

  def energy(self, network):
    if network is self.average:
      return super().energy(network)

    def same_for_all(images):
      logits, features = build.logits_and_features(network, images)
      return tf.zeros_like(logits) + tf.reduce_logsumexp(logits, axis=1, keepdims=True), features

    return energies.ClassEnergy(same_for_all)
