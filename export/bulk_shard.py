"""One shard of a bulk command: made block by block, so that a process that is killed loses a block and no more."""

import dataclasses
import hashlib
import os
from typing import Dict, List, Optional, Sequence

import numpy as np

from export import bulk_images
from export import bulk_model
from export import bulk_request
from stic_tf import atomic_file
from stic_tf.config import ConfigError


@dataclasses.dataclass(frozen=True)
class Work:
  """What a process needs to make shards.

  Attributes:
    request: what is asked for.
    out: the folder that is filled.
    export_dir, run_dir: the model, one of the two.
    rows_at_once: rows of a block; no record depends on it.
    threads: of TensorFlow, in each process.
    dataset, split, data_dir: whose images are classified; or
    images: a folder of picture files.
  """

  request: bulk_request.Request
  out: str
  export_dir: Optional[str] = None
  run_dir: Optional[str] = None
  rows_at_once: int = 64
  threads: int = 1
  dataset: Optional[str] = None
  split: Optional[str] = None
  data_dir: Optional[str] = None
  images: Optional[str] = None

  @property
  def folder(self) -> bulk_request.Folder:
    """The folder that is filled."""
    return bulk_request.Folder(self.out, self.request)

  def model(self) -> bulk_model.Model:
    """Its model, which must be the one that was asked for; a process loads it once."""
    return bulk_model.load(self.export_dir, self.run_dir, self.threads, self.request.model)


def make(work: Work, number: int) -> Dict[str, int]:
  """Makes a shard, unless it is there and has its hash; returns how many rows were found, and how many made.

  Raises:
    ConfigError: it cannot be written, or an image not read. No shard is left half-written.
  """
  folder, rows = work.folder, work.request.rows(number)
  shard, hash_file = folder.shard(number), folder.hash_file(number)
  if _is_whole(shard, hash_file):
    return {"found": len(rows), "made": 0}
  work.model()  # sets TensorFlow's threads, before anything of it runs
  # One without a hash is a leftover of a kill, and one with another is damaged: neither is to be read meanwhile.
  for path in (hash_file, shard):
    if os.path.lexists(path):
      os.unlink(path)
  blocks = [rows[start:start + work.rows_at_once] for start in range(0, len(rows), work.rows_at_once)]
  parts, made = [folder.part(number, block) for block in blocks], 0
  try:
    for block, part in zip(blocks, parts):
      if not _is_part(part, len(block)):
        with atomic_file.aside(part) as path:
          _write_records(path, _records(work, block))
        made += len(block)
    with atomic_file.replace(shard) as file:
      for part in parts:
        with open(part, "rb") as source:
          file.write(source.read())
    with open(shard, "rb") as file:
      atomic_file.write_text(hash_file, f"{hashlib.sha256(file.read()).hexdigest()}  {os.path.basename(shard)}\n")
  except OSError as problem:
    reason = atomic_file.why_unwritable(problem)
    if reason is None:
      raise
    raise ConfigError(f"--out={work.out}: {reason} ({problem})") from problem
  for part in parts:
    os.unlink(part)
  return {"found": len(rows) - made, "made": made}


def read_hash(hash_file: str) -> Optional[str]:
  """The SHA-256 that a hash file holds, None where there is none."""
  try:
    with open(hash_file, encoding="utf-8") as file:
      return file.read().split()[0]
  except (FileNotFoundError, IndexError):
    return None


def _is_whole(shard: str, hash_file: str) -> bool:
  expected = read_hash(hash_file)
  if expected is None or not os.path.isfile(shard):
    return False
  with open(shard, "rb") as file:
    return hashlib.sha256(file.read()).hexdigest() == expected


def _is_part(path: str, count: int) -> bool:
  """Whether a part is there with so many records, each with its checksum."""
  if not os.path.isfile(path):
    return False
  import tensorflow as tf
  try:
    return sum(1 for _ in tf.data.TFRecordDataset(path)) == count
  except tf.errors.OpError:
    return False


def _write_records(path: str, records: Sequence[bytes]) -> None:
  import tensorflow as tf
  try:
    with tf.io.TFRecordWriter(path) as writer:
      for record in records:
        writer.write(record)
  except tf.errors.ResourceExhaustedError as problem:
    raise ConfigError(f"{os.path.dirname(path)}: the disk is full ({problem.message})") from problem


def _records(work: Work, rows: Sequence[int]) -> List[bytes]:
  model, request = work.model(), work.request
  if request.task == "draw":
    weights, seeds = request.weights(rows, model.class_names), request.seeds(rows)
    drawn = model.draw(weights, seeds, request.num_steps, request.temperature, request.guidance)
    columns = zip(_pngs(drawn["images"]), weights.tolist(), seeds.tolist(), drawn["log_density"].tolist())
    return [_example(image=[png], label=[row.index(max(row))], class_weights=row, seed=seed, log_density=[log_density])
            for png, row, seed, log_density in columns]
  if work.images:
    paths = bulk_images.files(work.images)[rows[0]:rows[-1] + 1]
    images = bulk_images.read(paths, model.image_shape)
    known = [{"file": [os.path.relpath(path, os.path.expanduser(work.images)).encode()]} for path in paths]
  else:
    images, labels = bulk_images.of_dataset(work.dataset, work.split, work.data_dir)
    images = images[rows[0]:rows[-1] + 1]
    known = [{"index": [row], "label": [int(labels[row])]} for row in rows]
  answer = model.answer(images)
  if request.task == "log_density":
    return [_example(log_density=[value], **fields) for value, fields in zip(answer["log_density"].tolist(), known)]
  return [_example(predicted=[row.index(max(row))], probabilities=row, **fields)
          for row, fields in zip(answer["probabilities"].tolist(), known)]


def _pngs(images: np.ndarray) -> List[bytes]:
  import tensorflow as tf
  return tf.io.encode_png(images).numpy().tolist()


def _example(**features) -> bytes:
  """A tf.train.Example of lists of bytes, integers or floats by name; serialised in one order."""
  import tensorflow as tf
  example = tf.train.Example()
  for name, values in features.items():
    feature = example.features.feature[name]
    kind = {bytes: feature.bytes_list, int: feature.int64_list, float: feature.float_list}[type(values[0])]
    kind.value.extend(values)
  return example.SerializeToString(deterministic=True)
