"""Judge weights on disk: what names them, and reading and writing that survive a bad file or an interrupted write."""

import dataclasses
import hashlib
import os
import zipfile
import zlib

import numpy as np
import tensorflow as tf


class UnreadableCache(ValueError):
  """A cached weight file is damaged or belongs to another network."""


def cache_key(images: np.ndarray, labels: np.ndarray, num_classes: int, seed: int, settings) -> str:
  """SHA-256, in hex, of everything the judge's weights come from: data, classes, seed, settings, TensorFlow version."""
  header = repr((images.shape, str(images.dtype), labels.shape, str(labels.dtype), num_classes, seed,
                 sorted(dataclasses.asdict(settings).items()), tf.__version__))
  digest = hashlib.sha256(header.encode())
  digest.update(np.ascontiguousarray(images))
  digest.update(np.ascontiguousarray(labels))
  return digest.hexdigest()


def file_digest(path: str) -> str:
  """SHA-256 of a file, in hex."""
  digest = hashlib.sha256()
  with open(path, "rb") as file:
    for block in iter(lambda: file.read(1 << 20), b""):
      digest.update(block)
  return digest.hexdigest()


def read_weights(path: str, like: list) -> list:
  """The arrays at `path`, shaped as those of `like`.

  Raises:
    UnreadableCache: no archive of that many finite arrays of those shapes and types.
  """
  try:
    with np.load(path, allow_pickle=False) as archive:
      weights = [archive[f"weight_{index:03d}"] for index in range(len(like))]
      count = len(archive.files)
  # A damaged archive fails in any of these ways, by where the damage lies; TypeError/AttributeError: a bare array.
  except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError,
          zipfile.BadZipFile, zlib.error) as error:
    raise UnreadableCache(f"{type(error).__name__}: {error}") from error
  if count != len(like):
    raise UnreadableCache(f"it holds {count} arrays, not {len(like)}")
  for array, expected in zip(weights, like):
    if array.shape != expected.shape or array.dtype != expected.dtype:
      raise UnreadableCache(f"{array.dtype} {array.shape} where {expected.dtype} {expected.shape} belongs")
    if not np.isfinite(array).all():
      raise UnreadableCache("a weight is not finite")
  return weights


def write_weights(path: str, weights: list) -> None:
  """Writes the arrays aside and moves them to `path`: a reader sees all of them or none. Raises OSError."""
  os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
  aside = f"{path}.{os.getpid()}.tmp"
  try:
    with open(aside, "wb") as file:
      np.savez(file, **{f"weight_{index:03d}": array for index, array in enumerate(weights)})
    os.replace(aside, path)
  finally:
    if os.path.exists(aside):
      os.remove(aside)
