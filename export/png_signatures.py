"""Signatures of a drawing classifier for a page: a drawing as the bytes of a PNG, its settings all open.

JSON has no bytes: TensorFlow Serving's REST writes a string output whose name ends in `_bytes` as {"b64": …}, and an
array of pixels as text, number by number. Beside their siblings without `_png` they have image_png_bytes string [B] in
place of images, and:

- synthesize_png, refine_png, draw_png: the further input guidance float32 [B], where the model has it.
- refine_png: the further input canvas_noise float32 [B], the noise in which the canvas is drowned, where it can be
  chosen: much of it leaves little of the canvas.
- draw_png: frames_png_bytes string [B, n] in place of frames.
- of one that draws in strokes: the further outputs strokes and attention float32 [B, M], one a tile.

A canvas is sent as an array: bytes that are no PNG would fail in the graph, and with them all they are merged with.
"""

import inspect
from typing import Any, Callable, Dict, Mapping, Sequence

import tensorflow as tf

# PNG has grey and colours; more channels would be read as transparency.
CHANNELS = (1, 3)
_PNG_NAMES = {"images": "image_png_bytes", "frames": "frames_png_bytes"}
_OUTPUTS = ("probabilities", "log_density", "acceptance_rate", "strokes", "attention")


def function_of(body: Callable[[Dict[str, tf.Tensor]], Dict[str, tf.Tensor]], specs: Sequence[tf.TensorSpec],
                defaults: Mapping[str, tf.Tensor]) -> tf.types.experimental.GenericFunction:
  """A tf.function with a parameter a spec, by its name, that calls `body` with all of them in a dict.

  Args:
    body: gives the outputs.
    specs: of the inputs; those with a default last.
    defaults: what an input is that is left out.
  """
  kind = inspect.Parameter.POSITIONAL_OR_KEYWORD

  def function(*values):
    return body({spec.name: value for spec, value in zip(specs, values)})

  # tf.function reads the parameters here, which would otherwise have to be written out for each set of inputs.
  function.__signature__ = inspect.Signature([
      inspect.Parameter(spec.name, kind, default=defaults.get(spec.name, inspect.Parameter.empty)) for spec in specs])
  return tf.function(function, input_signature=list(specs), autograph=False)


def make(draw: Callable[..., Dict[str, tf.Tensor]], specs: Mapping[str, tf.TensorSpec], defaults: Mapping[str, Any],
         num_frames: int) -> Dict[str, tf.types.experimental.GenericFunction]:
  """The signatures by name.

  Args:
    draw: of the inputs by name, and `num_frames` where frames are asked for.
    specs: of all inputs that the model has.
    defaults: of the inputs that can be left out.
    num_frames: frames of a drawing; 0 where it cannot be recorded, and there is no draw_png.
  """

  def png(inputs, **further):
    drawn = draw(inputs, **further)
    outputs = {name: drawn[name] for name in _OUTPUTS if name in drawn}
    outputs.update({bytes_name: tf.io.encode_png(drawn[name]) for name, bytes_name in _PNG_NAMES.items()
                    if name in drawn})
    return outputs

  def signature(names, **further):
    chosen = [specs[name] for name in names if name in specs]
    return function_of(lambda inputs: png(inputs, **further), chosen, defaults)

  plain = ("class_weights", "seed", "num_steps", "temperature", "guidance")
  functions = {"synthesize_png": signature(plain), "refine_png": signature(("images", *plain, "canvas_noise"))}
  if num_frames:
    functions["draw_png"] = signature(plain, num_frames=num_frames)
  return functions
