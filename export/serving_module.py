"""A drawing classifier as a tf.Module with serving signatures: classify, synthesize, draw, refine, settings.

What a signature is sent is clipped, never refused by value: a server that batches runs the requests of several users
as one, and one that fails takes the others with it. Shapes are guarded, since a session does not check what it is fed.

- serving_default, also as classify: images uint8 [B, H, W, C] -> probabilities float32 [B, K], label int32 [B], energy
  float32 [B].
- synthesize: class_weights float32 [B, K], seed int64 [B, 2], num_steps int32 [B], temperature float32 [B] -> images
  uint8 [B, H, W, C], probabilities float32 [B, K], log_density and acceptance_rate float32 [B].
- refine: the same, and images uint8 [B, H, W, C] to draw on from -> the same.
- synthesize_png, refine_png, draw_png: drawings as PNG bytes (png_signatures.py); of models of 1 or 3 channels.
- settings: its `defaults` in the metadata are the fields of `Settings`; there is nothing to call it for.

num_steps and temperature have the run's own as `defaults` of one row, which holds for all rows of a request that leaves
them out. tensorflow_model_server takes such a request with one row only when it batches.
"""

import dataclasses
import functools
import types
from typing import Dict, Sequence

import tensorflow as tf

from export import png_signatures
from stic_tf import drawing_classifier as drawing_lib

# A row of weights this near to the simplex is taken as it stands, as `DrawingClassifier.draw` takes it: to divide by a
# sum of 0.9999999 would turn a last bit, and with it, now and then, a pixel.
_SIMPLEX_TOLERANCE = 2e-4
_TEMPERATURE_RANGE = (0.01, 100.0)
# -1 draws from the class-free density; by 8 drawings have long been all alike.
_GUIDANCE_RANGE = (-1.0, 8.0)
_DEFAULT_LIMIT_FACTOR = 4
# Checkpoints of a drawing that the signature `draw` gives.
FRAMES = 16


@dataclasses.dataclass(frozen=True)
class Settings:
  """What an export states of itself, in the `defaults` of its `settings` signature, which GetModelMetadata gives.

  Attributes:
    num_steps: the run's own steps of a drawing.
    temperature: the run's own.
    max_steps: requests of more are cut to this many.
    temperature_range: (least, most) a request can have.
    class_names: K names.
    image_shape: (H, W, C).
    num_frames: checkpoints of a drawing that `draw` gives; 0 where there is no `draw`.
    tile_grid: tiles a side of a model that draws in strokes, else 0.
    guidance_range: (least, most) a request can have; empty where the model has no guidance.
    canvas_noise_range: (least, most) of refine_png; empty where it cannot be chosen.
  """

  num_steps: int
  temperature: float
  max_steps: int
  temperature_range: Sequence[float]
  class_names: Sequence[str]
  image_shape: Sequence[int]
  num_frames: int
  tile_grid: int
  guidance_range: Sequence[float]
  canvas_noise_range: Sequence[float]


def default_max_steps(num_steps: int) -> int:
  """The step limit of an export whose run draws in `num_steps`."""
  return _DEFAULT_LIMIT_FACTOR * num_steps


def clip_class_weights(weights: tf.Tensor) -> tf.Tensor:
  """Any float32 [B, K] to the simplex: non-finite and negative become 0, the rest is divided by its sum, none: uniform.

  Rows on the simplex stay as they are, bit for bit.
  """
  clean = tf.where(tf.math.is_finite(weights) & (weights >= 0), weights, 0.0)
  kept = tf.reduce_all(tf.equal(clean, weights), axis=1) & (
      tf.abs(tf.reduce_sum(clean, axis=1) - 1.0) <= _SIMPLEX_TOLERANCE)
  largest = tf.reduce_max(clean, axis=1, keepdims=True)
  # By the largest first: the sum of large weights overflows.
  scaled = tf.where(largest > 0, clean / tf.where(largest > 0, largest, 1.0), 1.0)
  return tf.where(kept[:, tf.newaxis], weights, scaled / tf.reduce_sum(scaled, axis=1, keepdims=True))


def clip(values: tf.Tensor, own: float, allowed: Sequence[float]) -> tf.Tensor:
  """Into the range (least, most); NaN becomes the run's own."""
  return tf.clip_by_value(tf.where(tf.math.is_nan(values), own, values), *allowed)


def _with(own: float, allowed: Sequence[float]) -> Sequence[float]:
  return min(own, allowed[0]), max(own, allowed[1])


def _at_least_one_row(tensor: tf.Tensor) -> tf.Operation:
  return tf.debugging.assert_positive(tf.shape(tensor)[0], message="A request needs at least one row")


class ServingModule(tf.Module):
  """Signatures of a drawing classifier, for `tf.saved_model.save(module, folder, module.functions)`.

  Every signature has dim 0 = batch in each input and output, runs core operations only and is not jitted.

  Args:
    classifier: whose `draw_tensors` and `classify_tensors` they run.
    max_steps: the most steps a request gets.
    png: whether there are signatures with PNG bytes.
  """

  def __init__(self, classifier: drawing_lib.DrawingClassifier, max_steps: int, png: bool = True):
    super().__init__(name="stic")
    self._classifier, self._png = classifier, png and classifier.image_shape[-1] in png_signatures.CHANNELS
    own = classifier.config.sampler
    self.settings = Settings(own.num_steps, own.temperature, max_steps,
                             _with(own.temperature, _TEMPERATURE_RANGE), classifier.class_names,
                             classifier.image_shape, FRAMES if classifier.can_record else 0, classifier.tile_grid,
                             () if classifier.guidance is None else _with(classifier.guidance, _GUIDANCE_RANGE),
                             () if classifier.canvas_noise is None else classifier.canvas_noise[::2])
    # A view of them, which the module does not see: they are saved as signatures, and not once more beside those.
    self.functions = types.MappingProxyType(self._make_functions())
    # A SavedModel holds the variables that hang on the module; a network is whatever the classifier has made of it.
    used = {id(variable): variable for function in self.functions.values()
            for variable in function.get_concrete_function().graph.variables}
    self.used_variables = list(used.values())

  def _make_functions(self) -> Dict[str, tf.types.experimental.GenericFunction]:
    # Tensors as default values become `defaults` of the SignatureDef: a request may leave these inputs out.
    noise = self._classifier.canvas_noise
    own = {"temperature": self.settings.temperature, "guidance": self._classifier.guidance,
           "canvas_noise": noise and noise[1]}
    defaults = {"num_steps": tf.constant([self.settings.num_steps]),
                **{name: tf.constant([value], tf.float32) for name, value in own.items() if value is not None}}
    images = tf.TensorSpec([None, *self._classifier.image_shape], tf.uint8, "images")
    specs = {spec.name: spec for spec in (
        images, tf.TensorSpec([None, self._classifier.num_classes], tf.float32, "class_weights"),
        tf.TensorSpec([None, 2], tf.int64, "seed"),
        *(tf.TensorSpec([None], value.dtype, name) for name, value in defaults.items()))}
    plain = [specs[name] for name in ("class_weights", "seed", "num_steps", "temperature")]

    # Saving traces a signature once more, and two of them often draw alike: what they call is there already.
    @functools.lru_cache(maxsize=None)
    def traced(names, num_frames):
      return tf.function(lambda *values: self._draw_tensors(num_frames=num_frames, **dict(zip(names, values))),
                         input_signature=[specs[name] for name in names], autograph=False).get_concrete_function()

    def drawn(inputs, num_frames=0):
      return traced(tuple(inputs), num_frames)(*inputs.values())

    def draw(inputs, num_frames=0):
      outputs = drawn(inputs, num_frames)
      names = ("images", "probabilities", "log_density", "acceptance_rate", *(["frames"] if num_frames else []))
      return {name: outputs[name] for name in names}

    classify = png_signatures.function_of(self._classify, [images], {})
    functions = {"serving_default": classify, "classify": classify, "settings": self._make_settings_function(),
                 "synthesize": png_signatures.function_of(draw, plain, defaults),
                 "refine": png_signatures.function_of(draw, [images, *plain], defaults)}
    if self._classifier.can_record:
      functions["draw"] = png_signatures.function_of(lambda inputs: draw(inputs, FRAMES), plain, defaults)
    if self._png:
      functions.update(png_signatures.make(drawn, specs, defaults, self.settings.num_frames))
    return functions

  def _make_settings_function(self) -> tf.types.experimental.GenericFunction:
    """A signature for its defaults' sake: what a client must know stands in the metadata, and no call is needed."""
    values = {name: tf.constant(list(value) if isinstance(value, (tuple, list)) else [value])
              for name, value in dataclasses.asdict(self.settings).items()}
    return png_signatures.function_of(
        lambda inputs: inputs, [tf.TensorSpec([None], value.dtype, name) for name, value in values.items()], values)

  def _classify(self, inputs: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
    images = tf.ensure_shape(inputs["images"], [None, *self._classifier.image_shape])
    # Only this one tensor waits: control edges into the network would keep its operations from being fused as they are
    # in the live graph, and last bits would differ.
    with tf.control_dependencies([_at_least_one_row(images)]):
      images = tf.identity(images)
    return self._classifier.classify_tensors(images)

  def _draw_tensors(self, class_weights, seed, num_steps, temperature, images=None, num_frames=0, guidance=None,
                    canvas_noise=None) -> Dict[str, tf.Tensor]:
    class_weights = tf.ensure_shape(class_weights, [None, self._classifier.num_classes])
    images = None if images is None else tf.ensure_shape(images, [None, *self._classifier.image_shape])
    seed = tf.ensure_shape(seed, [None, 2])
    count = tf.shape(seed)[0]
    # The defaults are one row. Anything else that is not `count` rows fails here: rows are filled up to whole blocks
    # further in, where a wrong number would no longer show.
    num_steps = tf.broadcast_to(tf.ensure_shape(num_steps, [None]), [count])
    temperature = tf.broadcast_to(tf.ensure_shape(temperature, [None]), [count])
    others = [class_weights] if images is None else [class_weights, images]
    checks = [_at_least_one_row(seed)] + [
        tf.debugging.assert_equal(tf.shape(tensor)[0], count, message="Incompatible shapes: each input must have as "
                                  "many rows as seed") for tensor in others]
    further = {}
    if guidance is not None:
      further["guidance"] = tf.broadcast_to(
          clip(tf.ensure_shape(guidance, [None]), self._classifier.guidance, self.settings.guidance_range), [count])
    if canvas_noise is not None:
      further["canvas_noise"] = tf.broadcast_to(
          clip(tf.ensure_shape(canvas_noise, [None]), self._classifier.canvas_noise[1],
               self.settings.canvas_noise_range), [count])
    with tf.control_dependencies(checks):
      class_weights, seed = tf.identity(class_weights), tf.identity(seed)
      images = None if images is None else tf.identity(images)
    return self._classifier.draw_tensors(
        clip_class_weights(class_weights), seed, tf.clip_by_value(num_steps, 1, self.settings.max_steps),
        clip(temperature, self.settings.temperature, self.settings.temperature_range),
        canvas_images=images, num_frames=num_frames, **further)
