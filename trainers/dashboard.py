"""What a person watches while a run trains: the progress bar and TensorBoard's pages."""

import sys
import time
from typing import Dict

import keras
import numpy as np
import tensorflow as tf
import tqdm


class Dashboard:
  """The progress bar (stderr) and TensorBoard's scalars, images and text.

  Args:
    logdir: TensorBoard's folder.
    flag_lines: the run's flags, shown as text.
    total_updates, updates_done: of the whole run.
  """

  def __init__(self, logdir: str, flag_lines, total_updates: int, updates_done: int):
    self.writer = tf.summary.create_file_writer(logdir)
    self.bar = tqdm.tqdm(total=total_updates, initial=updates_done, unit="update", mininterval=1.0, file=sys.stderr,
                         dynamic_ncols=True)
    self._figures: Dict[str, str] = {}
    with self.writer.as_default(step=updates_done):
      tf.summary.text("flags", "    " + "\n    ".join(flag_lines))

  def progress(self) -> keras.callbacks.Callback:
    """Moves the bar while `fit` runs."""
    return keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: self._on_epoch(epoch),
        on_batch_end=lambda batch, logs: self._on_update(batch, logs))

  def _on_epoch(self, epoch: int) -> None:
    self._figures["pass"], self._epoch_began = str(epoch + 1), self.bar.n

  def _on_update(self, batch: int, logs: Dict[str, float]) -> None:
    if "acceptance_rate" in logs:
      self._figures["acceptance"] = f"{logs['acceptance_rate']:.2f}"
    self.bar.update(self._epoch_began + batch + 1 - self.bar.n)
    self.bar.set_postfix(self._figures, refresh=False)

  def on_pass(self, row: dict, picture: np.ndarray) -> None:
    """After a pass: `row` as in metrics.jsonl, `picture` uint8 [H, W, C]."""
    with self.writer.as_default(step=row["step"]):
      for name, value in row.items():
        if isinstance(value, (int, float)) and name != "step":
          tf.summary.scalar(name, value)
      tf.summary.image("drawings", picture[np.newaxis])
    self.writer.flush()
    self._figures.update(accuracy=f"{row['validation_accuracy']:.4f}")
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
    self.bar.close()
    self.writer.close()


class Silence:
  """The dashboard of a worker that only trains."""

  def say(self, line: str) -> None:
    """The chief says the same."""

  def rewind(self, updates_done: int) -> None:
    """As `Dashboard`."""

  def close(self) -> None:
    """As `Dashboard`."""


class Clock:
  """Seconds of training, over resumed commands."""

  def __init__(self, seconds_before: float):
    self._offset = seconds_before - time.monotonic()

  def seconds(self) -> float:
    return self._offset + time.monotonic()
