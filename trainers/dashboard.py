"""What a person watches while a run trains: the progress bar, TensorBoard and the profiler."""

import contextlib
import sys
import time
from typing import Dict, Iterator, Optional, Tuple

import numpy as np
import tensorflow as tf
import tqdm


class Dashboard:
  """The progress bar (stderr) and TensorBoard's scalars, images and text.

  Args:
    logdir: TensorBoard's folder.
    flag_lines: the run's flags, shown as text.
    total_updates, updates_done: of the whole run.
    profile_window: (first, last) update of this command to profile, or None.
  """

  def __init__(self, logdir: str, flag_lines, total_updates: int, updates_done: int,
               profile_window: Optional[Tuple[int, int]]):
    self.logdir = logdir
    self.writer = tf.summary.create_file_writer(logdir)
    self.bar = tqdm.tqdm(total=total_updates, initial=updates_done, unit="update", mininterval=1.0, file=sys.stderr,
                         dynamic_ncols=True)
    self._profile_window = profile_window
    self._updates_seen = 0
    self._profiling = False
    self._figures: Dict[str, str] = {}
    with self.writer.as_default(step=updates_done):
      tf.summary.text("flags", "    " + "\n    ".join(flag_lines))

  def on_update(self, number_of_pass: int, logs: Dict[str, float]) -> None:
    """After an update: moves the bar."""
    self._figures["pass"] = str(number_of_pass)
    if "acceptance_rate" in logs:
      self._figures["acceptance"] = f"{logs['acceptance_rate']:.2f}"
    self.bar.update()
    self.bar.set_postfix(self._figures, refresh=False)

  @contextlib.contextmanager
  def step(self) -> Iterator[None]:
    """To be held around each update: starts and stops the profiler, and marks the step in its trace."""
    self._updates_seen += 1
    first, last = self._profile_window or (0, 0)
    if self._updates_seen == first:
      options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0)
      tf.profiler.experimental.start(self.logdir, options)
      self._profiling = True
    if not self._profiling:
      yield
      return
    with tf.profiler.experimental.Trace("train", step_num=self._updates_seen, _r=1):
      yield
    if self._updates_seen >= last:
      self._stop_profiler()

  def on_pass(self, row: dict, picture: np.ndarray) -> None:
    """After a pass: `row` as in metrics.jsonl, `picture` uint8 [H, W, C]."""
    with self.writer.as_default(step=row["step"]):
      for name, value in row.items():
        if isinstance(value, (int, float)) and name != "step":
          tf.summary.scalar(name, value)
      tf.summary.image("drawings", picture[np.newaxis])
    self.writer.flush()
    self._figures.update(accuracy=f"{row['test_accuracy']:.4f}")
    if row.get("fid") is not None:
      self._figures.update(FID=f"{row['fid']:.1f}", floor=f"{row['fid_floor']:.1f}")
    self.bar.set_postfix(self._figures)

  def say(self, line: str) -> None:
    """Prints a line above the bar."""
    self.bar.write(line, file=sys.stderr)

  def rewind(self, updates_done: int) -> None:
    """After a rollback."""
    self.bar.n = updates_done
    self.bar.refresh()

  def close(self) -> None:
    if self._profiling:
      self._stop_profiler()
    self.bar.close()
    self.writer.close()

  def _stop_profiler(self) -> None:
    tf.profiler.experimental.stop()
    self._profiling = False


class Clock:
  """Seconds of training, over resumed commands."""

  def __init__(self, seconds_before: float):
    self._offset = seconds_before - time.monotonic()

  def seconds(self) -> float:
    return self._offset + time.monotonic()
