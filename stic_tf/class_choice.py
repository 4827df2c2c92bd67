"""Which classes to draw, as class weights. No TensorFlow."""

from typing import Optional, Sequence

import numpy as np

from stic_tf import config as config_lib


def parse_soft_class(text: str, num_classes: int, flag: str) -> np.ndarray:
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
    config_lib.require(bool(colon), flag, text, "must have the form class:weight,class:weight")
    config_lib.require(0 <= label < num_classes, flag, text, f"classes lie in 0..{num_classes - 1}")
    config_lib.require(label not in seen, flag, text, f"names class {label} twice")
    seen.add(label)
    weights[label] = share
  on_simplex = np.isfinite(weights).all() and (weights >= 0).all() and abs(weights.sum() - 1.0) < 1e-4
  config_lib.require(bool(on_simplex), flag, text, "weights must be non-negative and sum to 1")
  return weights


def requested(count: int, class_names: Sequence[str], classes: Optional[str], soft_class: Optional[str],
              soft_flag: str) -> np.ndarray:
  """The class weights of the images that a command draws.

  Args:
    count: how many images.
    class_names: K names.
    classes: the value of --classes, "3,7" by number or name: these in turn.
    soft_class: the value of the flag `soft_flag`, "0:0.5,8:0.5": every image. Without either, all classes in turn.
    soft_flag: named in errors.

  Returns:
    float32 [count, K].

  Raises:
    ConfigError: both given, or a class that does not exist.
  """
  config_lib.require(not (classes and soft_class), soft_flag, soft_class, "cannot be given together with --classes")
  if soft_class:
    return np.tile(parse_soft_class(soft_class, len(class_names), soft_flag), [count, 1])
  labels = np.arange(len(class_names))
  if classes:
    labels = np.array([_class_number(text.strip(), class_names) for text in classes.split(",")])
  return np.eye(len(class_names), dtype=np.float32)[labels[np.arange(count) % len(labels)]]


def class_weights(given, class_names: Sequence[str]) -> np.ndarray:
  """Class weights from Python as float32 [N, K].

  Args:
    given: float [N, K] on the simplex (soft classes), or N integers or class names (hard classes).
    class_names: K names.

  Raises:
    ConfigError: a class that does not exist, or weights off the simplex.
  """
  num_classes = len(class_names)
  try:
    weights = np.asarray(given)
  except ValueError:  # rows of several lengths
    weights = np.array(given, object)
  if weights.ndim == 1 and np.issubdtype(weights.dtype, np.str_):
    labels = [_class_number(str(name), class_names, "class_weights") for name in weights]
    return np.eye(num_classes, dtype=np.float32)[labels]
  if weights.ndim == 1 and np.issubdtype(weights.dtype, np.integer):
    for label in weights:
      config_lib.require(0 <= label < num_classes, "class_weights", label,
                         f"classes are numbers in 0..{num_classes - 1} or class names")
    return np.eye(num_classes, dtype=np.float32)[weights]
  is_numeric = np.issubdtype(weights.dtype, np.number)
  config_lib.require(is_numeric and weights.ndim == 2 and weights.shape[1] == num_classes, "class_weights",
                     list(weights.shape), f"must be [N, {num_classes}], or N numbers or names of classes")
  weights = weights.astype(np.float32)
  on_simplex = np.isfinite(weights).all() and (weights >= 0).all() and np.allclose(weights.sum(1), 1.0, atol=1e-4)
  config_lib.require(bool(on_simplex), "class_weights", "…", "each row must be non-negative and sum to 1")
  return weights


def _class_number(text: str, class_names: Sequence[str], flag: str = "classes") -> int:
  if text in class_names:
    return list(class_names).index(text)
  known = text.isascii() and text.isdigit() and int(text) < len(class_names)
  config_lib.require(known, flag, text, f"must be numbers in 0..{len(class_names) - 1} or class names")
  return int(text)
