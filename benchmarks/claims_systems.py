"""Systems that only an experiment needs: STIC whose fakes are those of pass 0, or draws from the blank canvas."""

import tensorflow as tf

from stic_tf import registries
from stic_tf.systems import stic


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
    temperature = tf.fill([tf.shape(mine)[0]], tf.constant(self.config.sampler.temperature, tf.float32))
    target = self.targets["network"]
    kernel = registries.KERNELS.load(self.config.sampler.sampler)(
        target.whitened(class_weights, temperature), self.preconditioner.size)
    return target.to_images(kernel.blank(self._chain_seeds(mine))), tf.constant(self.config.sampler.target_acceptance)
