"""How Score-STIC draws: down a schedule of noise levels, in whole-image steps, or in strokes at every level."""

from typing import Callable

import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import drawing as drawing_lib
from stic_tf import registries
from stic_tf import sparse_weights
from stic_tf.datasets import pixel_range
from stic_tf.diffusion import predictor_corrector
from stic_tf.diffusion import schedule as schedule_lib
from stic_tf.mcmc import random as random_lib
from stic_tf.mcmc import recording
from stic_tf.mcmc import windowed_mala
from stic_tf.systems import drawer
from stic_tf.targets import density
from stic_tf.targets import energies
from stic_tf.targets import gradient as gradient_lib

_REFINED_FROM = 0.5  # standard deviation, about that of the pixels themselves


def check(config: config_lib.RunConfig) -> None:
  """Refuses, by a ConfigError, what needs no network to be refused."""
  config_lib.require(config.strokes.drawing != "strokes" or config.score.corrector_steps > 0, "corrector_steps",
                     config.score.corrector_steps, "must be at least 1, the strokes at a level, with --drawing=strokes")


_ROUNDING = 1e-5


class Annealing(drawer.Drawer):
  """Draws down a schedule of noise levels; a step is a level.

  Args:
    system: a ScoreSTIC, whose averaged network draws.
    config: settings of the drawing.

  Raises:
    ConfigError: a schedule that leaves the noise levels at which the system was trained, or a correction without head.
  """

  def __init__(self, system, config: config_lib.RunConfig):
    trained, score = system.config.score, config.score
    for name in ("sigma_min", "sigma_max"):
      config_lib.require(trained.sigma_min <= getattr(score, name) <= trained.sigma_max, name, getattr(score, name),
                         f"must lie in the trained range [{trained.sigma_min:g}, {trained.sigma_max:g}]")
    config_lib.require(not score.correction or system.average.has_evidence, "correction", score.correction,
                       "must be 0 with a network without real/fake logits")
    self.system, self.config = system, config
    self.guidance = config.sampler.guidance
    least = min(2.0 * score.sigma_min, score.sigma_max)
    self.canvas_noise = (least, min(score.sigma_max, max(_REFINED_FROM, least)), score.sigma_max)
    self.has_accept_test = self.corrects = score.corrector_steps > 0
    self._solver = registries.SOLVERS.load(score.predictor)()
    self._kernel = registries.KERNELS.load(config.sampler.sampler)

  def network_evaluations(self, num_steps):
    return predictor_corrector.network_evaluations(num_steps, self._solver, self.config.score.corrector_steps)

  def energy(self, images, noise_level, class_weights, guidance=None):
    """f_w + γ (f_w - log Σ_k exp f_k) + c r_w: [B, H, W, C], σ [B], [B, K] -> [B].

    γ is --guidance: 0 draws from the density of the class, more from its more typical part (Dhariwal & Nichol 2021),
    and -1 from the class-free density; [B] instead of the drawer's own where given. It is 0 at noise levels outside
    --guidance_from and --guidance_to (Kynkäänniemi et al. 2024). c is --correction, within an interval likewise, and r
    the real/fake logits (Kim et al. 2023).
    """
    class_energies, evidence = self.system.average.level_energies(images, noise_level)
    return self._total(class_energies, evidence, noise_level, class_weights, guidance)

  def _total(self, class_energies, evidence, noise_level, class_weights, guidance):
    score = self.config.score
    guidance = self.guidance if guidance is None else guidance
    is_guided = isinstance(guidance, tf.Tensor) or bool(guidance)
    if is_guided:
      guidance = self._within(score.guidance_from, score.guidance_to, noise_level, guidance)
    total = energies.weighted_logit(class_energies, class_weights)
    if is_guided:
      total = energies.guided(total, tf.reduce_logsumexp(class_energies, axis=1), guidance)
    if score.correction:
      correction = self._within(score.correction_from, score.correction_to, noise_level, score.correction)
      total += correction * energies.weighted_logit(evidence, class_weights)
    return total

  def _within(self, first: float, last: float, noise_level, weight):
    """`weight` at noise levels [B] from `first` to `last`, 0 at others; itself where these are all of them."""
    if first <= self.config.score.sigma_min and last >= self.config.score.sigma_max:
      return weight
    # A schedule comes to a level within rounding, and at its ends nothing of the interval is left out.
    least = 0.0 if first <= self.config.score.sigma_min else first * (1.0 - _ROUNDING)
    most = float("inf") if last >= self.config.score.sigma_max else last * (1.0 + _ROUNDING)
    return tf.where(tf.logical_and(noise_level >= least, noise_level <= most), weight, 0.0)

  def draw(self, request):
    """From the blank canvas N(μ, M_σmax), or on from images, and rendered by one denoising step.

    A canvas of images is drawn on from where the schedule comes to `_REFINED_FROM` (SDEdit, Meng et al. 2022): enough
    noise to change the strokes, not enough to forget the image. Temperature is exact in the corrector; away from 1 the
    predictor is a heuristic.
    """
    return self.drawn(request)[0]

  def drawn(self, request: drawing_lib.Request):
    """(what is drawn, the state of the corrector's kernel at the last level)."""
    request = drawer.with_own_numbers(request)
    recorder = (recording.Recorder(self._render(request), request.num_frames, self.system.image_shape)
                if request.num_frames else None)
    end = self._run(request, recorder)
    images = self._render(request)(end)
    return drawing_lib.Drawing(images, tf.reshape(end.state.position, tf.shape(images)), end.state.log_density,
                               end.acceptance_rate, request.step_size, recording.batch_first(end.frames)), end.state

  def trace_levels(self, request, num_steps):
    return self._run(request, recording.Trace(num_steps, drawing_lib.LEVEL_FIGURES)).frames

  def target(self, request: drawing_lib.Request) -> predictor_corrector.Evaluate:
    """log π and its gradient: rows [B, D], σ [B] -> ([B], [B, D], …), as the corrector takes it."""
    def evaluate(rows, level):
      def energy_of(images):
        return self.energy(images, level, request.class_weights, request.guidance) / request.temperature, ()

      log_density, _, gradient = gradient_lib.energy_and_gradient(energy_of, self._images(rows))
      return log_density, tf.reshape(gradient, tf.shape(rows))

    return evaluate

  def corrector(self, request: drawing_lib.Request) -> Callable:
    """mala.Factor -> the kernel that corrects."""
    del request
    return lambda factor: self._kernel(None, self.system.preconditioner.size, factor=factor)

  def _images(self, rows):
    return tf.reshape(rows, [-1, *self.system.image_shape])

  def _render(self, request: drawing_lib.Request):
    """(a level, or the end) -> images uint8 [B, H, W, C]: one denoising step."""
    def render(level):
      variance = tf.square(level.noise_level) * request.temperature
      rows = gradient_lib.denoise(level.state.position, level.state.gradient, variance[:, tf.newaxis])
      return pixel_range.to_uint8(self._images(rows))

    return render

  def _run(self, request: drawing_lib.Request, recorder) -> predictor_corrector.Annealed:
    score, preconditioner = self.config.score, self.system.preconditioner
    size = preconditioner.size
    sigma_max = score.sigma_max
    if request.canvas is not None:
      sigma_max = self.canvas_noise[1] if request.canvas_noise is None else request.canvas_noise

    noise = random_lib.normals(request.seeds, random_lib.CANVAS_STREAM, size)
    if request.canvas is None:
      rows = preconditioner.mean + preconditioner.color(noise, tf.fill([tf.shape(noise)[0]], sigma_max))
    else:
      rows = (tf.reshape(pixel_range.from_uint8(request.canvas), [-1, size])
              + tf.reshape(sigma_max, [-1, 1]) * noise)
    corrector = predictor_corrector.Corrector(
        self.corrector(request), preconditioner.color, score.corrector_steps, request.step_size,
        self.config.sampler.target_acceptance if self.system.is_exact(self.config) else None)
    return predictor_corrector.run(self.target(request), rows, request.seeds, request.num_steps,
                                   schedule_lib.Schedule(score.sigma_min, sigma_max, score.rho), self._solver,
                                   corrector, recorder)


class AnnealedStrokes(Annealing):
  """The same with strokes as corrector: at every noise level tile by tile, where the class's attention looks there.

  A stroke is exact at its level (mcmc/windowed_mala.py), and the predictor, if any, moves the whole canvas between two.

  Args:
    system, config: as for Annealing.

  Raises:
    ConfigError: as there, or a network without class queries over tiles of the canvas, or a correction.
  """

  def __init__(self, system, config):
    super().__init__(system, config)
    check(config)
    config_lib.require(system.average.tile_grid > 0, "drawing", config.strokes.drawing,
                       "must be whole with a network that does not attend over tiles")
    config_lib.require(not config.score.correction, "correction", config.score.correction, "must be 0 with strokes")
    self.tile_grid = system.average.tile_grid
    config_lib.require(system.image_shape[0] % self.tile_grid == 0, "network", system.average.trunk.name,
                       f"must attend over a grid that divides the canvas of {system.image_shape[0]} pixels")

  def target(self, request):
    # Where the ten largest of a soft class look: any choice will do for exactness, as its probability is in the ratio.
    sparse = sparse_weights.of_dense(request.class_weights)

    def evaluate(rows, level):
      def energy_of(images):
        class_energies, attention = self.system.average.energies_and_attention(images, level, sparse)
        total = self._total(class_energies, None, level, request.class_weights, request.guidance)
        return total / request.temperature, attention

      log_density, attention, gradient = gradient_lib.energy_and_gradient(energy_of, self._images(rows))
      return log_density, tf.reshape(gradient, tf.shape(rows)), density.log_choice_of(attention)

    return evaluate

  def corrector(self, request):
    windows = tf.constant(windowed_mala.tile_windows(self.system.image_shape, self.tile_grid))
    uniforms = windowed_mala.tile_uniforms(request.seeds,
                                           self.config.score.corrector_steps * tf.reduce_max(request.num_steps))
    return lambda factor: windowed_mala.WindowedMala(None, self.system.preconditioner.size, factor, windows, uniforms,
                                                     self.config.strokes.sweep_every)

  def draw(self, request):
    drawing, state = self.drawn(request)
    return drawing._replace(strokes=state.strokes, attention=tf.exp(state.log_choice))
