"""Timing in turns (A B C, B C A, …) and the JSON files of benchmarks.

On a machine with other work a time is a sample, not a constant. In turns, that work falls on all contestants alike, so
that a ratio of two times of one round says more than a ratio of two times of two runs.
"""

import json
import os
import platform
import time
from typing import Callable, Dict, Mapping, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

from stic_tf import atomic_file
from stic_tf import provenance


class Elapsed(NamedTuple):
  """Seconds of one run: by the clock, and of processor time over all threads."""

  wall: float
  cpu: float


# A contestant runs once and says how long it took.
Contestant = Callable[[], Elapsed]


def timed(function: Callable[[], tf.Tensor]) -> Contestant:
  """A contestant that calls `function`, which returns a small tensor, and waits for its value."""

  def run() -> Elapsed:
    wall, cpu = time.perf_counter(), time.process_time()
    function().numpy()
    return Elapsed(time.perf_counter() - wall, time.process_time() - cpu)

  return run


def in_turns(contestants: Mapping[str, Contestant], repetitions: int,
             on_round: Callable[[int], None] = lambda done: None) -> Dict[str, np.ndarray]:
  """Runs every contestant once a round, each round starting with the next of them, after one round that does not count.

  Returns:
    float64 [repetitions, 2] for each contestant: seconds by the clock, seconds of processor time.
  """
  names = list(contestants)
  times = {name: [] for name in names}
  for name in names:
    contestants[name]()
  for repetition in range(repetitions):
    first = repetition % len(names)
    for name in names[first:] + names[:first]:
      times[name].append(contestants[name]())
    on_round(repetition + 1)
  return {name: np.asarray(values, np.float64) for name, values in times.items()}


def spread(values: Sequence[float]) -> Dict[str, float]:
  """Median, quartiles and least value."""
  low, median, high = np.quantile(np.asarray(values), [0.25, 0.5, 0.75])
  return {"median": float(median), "quartile_1": float(low), "quartile_3": float(high), "least": float(np.min(values))}


def device_name() -> str:
  """What the numbers were measured on."""
  gpus = tf.config.list_physical_devices("GPU")
  if gpus:
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
  model = platform.processor() or platform.machine()
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
      model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
  except OSError:
    pass
  return f"CPU: {model}, {os.cpu_count()} cores"


def pin_threads(threads: int) -> None:
  """Holds TensorFlow to so many threads; to be called before it has run anything."""
  tf.config.threading.set_intra_op_parallelism_threads(threads)
  tf.config.threading.set_inter_op_parallelism_threads(threads)


def circumstances(threads: int) -> dict:
  """The entries every benchmark's JSON has."""
  return {"device": device_name(), "threads": threads, "versions": provenance.versions(),
          "git_commit": provenance.git_commit(), "load_average": os.getloadavg()[0]}


def write_json(path: str, report: dict) -> None:
  """Writes the report aside and renames it."""
  atomic_file.write_text(path, json.dumps(report, indent=1) + "\n")
