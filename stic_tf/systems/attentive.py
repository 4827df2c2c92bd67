"""Attentive-STIC: draws stroke by stroke, each in one tile of the canvas, where the class's attention looks."""

import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import sparse_weights
from stic_tf.datasets import pixel_range
from stic_tf.mcmc import mala
from stic_tf.mcmc import windowed_mala
from stic_tf.networks import class_queries
from stic_tf.systems import stic
from stic_tf.targets import energies
from stic_tf.training import fakes


class AttentiveSTIC(stic.STIC):
  """A STIC whose network attends over a grid of tiles; thousands of classes.

  Args:
    network: a classifier with class queries, or one that ends in a square grid of features [B, T, T, C], a position a
      tile, to which queries are added.
    num_classes and others: as for System.
  """

  kind = "attentive"

  def prepare(self, network):
    return class_queries.with_queries(network, self.num_classes, self.seed)

  def energy(self, network):
    # Chains are of two classes at most; a drawing may be asked for of more.
    most = fakes.MOST_CLASSES if network is not self.average else sparse_weights.MOST_CLASSES
    return energies.AttentiveEnergy(class_queries.ClassReader(network).energy_and_attention, self.class_grams,
                                    self.config.walk.gram_weight, most)

  def drawer(self, config):
    in_strokes = self.is_exact(config) and config.strokes.drawing != "whole"
    drawer = Strokes(self, config) if in_strokes else stic.WholeImages(self, config)
    drawer.most_classes = sparse_weights.MOST_CLASSES
    return drawer

  @property
  def tile_grid(self) -> int:
    """Tiles a side."""
    return class_queries.tile_grid(self.average)


class Strokes(stic.WholeImages):
  """Draws tile by tile; a step is a stroke."""

  def __init__(self, system: AttentiveSTIC, config: config_lib.RunConfig):
    super().__init__(system, config)
    self.tile_grid = system.tile_grid

  def chain(self, request):
    target, preconditioner = self.target, self.target.preconditioner
    windows = tf.constant(windowed_mala.tile_windows(target.image_shape, self.tile_grid))
    kernel = windowed_mala.WindowedMala(
        target.pixels(request.class_weights, request.temperature, self.guidance_of(request)), preconditioner.size,
        mala.Factor(preconditioner.color, preconditioner.color_transpose), windows,
        windowed_mala.tile_uniforms(request.seeds, tf.reduce_max(request.num_steps)), self.config.strokes.sweep_every)
    noise_level = tf.convert_to_tensor(self.system.noise_level)

    def render(state):
      # A stroke's gradient is in pixels already.
      return pixel_range.to_uint8(target.jump_of_pixels(state.position, state.gradient, noise_level,
                                                        request.temperature))

    return kernel, preconditioner.to_rows(self.start(kernel, request)), render

  def walk(self, position):
    return tf.reshape(position, [-1, *self.target.image_shape])  # a stroke's position is in pixels too

  def drawing(self, result, render):
    state = result.state
    return super().drawing(result, render)._replace(strokes=state.strokes, attention=tf.exp(state.log_choice))
