"""The object a user holds: a classifier that answers and draws."""

import dataclasses
import os
from typing import Callable, Dict, Optional, Sequence

import numpy as np
import tensorflow as tf

from stic_tf import checkpoint
from stic_tf import config as config_lib
from stic_tf import replicas
from stic_tf import sparse_weights
from stic_tf.datasets import pixel_range
from stic_tf.models import build
from stic_tf.sampler import canvas
from stic_tf.sampler import drawing as drawing_lib
from stic_tf.sampler import gram as gram_lib
from stic_tf.sampler import target as target_lib
from stic_tf.self_analysis import recurrence as recurrence_lib

# oneDNN and Eigen choose the kernel of a matrix product, and with it the order of its sums, by the number of rows. A
# last bit is enough to turn a pixel and, now and then, an accept test: so every batch is filled up to whole blocks.
_ROW_BLOCK = 16


def _in_blocks(count: int, block: int) -> int:
  """The least multiple of `block` that holds `count` rows."""
  return -(-count // block) * block


@dataclasses.dataclass
class Drawings:
  """N drawings.

  Attributes:
    images: uint8 [N, H, W, C].
    class_weights: float32 [N, K], what each was drawn for.
    seeds: int64 [N, 2].
    log_density: float32 [N], log π_w where the chain ended, up to a constant of the class weights.
    probabilities: float32 [N, K], the classifier's answer to the rendered image.
    acceptance_rate: float32 [N], after burn-in.
    step_size: float32 [N], after burn-in.
    frames: uint8 [N, n, H, W, C], the canvas at n checkpoints; None where none was asked for.
    strokes: float32 [N, M], strokes taken in each tile, rows of tiles from the top left; None for whole-image steps.
    attention: float32 [N, M], probability that the next stroke goes to each tile; None for whole-image steps.
  """

  images: np.ndarray
  class_weights: np.ndarray
  seeds: np.ndarray
  log_density: np.ndarray
  probabilities: np.ndarray
  acceptance_rate: np.ndarray
  step_size: np.ndarray
  frames: Optional[np.ndarray] = None
  strokes: Optional[np.ndarray] = None
  attention: Optional[np.ndarray] = None


def seed_pairs(seed: int, count: int) -> np.ndarray:
  """The seed pairs (seed, 0), (seed, 1), … of a command with `--seed`: int64 [count, 2]."""
  return np.stack([np.full(count, seed, np.int64), np.arange(count, dtype=np.int64)], axis=1)


def check_class_weights(class_weights, num_classes: int) -> np.ndarray:
  """Class weights as float32 [N, K]; a list of integers stands for hard classes.

  Raises:
    ConfigError: a class that does not exist, or weights off the simplex.
  """
  weights = np.asarray(class_weights)
  if weights.ndim == 1 and np.issubdtype(weights.dtype, np.integer):
    for label in weights:
      config_lib.require(0 <= label < num_classes, "classes", label, f"must lie in 0..{num_classes - 1}")
    return np.eye(num_classes, dtype=np.float32)[weights]
  weights = weights.astype(np.float32)
  config_lib.require(weights.ndim == 2 and weights.shape[1] == num_classes, "class_weights", list(weights.shape),
                     f"must have the shape [N, {num_classes}]")
  on_simplex = np.isfinite(weights).all() and (weights >= 0).all() and np.allclose(weights.sum(1), 1.0, atol=1e-4)
  config_lib.require(bool(on_simplex), "class_weights", "…", "each row must be non-negative and sum to 1")
  return weights


class DrawingClassifier:
  """Classifies images and draws them with GRMALA.

  Args:
    logits: function images float32 [B, H, W, C] in [-1, 1] -> class logits [B, K], differentiable.
    energy: f_w of `sampler.target`: (images, class weights [B, K]) -> [B].
    preconditioner: fitted to the training images and `noise_level`.
    image_shape: (H, W, C).
    class_names: K names.
    sampler: defaults of `draw`.
    noise_level: s of the smoothed density the chain walks in; the jump renders it. 0 for none.
    strategy: replicas to draw on; None for one.
    tile_grid: tiles a side, to draw in strokes (an AttentiveEnergy's); 0 draws in whole-image steps.
  """

  def __init__(self, logits: Callable, energy: target_lib.ClassEnergy, preconditioner: gram_lib.Preconditioner,
               image_shape: Sequence[int], class_names: Sequence[str], sampler: config_lib.SamplerConfig,
               noise_level, strategy: Optional[tf.distribute.Strategy] = None, tile_grid: int = 0):
    self.image_shape, self.class_names = tuple(image_shape), tuple(class_names)
    self.num_classes = len(self.class_names)
    self.sampler = sampler
    self.noise_level = noise_level
    self.strategy = strategy or tf.distribute.get_strategy()
    self.target = target_lib.Target(energy, preconditioner, self.image_shape, sampler.reference)
    self.tile_grid = tile_grid
    self._logits = logits
    self._draw = replicas.compiled(self.strategy, self._draw_replica)
    self._classify = tf.function(lambda images: tf.nn.softmax(self._logits(pixel_range.from_uint8(images))),
                                 autograph=False, reduce_retracing=True)

  def _draw_replica(self, chains, num_steps, temperature, step_size, noise_level, num_frames=0):
    strokes = None
    if self.tile_grid:
      windows = tf.constant(drawing_lib.tile_windows(self.image_shape, self.tile_grid))
      strokes = canvas.Strokes(windows, self.sampler.sweep_every)
    drawing = canvas.draw(self.target, chains["class_weights"], chains["seeds"], num_steps, temperature, step_size,
                          noise_level, self.sampler.burn_in_fraction, self.sampler.sampler,
                          self.sampler.target_acceptance, strokes, num_frames)
    probabilities = tf.nn.softmax(self._logits(pixel_range.from_uint8(drawing.images)))
    drawn = {"images": drawing.images, "log_density": drawing.log_density, "probabilities": probabilities,
             "acceptance_rate": drawing.acceptance_rate, "step_size": drawing.step_size}
    if num_frames:
      drawn["frames"] = drawing.frames
    if strokes:
      drawn.update(strokes=drawing.strokes, attention=drawing.attention)
    return drawn

  def record_tensors(self, class_weights: tf.Tensor, seeds: tf.Tensor, num_steps: tf.Tensor, temperature: tf.Tensor,
                     num_frames: int) -> Dict[str, tf.Tensor]:
    """`draw` with checkpoints for a graph of the caller's, such as an exported signature: the same bytes, unchecked.

    Args:
      class_weights: float32 [B, K] on the simplex.
      seeds: int64 [B, 2].
      num_steps: int32 [B], at least 1.
      temperature: float32 [B], above 0.
      num_frames: n, how many checkpoints; a Python number.

    Returns:
      frames uint8 [B, n, H, W, C], the canvas after ⌈num_steps·(j/n)²⌉ steps, j = 1 … n; images uint8 [B, H, W, C], the
      last of them; log_density, acceptance_rate and step_size float32 [B], probabilities float32 [B, K]; of a model
      that draws in strokes also strokes and attention float32 [B, M].
    """
    count = tf.shape(seeds)[0]
    rows = tf.range(-(-count // _ROW_BLOCK) * _ROW_BLOCK) % tf.maximum(count, 1)
    class_weights, seeds, num_steps, temperature = (
        tf.gather(value, rows) for value in (class_weights, seeds, num_steps, temperature))
    drawn = self._draw_replica({"class_weights": class_weights, "seeds": seeds}, num_steps, temperature,
                               self.sampler.step_size, tf.convert_to_tensor(self.noise_level, tf.float32), num_frames)
    return {name: value[:count] for name, value in drawn.items()}

  def classify(self, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Class probabilities of images.

    Args:
      images: uint8 [N, H, W, C].
      batch_size: how many at a time.

    Returns:
      float32 [N, K].

    Raises:
      ConfigError: images of another type or shape.
    """
    images = np.asarray(images)
    config_lib.require(images.dtype == np.uint8 and images.shape[1:] == self.image_shape, "images",
                       f"{images.dtype}{list(images.shape)}", f"must be uint8 [N, {str(list(self.image_shape))[1:]}")
    batch_size = _in_blocks(max(1, min(batch_size, len(images))), _ROW_BLOCK)
    parts = []
    for start in range(0, len(images), batch_size):
      rows = np.arange(start, start + batch_size) % len(images)
      parts.append(self._classify(images[rows]).numpy()[:len(images) - start])
    return np.concatenate(parts) if parts else np.zeros([0, self.num_classes], np.float32)

  def draw(self, class_weights, seeds=0, num_steps: Optional[int] = None, temperature: Optional[float] = None,
           step_size: Optional[float] = None, batch_size: int = 100,
           on_batch: Callable[[int], None] = lambda done: None, num_frames: int = 0) -> Drawings:
    """Draws one image a row of `class_weights` from a blank canvas.

    Args:
      class_weights: float [N, K] on the simplex (soft classes), or N integers (hard classes).
      seeds: int64 [N, 2], or an integer S for the pairs (S, 0) … (S, N - 1). An image depends on its own pair, its
        weights and the settings below alone, never on the batch.
      num_steps: steps of the chain, burn-in included; None for the run's own.
      temperature: T; None for the run's own.
      step_size: h at the start of burn-in; None for the run's own.
      batch_size: how many at a time.
      on_batch: called with the number of images drawn so far.
      num_frames: how many checkpoints of the drawing to keep in `frames`, the last the finished image; 0 for none.

    Returns:
      Drawings.

    Raises:
      ConfigError: weights off the simplex or of more classes than can be mixed, a non-positive number, or seeds of
        another shape.
    """
    weights = check_class_weights(class_weights, self.num_classes)
    self._check_mixture(weights)
    config_lib.require(num_frames == 0 or num_frames > 0 and self.sampler.sampler != "jem_sgld", "num_frames",
                       num_frames, "must be at least 0, and 0 with --sampler=jem_sgld")
    seeds = seed_pairs(int(seeds), len(weights)) if np.ndim(seeds) == 0 else np.asarray(seeds, np.int64)
    config_lib.require(seeds.shape == (len(weights), 2), "seeds", list(seeds.shape),
                       f"must have the shape [{len(weights)}, 2]")
    config_lib.require(len(weights) > 0, "num_images", 0, "must be at least 1")
    settings = dataclasses.replace(
        self.sampler, num_steps=self.sampler.num_steps if num_steps is None else num_steps,
        temperature=self.sampler.temperature if temperature is None else temperature,
        step_size=self.sampler.step_size if step_size is None else step_size)
    batch_size = _in_blocks(min(batch_size, len(weights)), _ROW_BLOCK * self.strategy.num_replicas_in_sync)
    parts = []
    for start in range(0, len(weights), batch_size):
      rows = np.arange(start, start + batch_size) % len(weights)  # the last batch is filled up with images again
      chains = {"class_weights": weights[rows], "seeds": seeds[rows]}
      drawn = self._draw(replicas.split(self.strategy, chains), tf.constant(settings.num_steps),
                         tf.constant(settings.temperature, tf.float32), tf.constant(settings.step_size, tf.float32),
                         tf.convert_to_tensor(self.noise_level, tf.float32), num_frames)
      kept = min(batch_size, len(weights) - start)
      parts.append({name: value[:kept] for name, value in replicas.join(self.strategy, drawn).items()})
      on_batch(start + kept)
    return Drawings(class_weights=weights, seeds=seeds,
                    **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

  def _check_mixture(self, weights: np.ndarray) -> None:
    if isinstance(self.target.energy, target_lib.AttentiveEnergy):
      mixed = int(np.count_nonzero(weights, axis=1).max(initial=0))
      config_lib.require(mixed <= sparse_weights.MOST_CLASSES, "class_weights", f"{mixed} classes",
                         f"must mix at most {sparse_weights.MOST_CLASSES} classes")


def from_recurrence(recurrence: recurrence_lib.Recurrence, class_names: Sequence[str]) -> DrawingClassifier:
  """The classifier of a training as it stands: its averaged weights. It follows the training's further passes."""
  target = recurrence.targets["average"]
  return DrawingClassifier(
      lambda images: build.logits(recurrence.average, images), target.energy, recurrence.preconditioner,
      recurrence.image_shape, class_names, recurrence.drawing_sampler(), recurrence.noise_level, recurrence.strategy,
      tile_grid(recurrence.model, recurrence.sampler))


def tile_grid(model: config_lib.ModelConfig, sampler: config_lib.SamplerConfig) -> int:
  """Tiles a side of a classifier that draws in strokes, else 0."""
  return model.tile_grid if config_lib.draws_in_strokes(model, sampler) else 0


def from_state(arrays: Dict[str, np.ndarray], description: dict,
               strategy: Optional[tf.distribute.Strategy] = None) -> DrawingClassifier:
  """The classifier in a checkpoint.

  Args:
    arrays, description: as `checkpoint.read` gives them.
    strategy: replicas to draw on; None for one.

  Raises:
    ValueError: the arrays do not fit the description.
  """
  model = config_lib.from_mapping(config_lib.ModelConfig, description["config"])
  sampler = config_lib.from_mapping(config_lib.SamplerConfig, description["config"])
  image_shape, class_names = tuple(description["image_shape"]), description["class_names"]
  strategy = strategy or tf.distribute.get_strategy()
  with strategy.scope():
    network = build.build_network(model, image_shape, len(class_names), seed=0)
    preconditioner = gram_lib.build_preconditioner(sampler.preconditioner, image_shape)
    class_grams = recurrence_lib.make_class_grams(network, len(class_names), sampler)
  for group, variables in (("average", network.variables), ("preconditioner", preconditioner.variables()),
                           ("class_grams", class_grams.variables())):
    checkpoint.assign(arrays, group, variables)
  sampler = dataclasses.replace(sampler, step_size=float(arrays["scales"][0]))
  return DrawingClassifier(lambda images: build.logits(network, images),
                           recurrence_lib.make_energy(network, class_grams, sampler.gram_weight), preconditioner,
                           image_shape, class_names, sampler, float(arrays["noise_level/000"]), strategy,
                           tile_grid(model, sampler))


def load(run_dir: str, strategy: Optional[tf.distribute.Strategy] = None) -> DrawingClassifier:
  """The classifier of a run folder, from its newest readable checkpoint.

  Args:
    run_dir: what `trainers/main.py --run_dir` made.
    strategy: replicas to draw on; None for one.

  Raises:
    ConfigError: the folder holds no readable checkpoint.
  """
  try:
    _, arrays, description, _ = checkpoint.read_newest(os.path.join(run_dir, "checkpoints"))
  except FileNotFoundError as problem:
    raise config_lib.ConfigError(f"--run_dir={run_dir}: {problem}") from problem
  return from_state(arrays, description, strategy)


def wrap(classifier: Callable, images: np.ndarray, class_names: Sequence[str],
         preprocess: Callable = lambda images: images, noise_level: float = 0.3, **settings) -> DrawingClassifier:
  """Makes any differentiable Keras classifier draw, without our trainer.

  Args:
    classifier: a Keras model (or function) from images to logits [B, K]; without batch statistics at inference.
    images: uint8 [N, H, W, C], some of its training images: they fix the blank canvas and the preconditioner.
    class_names: K names.
    preprocess: from images float32 [B, H, W, C] in [-1, 1] to what the classifier was trained on.
    noise_level: s, the noise in which the chain walks and which the jump removes, in [-1, 1] pixel units.
    **settings: fields of `config.SamplerConfig`, for example num_steps, temperature, step_size.

  Raises:
    ConfigError: a setting out of range.
  """
  sampler = config_lib.SamplerConfig(**settings)
  config_lib.require(noise_level > 0, "noise_level", noise_level, "must be above 0")
  image_shape = images.shape[1:]
  preconditioner = gram_lib.build_preconditioner(sampler.preconditioner, image_shape)
  preconditioner.update(gram_lib.ImageStatistics.fit(pixel_range.from_uint8(images).numpy()), noise_level)

  def logits(drawn):
    return classifier(preprocess(drawn))

  return DrawingClassifier(logits, target_lib.class_energy(logits), preconditioner, image_shape, class_names, sampler,
                           noise_level)
