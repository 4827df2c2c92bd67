"""Until when a request may be worked on: its deadline, or the moment its client is seen to have left."""

import time
from typing import Optional


class Deadline:
  """A moment on the monotonic clock.

  Attributes:
    at: that moment in seconds, infinity for never.
  """

  def __init__(self, seconds: Optional[float] = None):
    """`seconds` from now; None for never."""
    self.at = float("inf") if seconds is None else time.monotonic() + seconds

  def remaining(self) -> float:
    """Seconds left, negative where it has passed, infinity for never."""
    return self.at - time.monotonic()

  def timeout(self) -> Optional[float]:
    """Seconds left for functions that wait: at least 0, None for never."""
    return None if self.at == float("inf") else max(0.0, self.remaining())

  def is_over(self) -> bool:
    return self.at <= time.monotonic()

  def end(self) -> None:
    """Nobody waits any longer: work that has not started need not."""
    self.at = min(self.at, time.monotonic())
