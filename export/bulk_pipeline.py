"""The shards of a bulk command over Apache Beam's workers, with progress, and what makes of them a TFDS data set."""

import os
import re
import shutil
import sys
import threading
import time
from typing import Callable, List, Sequence

import apache_beam as beam
import numpy as np
from apache_beam.options import pipeline_options
from apache_beam.runners import runner as runners
from apache_beam.runners.portability import fn_api_runner

from export import bulk_shard
from stic_tf import atomic_file
from stic_tf.config import ConfigError
from stic_tf.config import require

_PROGRESS_SECONDS = 2.0
_REASON = re.compile(r"ConfigError: (.+?)(?: \[while running|\\n|\n|$)")


class Make(beam.DoFn):
  """Makes the shard of each number; a process loads the model once.

  Args:
    work: what is made.
  """

  def __init__(self, work: bulk_shard.Work):
    self._work = work
    self._made, self._found = (beam.metrics.Metrics.counter("bulk", name) for name in ("made", "found"))

  def process(self, number):
    counts = bulk_shard.make(self._work, number)
    self._made.inc(counts["made"])
    self._found.inc(counts["found"])
    yield counts["made"]


def options(runner: str, processes: int, others: Sequence[str]) -> pipeline_options.PipelineOptions:
  """Beam's options: the runner, its processes where it is the direct one, and the user's own.

  Raises:
    ConfigError: no such runner, or an option in place of `processes`.
  """
  for option in others:
    name = option.lstrip("-").partition("=")[0]
    require(runner != "DirectRunner" or name not in ("direct_num_workers", "direct_running_mode"), name,
            option.partition("=")[2], "is what --processes sets")
  others = ["--default_sdk_harness_log_level=ERROR", *others]
  given = [f"--runner={runner}", *others]
  if runner == "DirectRunner":
    # By its own name: "DirectRunner" first looks for another one's program in the net.
    given = [f"--runner={fn_api_runner.FnApiRunner.__module__}.FnApiRunner", *others,
             f"--direct_num_workers={processes}",
             f"--direct_running_mode={'multi_processing' if processes > 1 else 'in_memory'}"]
  found = pipeline_options.PipelineOptions(given)
  try:
    runners.create_runner(found.view_as(pipeline_options.StandardOptions).runner)
  except (ValueError, ImportError, AttributeError) as problem:
    raise ConfigError(f"--runner={runner}: {problem}") from problem
  return found


def run(work: bulk_shard.Work, beam_options: pipeline_options.PipelineOptions,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)) -> dict:
  """Makes what is missing of a request; the same again makes nothing.

  Args:
    work: what is made. Its folder must be claimed.
    beam_options: as `options` gives them.
    say: is told of progress.

  Returns:
    {"made": rows, "found": rows, "seconds": …, "manifest": path}.

  Raises:
    ConfigError: no such runner, or a shard cannot be made.
  """
  folder, request, began = work.folder, work.request, time.monotonic()
  os.makedirs(folder.parts(), exist_ok=True)
  for leftovers in (folder.path, folder.parts()):
    atomic_file.remove_leftovers(leftovers)
  # A worker of its own process finds this checkout by it.
  os.environ["PYTHONPATH"] = os.pathsep.join([os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                              *filter(None, [os.environ.get("PYTHONPATH")])])
  over = threading.Event()
  watcher = threading.Thread(target=_watch, args=(work, over, say), daemon=True)
  watcher.start()
  try:
    pipeline = beam.Pipeline(options=beam_options)
    _ = (pipeline | "shards" >> beam.Create(range(request.num_shards)) | beam.Reshuffle()
         | "make" >> beam.ParDo(Make(work)))
    result = pipeline.run()
    result.wait_until_finish()
  except ConfigError:
    raise
  except Exception as problem:  # Beam passes on what a worker raised as text
    found = _REASON.search(str(problem))
    if found:
      raise ConfigError(found.group(1)) from problem
    raise
  finally:
    over.set()
    watcher.join()
  counts = {name: sum(counter.committed for counter in result.metrics().query(
      beam.metrics.MetricsFilter().with_name(name))["counters"]) for name in ("made", "found")}
  shards = _shards(work)
  manifest = folder.write_manifest(shards)
  _describe(work, shards)
  shutil.rmtree(folder.parts(), ignore_errors=True)
  return {**counts, "seconds": time.monotonic() - began, "manifest": manifest}


def _shards(work: bulk_shard.Work) -> List[dict]:
  folder, request, shards = work.folder, work.request, []
  for number in range(request.num_shards):
    rows = request.rows(number)
    path, expected = folder.shard(number), bulk_shard.read_hash(folder.hash_file(number))
    require(expected is not None, "out", folder.path, f"shard {number} is missing; the same command makes it")
    shards.append({"file": os.path.basename(path), "first": rows[0], "count": len(rows), "sha256": expected,
                   "bytes": os.path.getsize(path)})
  return shards


def rows_done(work: bulk_shard.Work) -> int:
  """How many rows the folder holds by now, in shards and in parts (of blocks of several sizes, at most)."""
  folder, request = work.folder, work.request
  whole = {number for number in range(request.num_shards) if os.path.exists(folder.hash_file(number))}
  done = sum(len(request.rows(number)) for number in whole)
  for name in os.listdir(folder.parts()) if os.path.isdir(folder.parts()) else []:
    number, *_, count = name.partition(".")[0].split("-")
    done += int(count) * (not atomic_file.is_leftover(name) and int(number) not in whole)
  return min(done, request.num_rows)


def _watch(work: bulk_shard.Work, over: threading.Event, say: Callable[[str], None]) -> None:
  total, first, began, told = work.request.num_rows, None, time.monotonic(), None
  while not over.wait(_PROGRESS_SECONDS):
    try:
      done = rows_done(work)
    except OSError:  # a file that was there is gone
      continue
    if first is None or first == done:
      first, began = done, time.monotonic()
      continue
    rate = (done - first) / (time.monotonic() - began)
    line = f"{done} of {total} images, {rate:.1f} a second, {(total - done) / rate:.0f} s left"
    if line != told:
      say(line)
    told = line


def _describe(work: bulk_shard.Work, shards: Sequence[dict]) -> None:
  """Writes what TFDS needs to read the folder: features, and how many records each shard has."""
  import tensorflow_datasets as tfds
  from tensorflow_datasets import features as tfds_features
  folder, request, model = work.folder, work.request, work.model()
  labels = {"label": tfds_features.ClassLabel(names=model.class_names)}
  weights = tfds_features.Tensor(shape=(len(model.class_names),), dtype=np.float32)
  density = {"log_density": tfds_features.Scalar(dtype=np.float32)}
  if request.task == "draw":
    features = {"image": tfds_features.Image(shape=model.image_shape, encoding_format="png"), **labels, **density,
                "class_weights": weights, "seed": tfds_features.Tensor(shape=(2,), dtype=np.int64)}
  else:
    known = ({"file": tfds_features.Text()} if work.images
             else {"index": tfds_features.Scalar(dtype=np.int64), **labels})
    answers = density if request.task == "log_density" else {
        "predicted": tfds_features.ClassLabel(names=model.class_names), "probabilities": weights}
    features = {**known, **answers}
  template = tfds.core.ShardedFileTemplate(data_dir=folder.path, dataset_name=request.name, split="train",
                                           filetype_suffix="tfrecord")
  split = tfds.core.SplitInfo(name="train", shard_lengths=[shard["count"] for shard in shards],
                              num_bytes=sum(shard["bytes"] for shard in shards), filename_template=template)
  tfds.folder_dataset.write_metadata(data_dir=folder.path, features=tfds_features.FeaturesDict(features),
                                     split_infos=[split], check_data=False)
