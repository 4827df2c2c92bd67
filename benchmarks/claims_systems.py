"""Systems that only an experiment needs: STIC whose fakes are those of pass 0, or draws from the blank canvas."""

import tensorflow as tf

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
    target = self.targets["network"]
    canvases = target.blank(self._kernel(None, self.preconditioner.size).blank(self._chain_seeds(mine)))
    return target.to_images(canvases), tf.constant(self.config.sampler.target_acceptance)
