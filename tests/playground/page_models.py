"""Models for the page: a real one, untrained, and those that only look like an export, with any class names."""

import dataclasses
import os
from typing import Sequence

import tensorflow as tf

from export import png_signatures
from export import serving_module
from tests import untrained_classifiers


def save_real(name: str, base: str) -> None:
  """Saves version 1 of one of untrained_classifiers.CLASSIFIERS under BASE/NAME: as an export, but for its gate."""
  module = serving_module.ServingModule(untrained_classifiers.CLASSIFIERS[name](), max_steps=60)
  names = ("classify", "synthesize_png", "refine_png", "draw_png", "settings")
  functions = {name: module.functions[name] for name in names if name in module.functions}
  _save(module, os.path.join(base, name), functions)


def save_named(name: str, base: str, class_names: Sequence[str], in_strokes: bool = False,
               delay_rounds: int = 0) -> None:
  """Saves version 1 of a model with these classes: its drawing of class k is 8×8 pixels of 7 k + seed, modulo 256.

  Args:
    in_strokes: it also has frames, which grow brighter, and strokes in 4×4 tiles.
    delay_rounds: of a loop that each drawing waits for.
  """
  count, frames, grid = len(class_names), 16 * in_strokes, 4 * in_strokes
  specs = [tf.TensorSpec([None, count], tf.float32, "class_weights"), tf.TensorSpec([None, 2], tf.int64, "seed"),
           tf.TensorSpec([None], tf.int32, "num_steps"), tf.TensorSpec([None], tf.float32, "temperature")]
  images = tf.TensorSpec([None, 8, 8, 1], tf.uint8, "images")
  defaults = {"num_steps": tf.constant([5]), "temperature": tf.constant([1.0])}

  def draw(inputs, num_frames=0):
    waited, = tf.while_loop(lambda i: i < delay_rounds, lambda i: (i + 1,), [tf.constant(0)], parallel_iterations=1)
    weights = inputs["class_weights"]
    place = tf.argmax(weights, axis=1) + 0 * tf.cast(waited, tf.int64)
    grey = tf.cast((7 * place + inputs["seed"][:, 0]) % 256, tf.uint8)
    drawn = tf.tile(grey[:, tf.newaxis, tf.newaxis, tf.newaxis], [1, 8, 8, 1])
    answer = {"images": drawn, "probabilities": weights, "log_density": -tf.cast(grey, tf.float32)}
    if num_frames:
      shares = tf.range(1.0, num_frames + 1) / num_frames
      answer["frames"] = tf.cast(shares[:, tf.newaxis, tf.newaxis, tf.newaxis] * tf.cast(
          drawn[:, tf.newaxis], tf.float32), tf.uint8)
    if grid:
      answer["strokes"] = tf.tile(tf.range(float(grid ** 2))[tf.newaxis], [tf.shape(grey)[0], 1])
    return answer

  def classify(inputs):
    grey = tf.cast(tf.reduce_mean(tf.cast(inputs["images"], tf.float32), axis=[1, 2, 3]), tf.int32)
    return {"probabilities": tf.one_hot(grey % count, count), "label": grey % count}

  values = {"num_steps": [5], "temperature": [1.0], "max_steps": [20], "temperature_range": [0.01, 100.0],
            "class_names": list(class_names), "image_shape": [8, 8, 1], "num_frames": [frames], "tile_grid": [grid],
            "guidance_range": [], "canvas_noise_range": []}
  assert list(values) == [field.name for field in dataclasses.fields(serving_module.Settings)]
  values = {name: tf.constant(value) for name, value in values.items()}
  functions = png_signatures.make(draw, {spec.name: spec for spec in (images, *specs)}, defaults, frames)
  functions["classify"] = png_signatures.function_of(classify, [images], {})
  functions["settings"] = png_signatures.function_of(
      lambda inputs: inputs, [tf.TensorSpec([None], value.dtype, name) for name, value in values.items()], values)
  _save(tf.Module(), os.path.join(base, name), functions)


def _save(module: tf.Module, folder: str, functions) -> None:
  tf.saved_model.save(module, os.path.join(folder, "1"), {"serving_default": functions["classify"], **functions})


def config(base: str, *names: str) -> str:
  """A model_config_file for models under `base`: its path."""
  entries = "\n".join(f'config {{ name: "{name}" base_path: "{base}/{name}" model_platform: "tensorflow" }}'
                      for name in names)
  path = os.path.join(base, "models.config")
  with open(path, "w", encoding="utf-8") as file:
    file.write(f"model_config_list {{\n{entries}\n}}\n")
  return path
