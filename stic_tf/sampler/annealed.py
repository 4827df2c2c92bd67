"""Drawing from noise-conditional energies: down a schedule of noise levels by Heun steps, GRMALA at every level.

The Heun step (Karras et al. 2022, algorithm 1 without churn) carries a sample from one noise level to the next, with an
error of the step. GRMALA then moves it by steps that leave the density of that level exactly as it is, which a score
alone could not do: an accept test needs the energy. Everything is one `tf.while_loop`.
"""

import dataclasses
from typing import Callable, NamedTuple, Optional, Tuple

import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.datasets import pixel_range
from stic_tf.sampler import canvas
from stic_tf.sampler import langevin
from stic_tf.sampler import level_preconditioner
from stic_tf.sampler import metropolis
from stic_tf.sampler import random as random_lib

# images [B, H, W, C], noise levels [B], class weights [B, K] -> energy f_w(x, σ) [B]
LevelEnergy = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
# images [B, H, W, C], noise levels [B] -> (class energies [B, K], real/fake logits [B, K])
ClassEnergies = Callable[[tf.Tensor, tf.Tensor], Tuple[tf.Tensor, tf.Tensor]]

_REFINED_FROM = 0.5  # standard deviation, about that of the pixels themselves


class Annealed(NamedTuple):
  """Where B images stand at the last level of their schedules.

  Attributes:
    rows: float32 [B, D], not denoised, not clipped.
    log_density: float32 [B], log π_w at that level up to a constant of the class weights.
    score: float32 [B, D], its gradient.
    noise_level: float32 [B], that level.
    acceptance_rate: float32 [B], of the corrector over all levels; 1 where it has no steps.
  """

  rows: tf.Tensor
  log_density: tf.Tensor
  score: tf.Tensor
  noise_level: tf.Tensor
  acceptance_rate: tf.Tensor


def guided_energy(energies: ClassEnergies, guidance: float = 0.0, correction: float = 0.0) -> LevelEnergy:
  """f_w + γ (f_w - log Σ_k exp f_k) + c r_w, as a function of images, noise levels and class weights.

  Args:
    energies: class energies f and real/fake logits r = log p_data / p_model, [B, K] each.
    guidance: γ at least -1. 0 draws from the density of the class, more from its more typical part (Dhariwal & Nichol
      2021), and -1 from the class-free density log Σ_k exp f_k.
    correction: c, 0 to leave out the density ratio.
  """

  def energy(images, noise_level, class_weights):
    class_energies, evidence = energies(images, noise_level)
    total = (1.0 + guidance) * tf.reduce_sum(class_energies * class_weights, axis=1)
    if guidance:
      total -= guidance * tf.reduce_logsumexp(class_energies, axis=1)
    if correction:
      total += correction * tf.reduce_sum(evidence * class_weights, axis=1)
    return total

  return energy


def noise_level_at(step: tf.Tensor, num_steps: tf.Tensor, settings: config_lib.ScoreConfig) -> tf.Tensor:
  """EDM's schedule σ_i = (σ_max^(1/ρ) + i/(N-1) (σ_min^(1/ρ) - σ_max^(1/ρ)))^ρ, and σ_min beyond its end.

  Args:
    step: i, int32 scalar.
    num_steps: N of each image, int32 [B].

  Returns:
    float32 [B].
  """
  first, last = settings.sigma_max ** (1.0 / settings.rho), settings.sigma_min ** (1.0 / settings.rho)
  share = tf.cast(step, tf.float32) / tf.maximum(tf.cast(num_steps - 1, tf.float32), 1.0)
  return tf.pow(first + tf.minimum(share, 1.0) * (last - first), settings.rho)


def network_evaluations(num_steps: int, settings: config_lib.ScoreConfig) -> int:
  """Forward and backward passes of the network that a drawing of `num_steps` noise levels takes."""
  between = num_steps - 1 if settings.predictor == "heun" else 0
  return num_steps * (1 + settings.corrector_steps) + between


def run(energy: LevelEnergy, preconditioner: level_preconditioner.LevelPreconditioner, class_weights: tf.Tensor,
        seeds: tf.Tensor, num_steps: tf.Tensor, temperature: tf.Tensor, step_size: tf.Tensor,
        settings: config_lib.ScoreConfig, adjust: bool = True, start: Optional[tf.Tensor] = None) -> Annealed:
  """Takes B images from the blank canvas N(μ, M_σmax), or from `start` + σ_max·noise, down their schedules.

  At its level the corrector is plain GRMALA with fixed h, so a sample of π_w(·, σ) stays one. What is approximate is
  the canvas at σ_max and the way from level to level.

  Args:
    energy: f_w(x, σ).
    preconditioner: M_σ of the corrector and of the canvas.
    class_weights: float32 [B, K] on the simplex.
    seeds: int64 [B, 2]; an image depends on its own pair, weights and settings alone.
    num_steps: noise levels, int32 [B] or scalar; an image that has done its own stays where it is.
    temperature: T, float32 [B] or scalar: π_w = exp(f_w / T) at every level. Exact in the corrector; away from 1 the
      predictor is a heuristic.
    step_size: h of the corrector in coordinates whitened by M_σ, float32 [B] or scalar.
    settings: schedule, predictor and corrector.
    adjust: False leaves out the accept test (ablation).
    start: float32 [B, H, W, C], to draw on from images; None for a blank canvas.

  Returns:
    An Annealed.
  """
  size, image_shape = preconditioner.size, preconditioner.image_shape
  batch = tf.shape(seeds)[0]
  num_steps = tf.broadcast_to(tf.cast(num_steps, tf.int32), [batch])
  temperature = tf.broadcast_to(tf.cast(temperature, tf.float32), [batch])
  step_size = tf.broadcast_to(tf.cast(step_size, tf.float32), [batch])
  keys = random_lib.image_keys(seeds, random_lib.CHAIN_STREAM)
  # What is done at a level, one network evaluation each: Heun's second slope, on the way to it (not to the first); log
  # density and score on arrival; then the corrector's proposals. In one flat loop, so that the graph holds the network
  # once, and as a loop within the loop meets a fault of Grappler (a TemporaryVariable that is there already).
  has_middle, corrections = int(settings.predictor == "heun"), settings.corrector_steps
  kinds = ["middle"] * has_middle + ["arrival"] + ["proposal"] * (corrections > 0)
  evaluations = has_middle + 1 + corrections

  def log_density_and_score(rows, level):
    images = tf.reshape(rows, [-1, *image_shape])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(images)
      log_density = energy(images, level, class_weights) / temperature
    return log_density, tf.reshape(tape.gradient(log_density, images), [-1, size])

  def body(number, rows, log_density, score, accepted):
    place, phase = number // evaluations, number % evaluations
    kind = tf.minimum(phase, len(kinds) - 1)
    before, level = (noise_level_at(tf.maximum(i, 0), num_steps, settings)[:, tf.newaxis] for i in (place - 1, place))
    slope = -before * score  # dx/dσ at the level before
    nothing = tf.zeros_like(rows), tf.zeros_like(log_density)

    def draw_proposal():
      numbers = tf.reshape(place * corrections + phase - has_middle - 1, [1])
      (noise,), (log_uniform,) = map(tf.unstack, random_lib.normals_and_log_uniforms(keys, numbers, size))
      move = langevin.propose(tf.zeros_like(rows), color(score), noise, step_size)
      return rows + color(move), noise, log_uniform

    def color(values):
      return preconditioner.color(values, level[:, 0])

    points = {"middle": lambda: (rows + (level - before) * slope, *nothing), "arrival": lambda: (rows, *nothing),
              "proposal": draw_proposal}
    point, noise, log_uniform = tf.switch_case(kind, [points[name] for name in kinds])
    new_log_density, new_score = log_density_and_score(point, level[:, 0])

    def finish_step():
      return rows + (level - before) * 0.5 * (slope - level * new_score), log_density, score, nothing[1]

    def accept_or_reject():
      log_ratio = (new_log_density - log_density
                   + langevin.log_proposal_ratio(noise, color(score), color(new_score), step_size))
      taken = metropolis.accept(log_ratio, log_uniform) if adjust else tf.math.is_finite(log_ratio)
      state = (metropolis.choose(taken, new, old) for new, old in zip(
          (point, new_log_density, new_score), (rows, log_density, score)))
      return (*state, metropolis.acceptance_probability(log_ratio))

    outcomes = {"middle": finish_step, "arrival": lambda: (rows, new_log_density, new_score, nothing[1]),
                "proposal": accept_or_reject}
    *state, probability = tf.switch_case(kind, [outcomes[name] for name in kinds])
    running = place < num_steps
    return (number + 1, *(metropolis.choose(running, new, old) for new, old in zip(state, (rows, log_density, score))),
            accepted + tf.where(running, probability, 0.0))

  noise = random_lib.normals(seeds, random_lib.CANVAS_STREAM, size)
  if start is None:
    canvas_rows = preconditioner.mean + preconditioner.color(noise, tf.fill([batch], settings.sigma_max))
  else:
    canvas_rows = tf.reshape(start, [-1, size]) + settings.sigma_max * noise
  zeros, many, row_shape = tf.zeros([batch]), tf.TensorShape([None]), tf.TensorShape([None, size])
  _, rows, log_density, score, accepted = tf.while_loop(
      lambda number, *_: number < evaluations * tf.reduce_max(num_steps), body,
      [tf.constant(has_middle), canvas_rows, zeros, tf.zeros_like(canvas_rows), zeros],
      shape_invariants=[tf.TensorShape([]), row_shape, many, row_shape, many], parallel_iterations=1)
  rate = accepted / tf.cast(num_steps * corrections, tf.float32) if corrections else tf.ones([batch])
  return Annealed(rows, log_density, score, noise_level_at(num_steps - 1, num_steps, settings), rate)


class AnnealedTarget:
  """What a noise-conditional classifier draws from, as `DrawingClassifier` asks for it.

  Args:
    energies: class energies and real/fake logits of images at noise levels.
    preconditioner: fitted to the training images.
    settings: schedule, predictor, corrector, guidance and correction.
    adjust: False for the unadjusted corrector.
  """

  def __init__(self, energies: ClassEnergies, preconditioner: level_preconditioner.LevelPreconditioner,
               settings: config_lib.ScoreConfig, adjust: bool = True):
    self.energies, self.preconditioner, self.settings, self.adjust = energies, preconditioner, settings, adjust

  def with_settings(self, settings: config_lib.ScoreConfig) -> "AnnealedTarget":
    """The same energies under other settings.

    Raises:
      ConfigError: a schedule that leaves the noise levels of these settings, at which the energies were trained.
    """
    for name in ("sigma_min", "sigma_max"):
      config_lib.require(self.settings.sigma_min <= getattr(settings, name) <= self.settings.sigma_max, name,
                         getattr(settings, name), "must lie in the trained range "
                         f"[{self.settings.sigma_min:g}, {self.settings.sigma_max:g}]")
    return AnnealedTarget(self.energies, self.preconditioner, settings, self.adjust)

  def without_correction(self) -> "AnnealedTarget":
    """The same without the density ratio: what the real/fake head compares with the data."""
    return self.with_settings(dataclasses.replace(self.settings, correction=0.0))

  def draw(self, class_weights: tf.Tensor, seeds: tf.Tensor, num_steps: tf.Tensor, temperature: tf.Tensor,
           step_size: tf.Tensor, canvas_images: Optional[tf.Tensor] = None) -> canvas.Drawing:
    """Draws from a blank canvas and renders by one denoising step x + σ² ∇f_w. Arguments as in `run`.

    `canvas_images`, uint8 [B, H, W, C], are drawn on from where the schedule comes to `_REFINED_FROM` (SDEdit, Meng et
    al. 2022): enough noise to change the strokes, not enough to forget the image.
    """
    settings, start = self.settings, None
    if canvas_images is not None:
      start = pixel_range.from_uint8(canvas_images)
      settings = dataclasses.replace(
          settings, sigma_max=min(settings.sigma_max, max(_REFINED_FROM, 2.0 * settings.sigma_min)))
    energy = guided_energy(self.energies, settings.guidance, settings.correction)
    end = run(energy, self.preconditioner, class_weights, seeds, num_steps, temperature, step_size, settings,
              self.adjust, start)
    batch = tf.shape(seeds)[0]
    scale = tf.square(end.noise_level) * tf.broadcast_to(tf.cast(temperature, tf.float32), [batch])
    shape = [-1, *self.preconditioner.image_shape]
    return canvas.Drawing(
        pixel_range.to_uint8(tf.reshape(end.rows + scale[:, tf.newaxis] * end.score, shape)),
        tf.reshape(end.rows, shape), end.log_density, end.acceptance_rate,
        tf.broadcast_to(tf.cast(step_size, tf.float32), [batch]))
