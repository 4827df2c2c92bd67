"""--mode=sample: draws from a run folder into a PNG grid or an npz."""

import os
import sys

import numpy as np
import tqdm

from stic_tf import atomic_file
from stic_tf import config as config_lib
from stic_tf import grid
from stic_tf import replicas
from trainers import checkpointing
from trainers import evaluate
from trainers import flags as trainer_flags

_MAX_IMAGES = 1_000_000
_MAX_IMAGES_RECORDED = 1000


def parse_class_weights(text: str, num_classes: int) -> np.ndarray:
  """"0:0.5,8:0.5" -> float32 [K].

  Raises:
    ConfigError: not of that form, a class that does not exist or is named twice, or weights off the simplex.
  """
  weights = np.zeros(num_classes, np.float32)
  seen = set()
  for part in text.split(","):
    label, colon, share = part.partition(":")
    try:
      label, share = int(label), float(share)
    except ValueError:
      colon = ""
    config_lib.require(bool(colon), "class_weights", text, "must have the form class:weight,class:weight")
    config_lib.require(0 <= label < num_classes, "class_weights", text, f"classes lie in 0..{num_classes - 1}")
    config_lib.require(label not in seen, "class_weights", text, f"names class {label} twice")
    seen.add(label)
    weights[label] = share
  on_simplex = np.isfinite(weights).all() and (weights >= 0).all() and abs(weights.sum() - 1.0) < 1e-4
  config_lib.require(bool(on_simplex), "class_weights", text, "weights must be non-negative and sum to 1")
  return weights


def _requested_weights(values, classifier) -> np.ndarray:
  """float32 [num_images, K] of --classes or --class_weights; all classes in turn where neither is given."""
  count, num_classes = values.num_images, classifier.num_classes
  config_lib.require(not (values.classes and values.class_weights), "class_weights", values.class_weights,
                     "cannot be given together with --classes")
  if values.class_weights:
    return np.tile(parse_class_weights(values.class_weights, num_classes), [count, 1])
  labels = np.arange(num_classes)
  if values.classes:
    labels = np.array([_class_number(text.strip(), classifier.class_names) for text in values.classes.split(",")])
  return np.eye(num_classes, dtype=np.float32)[labels[np.arange(count) % len(labels)]]


def _class_number(text: str, class_names) -> int:
  if text in class_names:
    return class_names.index(text)
  known = text.isascii() and text.isdigit() and int(text) < len(class_names)
  config_lib.require(known, "classes", text, f"must be numbers in 0..{len(class_names) - 1} or class names")
  return int(text)


def _arrangement(drawings):
  """(order, columns) of a grid: a row a class where there are several, so that classes do not alternate along a row."""
  labels = drawings.class_weights.argmax(1)
  num_rows = len(np.unique(labels))
  columns = len(labels) // num_rows if len(labels) % num_rows == 0 and num_rows > 1 else min(8, len(labels))
  return np.argsort(labels, kind="stable"), min(columns, 32)


def run(values) -> None:
  """Draws --num_images images; image i has the seed pair (--seed, i).

  Raises:
    ConfigError: no such run, class or file ending.
  """
  out = values.out or ""
  config_lib.require(out.endswith((".png", ".npz")), "out", out, "must end in .png or .npz")
  config_lib.require(1 <= values.num_images <= _MAX_IMAGES, "num_images", values.num_images,
                     f"must lie in 1..{_MAX_IMAGES}")
  gif = values.record_drawing
  config_lib.require(gif is None or gif.endswith(".gif"), "record_drawing", gif, "must end in .gif")
  config_lib.require(gif is None or values.num_images <= _MAX_IMAGES_RECORDED, "num_images", values.num_images,
                     f"must be at most {_MAX_IMAGES_RECORDED} with --record_drawing")
  classifier, settings = checkpointing.load_classifier(values.run_dir, replicas.make_strategy(values.num_replicas))
  weights = _requested_weights(values, classifier)
  # A flagfile that repeats the run's settings changes nothing: step_size is then the one that training arrived at.
  given = trainer_flags.overrides(values, settings, ("num_steps", "temperature", "step_size"))
  with tqdm.tqdm(total=len(weights), unit="image", disable=not sys.stderr.isatty()) as bar:
    drawings = classifier.draw(weights, values.seed, on_batch=lambda done: bar.update(done - bar.n),
                               num_frames=evaluate.FRAMES if gif else 0, **given)
  if out.endswith(".npz"):
    names = ("images", "class_weights", "seeds", "log_density", "probabilities")
    atomic_file.write_npz(out, {name: getattr(drawings, name) for name in names})
  else:
    order, columns = _arrangement(drawings)
    grid.write_png(out, grid.make_grid(drawings.images[order], columns))
  if gif:
    order, columns = _arrangement(drawings)
    grid.write_gif(gif, [grid.make_grid(drawings.frames[order, number], columns) for number in range(evaluate.FRAMES)])
  print(f"{len(weights)} drawings, acceptance {drawings.acceptance_rate.mean():.3f}: {os.path.abspath(out)}")
