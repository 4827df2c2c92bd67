"""What a bulk command is asked for, which rows each shard holds, and the files of its folder."""

import dataclasses
import json
import math
import os
from typing import Optional, Sequence

import numpy as np

from stic_tf import atomic_file
from stic_tf import class_choice
from stic_tf.config import ConfigError
from stic_tf.config import require

TASKS = ("draw", "classify", "log_density")
_REQUEST, _MANIFEST, _PARTS = "request.json", "manifest.json", "parts"


@dataclasses.dataclass(frozen=True)
class Request:
  """One bulk command: everything that its records depend on, and nothing else.

  Attributes:
    task: draw, classify or log_density.
    model: SHA-256 of the model's files.
    name: of the data set that is written.
    num_rows: drawings, or images that are classified.
    rows_a_shard: of all shards but the last.
    seed: drawing i has the seed pair (seed, i).
    classes: "3,7" by number or name: these in turn; None for all in turn. Of drawings.
    class_weights: "0:0.5,8:0.5" for every drawing.
    num_steps, temperature, guidance: of drawings; None for the model's own.
    source: of images: what names them, a data set with its split, or a folder and what its files are.
  """

  task: str
  model: str
  name: str
  num_rows: int
  rows_a_shard: int
  seed: int = 0
  classes: Optional[str] = None
  class_weights: Optional[str] = None
  num_steps: Optional[int] = None
  temperature: Optional[float] = None
  guidance: Optional[float] = None
  source: Optional[str] = None

  def __post_init__(self):
    require(self.num_rows >= 1, "num_images", self.num_rows, "must be at least 1")
    require(self.rows_a_shard >= 1, "images_per_shard", self.rows_a_shard, "must be at least 1")
    require(0 <= self.seed < 2 ** 63, "seed", self.seed, "must lie in [0, 2^63)")
    require(self.num_steps is None or self.num_steps >= 1, "num_steps", self.num_steps, "must be at least 1")
    require(self.temperature is None or 0 < self.temperature < float("inf"), "temperature", self.temperature,
            "must be a finite number above 0")
    require(self.guidance is None or math.isfinite(self.guidance), "guidance", self.guidance, "must be a finite number")

  @property
  def num_shards(self) -> int:
    """How many shards there are."""
    return -(-self.num_rows // self.rows_a_shard)

  def rows(self, shard: int) -> range:
    """The rows of a shard."""
    return range(shard * self.rows_a_shard, min((shard + 1) * self.rows_a_shard, self.num_rows))

  def weights(self, rows: Sequence[int], class_names: Sequence[str]) -> np.ndarray:
    """Class weights of some drawings, float32 [B, K].

    Raises:
      ConfigError: a class that does not exist.
    """
    first, period = rows[0], len(self.classes.split(",")) if self.classes else len(class_names)
    # Classes come in turn: those of the rows before are not made.
    skipped = first % period
    return class_choice.requested(skipped + len(rows), class_names, self.classes, self.class_weights,
                                  "class_weights")[skipped:]

  def seeds(self, rows: Sequence[int]) -> np.ndarray:
    """Seed pairs of some drawings, int64 [B, 2]."""
    return np.stack([np.full(len(rows), self.seed, np.int64), np.asarray(rows, np.int64)], axis=1)


class Folder:
  """The folder that a request fills: shards with their hashes, parts of shards in the making, the manifest.

  Args:
    path: of the folder, made if need be.
    request: what it is to hold.
  """

  def __init__(self, path: str, request: Request):
    self.path, self.request = os.path.abspath(os.path.expanduser(path)), request

  def claim(self) -> None:
    """Writes down the request, or finds it written down already.

    Raises:
      ConfigError: the folder is that of another request, or holds other things.
    """
    given, path = dataclasses.asdict(self.request), os.path.join(self.path, _REQUEST)
    if os.path.exists(path):
      try:
        with open(path, encoding="utf-8") as file:
          there = json.load(file)
        differing = sorted(name for name in {*there, *given} if there.get(name) != given.get(name))
      except (ValueError, AttributeError) as problem:
        raise ConfigError(f"--out={self.path}: {_REQUEST} cannot be read ({problem})") from problem
      what = ", ".join(f"{name} {there.get(name)!r} there, {given.get(name)!r} here" for name in differing)
      require(not differing, "out", self.path, f"is the folder of another request ({what})")
      return
    others = [name for name in (os.listdir(self.path) if os.path.isdir(self.path) else [])
              if not atomic_file.is_leftover(name)]
    require(not others, "out", self.path, f"must be empty or the folder of this request; it holds {others[:1]}")
    atomic_file.write_text(path, json.dumps(given, indent=1) + "\n")

  def shard(self, number: int) -> str:
    """The path of a shard, as TFDS names it."""
    request = self.request
    return os.path.join(self.path, f"{request.name}-train.tfrecord-{number:05d}-of-{request.num_shards:05d}")

  def hash_file(self, number: int) -> str:
    """The path of what holds a shard's SHA-256, in the form of `sha256sum`."""
    return self.shard(number) + ".sha256"

  def part(self, number: int, rows: Sequence[int]) -> str:
    """The path of some rows of a shard in the making: by the rows themselves, as blocks can be of any size."""
    return os.path.join(self.path, _PARTS, f"{number:05d}-{rows[0]}-{len(rows)}.tfrecord")

  def parts(self) -> str:
    """The folder of the parts and hashes."""
    return os.path.join(self.path, _PARTS)

  def write_manifest(self, shards: Sequence[dict]) -> str:
    """Writes manifest.json, the request, how many images there are and what each shard is; returns its path."""
    path = os.path.join(self.path, _MANIFEST)
    text = json.dumps({"request": dataclasses.asdict(self.request), "images": self.request.num_rows,
                       "shards": list(shards)}, indent=1)
    atomic_file.write_text(path, text + "\n")
    return path
