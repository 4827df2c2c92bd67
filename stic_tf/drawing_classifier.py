"""The object a user holds: a classifier that answers and draws."""

import contextlib
import dataclasses
from typing import Callable, Dict, Iterator, Optional, Tuple

import numpy as np
import tensorflow as tf

from stic_tf import class_choice
from stic_tf import config as config_lib
from stic_tf import drawing as drawing_lib
from stic_tf import first_rows
from stic_tf import replicas
from stic_tf import rounding
from stic_tf import seed_pairs
from stic_tf.datasets import pixel_range
from stic_tf.drawing import Drawings


# Elementwise functions have other last bits in what is left over of a vector register, and the kernel of a matrix
# product is chosen by the number of its rows. A last bit is enough to turn a pixel and, now and then, an accept test:
# so every batch is filled up to whole blocks. What a network need not compute of it, it does not (first_rows.py).
def _in_blocks(count, block: int = rounding.BLOCK):
  """The least multiple of `block` that holds `count` rows; `count` is a number or an int32 scalar."""
  return -(-count // block) * block


@contextlib.contextmanager
def _filled(count: tf.Tensor) -> Iterator[Callable[[tf.Tensor], tf.Tensor]]:
  """Gives what fills tensors of `count` rows up to whole blocks with the same rows; networks are run on those alone."""
  total = _in_blocks(count)
  rows = tf.range(total) % tf.maximum(count, 1)
  with first_rows.asked(count, total):
    yield lambda tensor: tf.gather(tensor, rows)


class DrawingClassifier:
  """Classifies images and draws them, whatever the system behind it.

  Args:
    system: a systems.base.System; the classifier follows its training.
    config: settings of its drawings.

  Raises:
    ConfigError: guidance, where the system's drawings have none.
  """

  def __init__(self, system, config: config_lib.RunConfig):
    rounding.convolutions_are_alike()  # or else it warns
    self.system, self.config = system, config
    self.checkpoint: Optional[str] = None  # the file it was read from
    self.chosen_step_size: Optional[float] = None
    self.image_shape, self.class_names, self.num_classes = system.image_shape, system.class_names, system.num_classes
    self.strategy = system.distribute_strategy
    self._drawer = system.drawer(config)
    config_lib.require(self._drawer.guidance is not None or not config.sampler.guidance, "guidance",
                       config.sampler.guidance, f"must be 0 with --model={config.model}, which draws without")
    self._draw = replicas.compiled(self.strategy, self._draw_replica, any_rows=True)
    self._classify = tf.function(
        lambda images: self.classify_tensors(images)["probabilities"], autograph=False,
        input_signature=[tf.TensorSpec([None, *self.image_shape], tf.uint8)])
    self._log_density = tf.function(
        lambda images, weights, temperature: system.log_density(pixel_range.from_uint8(images), weights, temperature),
        autograph=False, reduce_retracing=True)

  def with_settings(self, **settings) -> "DrawingClassifier":
    """The same classifier under other settings of drawing, by the names of their flags, for example guidance=0.5.

    Raises:
      ConfigError: a setting that is not of drawing or that its system does not read, or a value out of range.
    """
    if not settings:
      return self
    config = self.config.replace(**settings)
    for name in set(settings).difference(config_lib.DRAWING_SETTINGS):
      config_lib.require(False, name, settings[name], "is what the model was made with, and no setting of a drawing")
    config.check_read(settings, self.image_shape)
    other = DrawingClassifier(self.system, config)
    other.checkpoint = self.checkpoint
    other.chosen_step_size = settings.get("step_size", self.chosen_step_size)
    return other

  @property
  def can_record(self) -> bool:
    """Whether a drawing can be given with checkpoints, `num_frames`."""
    return self._drawer.can_record

  @property
  def walks(self) -> bool:
    """Whether it draws by a chain with an accept test that stays with one density; see `trace`."""
    return self._drawer.walks

  @property
  def corrects(self) -> bool:
    """Whether it moves by a chain at each of several noise levels; see `trace_levels`."""
    return self._drawer.corrects

  @property
  def has_accept_test(self) -> bool:
    """Whether its drawings take steps whose acceptance says anything."""
    return self._drawer.has_accept_test

  @property
  def tile_grid(self) -> int:
    """Tiles a side of one that draws in strokes, else 0."""
    return self._drawer.tile_grid

  @property
  def guidance(self) -> Optional[float]:
    """γ of its drawings, where a request of `draw_tensors` may have another; else None."""
    return self._drawer.guidance

  @property
  def canvas_noise(self) -> Optional[Tuple[float, float, float]]:
    """(least, its own, most) noise in which a canvas is drowned, where a request may choose; else None."""
    return self._drawer.canvas_noise

  @property
  def step_size(self) -> float:
    """h that a drawing begins with: what training arrived at, unless the settings say another."""
    if self.chosen_step_size is not None:
      return self.chosen_step_size
    with tf.init_scope():  # a number, also while a graph is made
      return float(self.system.step_size.numpy())

  @property
  def noise_level(self) -> float:
    """The noise in which it walks, or at which it answers."""
    return float(self.system.noise_level.numpy())

  def network_evaluations(self, num_steps: Optional[int] = None) -> int:
    """Forward and backward passes that a drawing of `num_steps` (None: the run's own) takes."""
    return self._drawer.network_evaluations(num_steps or self.config.sampler.num_steps)

  # --- in a graph ---

  def _draw_replica(self, chains, count, num_steps, temperature, step_size, num_frames):
    # The slice hides the number of rows from the graph's optimizer. Where it knows the number it fuses other
    # operations, and last bits differ: live drawings and those of an exported graph, which must not know it, are one.
    given = {name: value[:count] for name, value in chains.items()}
    return self.draw_tensors(num_steps=num_steps, temperature=temperature, step_size=step_size, num_frames=num_frames,
                             **given)

  def draw_tensors(self, class_weights: tf.Tensor, seeds: tf.Tensor, num_steps: tf.Tensor, temperature: tf.Tensor,
                   step_size: Optional[tf.Tensor] = None,
                   canvas_images: Optional[tf.Tensor] = None, num_frames: int = 0,
                   guidance: Optional[tf.Tensor] = None,
                   canvas_noise: Optional[tf.Tensor] = None) -> Dict[str, tf.Tensor]:
    """`draw` for a graph of the caller's, such as an exported signature: nothing is checked.

    It gives the same bytes as `draw` where the number of rows is unknown to the graph, as under [None, …].

    Args:
      class_weights: float32 [B, K] on the simplex.
      seeds: int64 [B, 2].
      num_steps: int32 [B] or scalar, at least 1.
      temperature: float32 [B] or scalar, above 0.
      step_size: h at the start of burn-in, float32 [B] or scalar; None for the run's own.
      canvas_images: uint8 [B, H, W, C], what the chains start from, smoothing noise added; None for a blank canvas.
      num_frames: n, how many checkpoints of the drawing to give; 0 for none. Only where `can_record`.
      guidance: γ, float32 [B]; None for its own. Only where `guidance` is a number.
      canvas_noise: standard deviation of the noise in which a canvas is drowned, float32 [B]; None for its own. Only
        where `canvas_noise` gives a range.

    Returns:
      images uint8 [B, H, W, C], log_density, acceptance_rate and step_size float32 [B], probabilities float32 [B, K];
      with num_frames also frames uint8 [B, n, H, W, C], the canvas after ⌈num_steps·(j/n)²⌉ steps, j = 1 … n; of one
      that draws in strokes also strokes and attention float32 [B, M].
    """
    count = tf.shape(seeds)[0]
    step_size = tf.constant(self.step_size) if step_size is None else step_size
    request = drawing_lib.normalise(class_weights, seeds, num_steps, temperature, step_size, canvas_images, num_frames,
                                    guidance, canvas_noise)
    with _filled(count) as fill:
      drawing = self._drawer.draw(request.rows(fill))
      logits = self.system.logits(pixel_range.from_uint8(drawing.images))
    drawn = {"images": drawing.images, "log_density": drawing.log_density, "probabilities": tf.nn.softmax(logits),
             "acceptance_rate": drawing.acceptance_rate, "step_size": drawing.step_size}
    drawn.update({name: getattr(drawing, name) for name in ("frames", "strokes", "attention")
                  if isinstance(getattr(drawing, name), tf.Tensor)})
    return {name: value[:count] for name, value in drawn.items()}

  def classify_tensors(self, images: tf.Tensor) -> Dict[str, tf.Tensor]:
    """`classify` for a graph of the caller's: uint8 [B, H, W, C] to a dict.

    Returns:
      probabilities float32 [B, K], label int32 [B], and energy float32 [B], -log Σ_k exp z_k (Grathwohl et al. 2020):
      low where an image is like those of the training.
    """
    count = tf.shape(images)[0]
    with _filled(count) as fill:
      logits = self.system.logits(pixel_range.from_uint8(fill(images)))
    answers = {"probabilities": tf.nn.softmax(logits), "label": tf.argmax(logits, axis=1, output_type=tf.int32),
               "energy": -tf.reduce_logsumexp(logits, axis=1)}
    return {name: value[:count] for name, value in answers.items()}

  # --- from Python ---

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
    images = self._checked(images)
    return self._in_batches(self._classify, [images], batch_size, [self.num_classes])

  def log_density(self, images: np.ndarray, class_weights=None, temperature: Optional[float] = None,
                  batch_size: int = 256) -> np.ndarray:
    """log π_w(x), the log density that `draw` draws from but for guidance, up to a constant of w (docs/equations.md).

    Differences of two images are log ratios of densities. Of a noise-conditional network it is that of images at the
    noise level the network answers at, or the mean over those whose answers it mixes.

    Args:
      images: uint8 [N, H, W, C].
      class_weights: as for `draw`; None for the class-free density Σ_k exp(f_k / T), which tells how unlike the
        training images an image is.
      temperature: T; None for the run's own.
      batch_size: how many at a time.

    Returns:
      float32 [N].

    Raises:
      ConfigError: images of another type or shape, or weights off the simplex.
    """
    images = self._checked(images)
    temperature = self._temperature(temperature)
    temperatures = np.full(len(images), temperature, np.float32)
    if class_weights is None:
      return self._in_batches(lambda rows, temperature: self._log_density(rows, None, temperature),
                              [images, temperatures], batch_size, [])
    weights = class_choice.class_weights(class_weights, self.class_names)
    self._check_mixture(weights)
    config_lib.require(len(weights) == len(images), "class_weights", list(weights.shape),
                       f"must have the shape [{len(images)}, {self.num_classes}]")
    return self._in_batches(self._log_density, [images, weights, temperatures], batch_size, [])

  def _temperature(self, given: Optional[float]) -> float:
    temperature = self.config.sampler.temperature if given is None else given
    config_lib.require(np.isfinite(temperature) and temperature > 0, "temperature", temperature,
                       "must be a finite number above 0")
    return temperature

  def _checked(self, images) -> np.ndarray:
    images = np.asarray(images)
    config_lib.require(images.dtype == np.uint8 and images.shape[1:] == self.image_shape, "images",
                       f"{images.dtype}{list(images.shape)}", f"must be uint8 [N, {str(list(self.image_shape))[1:]}")
    return images

  @staticmethod
  def _in_batches(function, arrays, batch_size, shape) -> np.ndarray:
    """`function` of the rows of arrays [N, …], in whole blocks: float32 [N, *shape]."""
    count = len(arrays[0])
    batch_size = _in_blocks(max(1, min(batch_size, count)))
    parts = [np.zeros([0, *shape], np.float32)]
    for start in range(0, count, batch_size):
      rows = np.arange(start, start + batch_size) % count
      parts.append(function(*(array[rows] for array in arrays)).numpy()[:count - start])
    return np.concatenate(parts)

  def draw(self, class_weights, seeds=0, num_steps: Optional[int] = None, temperature: Optional[float] = None,
           step_size: Optional[float] = None, batch_size: int = 100,
           on_batch: Callable[[int], None] = lambda done: None, num_frames: int = 0, canvas_images=None,
           canvas_noise: Optional[float] = None) -> Drawings:
    """Draws one image a row of `class_weights`, from a blank canvas or on from `canvas_images`.

    Args:
      class_weights: float [N, K] on the simplex (soft classes), or N integers or class names (hard classes).
      seeds: int64 [N, 2], or an integer S for the pairs (S, 0) … (S, N - 1). An image depends on its own pair, its
        weights and the settings below alone, never on the batch.
      num_steps: steps of the chain, burn-in included, or noise levels; None for the run's own.
      temperature: T; None for the run's own.
      step_size: h at the start of burn-in; None for the run's own.
      batch_size: how many at a time.
      on_batch: called with the number of images drawn so far.
      num_frames: how many checkpoints of the drawing to keep in `frames`, the last the finished image; 0 for none.
      canvas_images: uint8 [N, H, W, C] to draw on from; None for a blank canvas.
      canvas_noise: standard deviation of the noise in which they are drowned first, in [-1, 1] pixel units: little
        keeps the image, much leaves more to the class. None for its own; others only where `self.canvas_noise` gives
        a range.

    Returns:
      Drawings.

    Raises:
      ConfigError: weights off the simplex or of more classes than can be mixed, a non-positive number, or seeds of
        another shape or beyond 64 bits.
    """
    weights = class_choice.class_weights(class_weights, self.class_names)
    self._check_mixture(weights)
    config_lib.require(num_frames == 0 or num_frames > 0 and self.can_record,
                       "num_frames", num_frames, "must be at least 0, and 0 where drawings cannot be recorded")
    config_lib.require(len(weights) > 0, "class_weights", "[]", "must ask for at least one drawing")
    config_lib.require(batch_size > 0, "batch_size", batch_size, "must be at least 1")
    seeds = seed_pairs.of(seeds, len(weights))
    canvas = self._canvas(len(weights), canvas_images, canvas_noise)
    own = self.config.sampler
    settings = dataclasses.replace(own, num_steps=own.num_steps if num_steps is None else num_steps,
                                   temperature=self._temperature(temperature),
                                   step_size=self.step_size if step_size is None else step_size)
    batch_size = _in_blocks(min(batch_size, len(weights)), rounding.BLOCK * replicas.here(self.strategy))
    parts = []
    for start in range(0, len(weights), batch_size):
      rows = np.arange(start, start + batch_size) % len(weights)  # the last batch is filled up with images again
      chains = {"class_weights": weights[rows], "seeds": seeds[rows],
                **{name: array[rows] for name, array in canvas.items()}}
      drawn = self._draw(replicas.split(self.strategy, chains),
                         tf.constant(batch_size // replicas.here(self.strategy)), tf.constant(settings.num_steps),
                         tf.constant(settings.temperature, tf.float32), tf.constant(settings.step_size, tf.float32),
                         num_frames)
      kept = min(batch_size, len(weights) - start)
      parts.append({name: value[:kept] for name, value in replicas.join(self.strategy, drawn).items()})
      on_batch(start + kept)
    return Drawings(class_weights=weights, seeds=seeds,
                    **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

  def trace(self, class_weights, seeds=0) -> np.ndarray:
    """log π_w of chains after every step that follows burn-in, all in one batch; arguments as for `draw`.

    What `metrics.sampler_health` reads.

    Returns:
      float32 [n, N].

    Raises:
      ConfigError: as `draw`, and where it does not walk.
    """
    config_lib.require(self.walks, "class_weights", class_weights, "are not drawn for by a chain that could be traced")
    return self._traced(self._drawer.trace, class_weights, seeds)

  def trace_levels(self, class_weights, seeds=0) -> np.ndarray:
    """σ, the corrector's mean acceptance and h at each noise level: float32 [n, 3, N]; otherwise as `trace`."""
    config_lib.require(self.corrects, "class_weights", class_weights, "are not drawn for by a chain at each of several "
                                                                      "noise levels")
    return self._traced(self._drawer.trace_levels, class_weights, seeds)

  def _traced(self, of_drawer: Callable, class_weights, seeds) -> np.ndarray:
    weights = class_choice.class_weights(class_weights, self.class_names)
    self._check_mixture(weights)
    num_steps, temperature = self.config.sampler.num_steps, self.config.sampler.temperature

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, self.num_classes]),
                                                   tf.TensorSpec([None, 2], tf.int64)])
    def trace(weights, seeds):
      with _filled(tf.shape(seeds)[0]) as fill:
        request = drawing_lib.normalise(weights, seeds, num_steps, temperature, self.step_size)
        return of_drawer(request.rows(fill), num_steps)

    return trace(weights, seed_pairs.of(seeds, len(weights))).numpy()[..., :len(weights)]

  def _canvas(self, count: int, images, noise: Optional[float]) -> Dict[str, np.ndarray]:
    """What `draw_tensors` takes of a canvas, a row a drawing."""
    if images is None:
      config_lib.require(noise is None, "canvas_noise", noise, "goes with canvas_images")
      return {}
    images = self._checked(images)
    config_lib.require(len(images) == count, "canvas_images", list(images.shape), f"must have {count} rows")
    if noise is None:
      return {"canvas_images": images}
    config_lib.require(self.canvas_noise is not None, "canvas_noise", noise, "cannot be chosen here")
    least, _, most = self.canvas_noise
    config_lib.require(least <= noise <= most, "canvas_noise", noise, f"must lie in [{least:g}, {most:g}]")
    return {"canvas_images": images, "canvas_noise": np.full(count, noise, np.float32)}

  def _check_mixture(self, weights: np.ndarray) -> None:
    most = self._drawer.most_classes
    if most is not None:
      mixed = int(np.count_nonzero(weights, axis=1).max(initial=0))
      config_lib.require(mixed <= most, "class_weights", f"{mixed} classes", f"must mix at most {most} classes")
