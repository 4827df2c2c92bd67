"""Which classes a command draws, as class weights. No TensorFlow."""

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


def _class_number(text: str, class_names: Sequence[str]) -> int:
  if text in class_names:
    return list(class_names).index(text)
  known = text.isascii() and text.isdigit() and int(text) < len(class_names)
  config_lib.require(known, "classes", text, f"must be numbers in 0..{len(class_names) - 1} or class names")
  return int(text)
