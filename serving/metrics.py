"""Counters and histograms, and their text in Prometheus' format with tensorflow_model_server's names."""

import bisect
import itertools
import threading
from typing import Dict, List, Sequence, Tuple

MICROSECONDS = tuple(10 * 1.8 ** power for power in range(32))
SIZES = tuple(2.0 ** power for power in range(15))

_LOCK = threading.Lock()
_ALL: List["_Metric"] = []


class _Metric:
  """Values by the values of its labels. Label values must be few: they are never forgotten."""

  kind = ""

  def __init__(self, name: str, labels: Sequence[str]):
    self.name = name
    self.labels = tuple(labels)
    with _LOCK:
      _ALL.append(self)

  def _label_text(self, values: Sequence[str], more: str = "") -> str:
    pairs = [f'{name}="{_escape(value)}"' for name, value in zip(self.labels, values)]
    return "{" + ",".join(pairs + [more] * bool(more)) + "}"


def _escape(value: str) -> str:
  return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Counter(_Metric):
  """Counts events."""

  kind = "counter"

  def __init__(self, name: str, labels: Sequence[str]):
    super().__init__(name, labels)
    self._values: Dict[Tuple[str, ...], int] = {}

  def add(self, labels: Tuple[str, ...]) -> None:
    with _LOCK:
      self._values[labels] = self._values.get(labels, 0) + 1

  def lines(self) -> List[str]:
    return [f"{self.name}{self._label_text(labels)} {value}" for labels, value in self._values.items()]


class Histogram(_Metric):
  """Counts values by size."""

  kind = "histogram"

  def __init__(self, name: str, labels: Sequence[str], limits: Sequence[float]):
    super().__init__(name, labels)
    self._limits = tuple(limits)
    self._values: Dict[Tuple[str, ...], List[float]] = {}

  def add(self, labels: Tuple[str, ...], value: float) -> None:
    with _LOCK:
      counts = self._values.setdefault(labels, [0] * (len(self._limits) + 1) + [0.0])
      counts[bisect.bisect_left(self._limits, value)] += 1
      counts[-1] += value

  def lines(self) -> List[str]:
    lines = []
    for labels, counts in self._values.items():
      cumulative = list(itertools.accumulate(counts[:-1]))
      for limit, count in zip([f"{limit:g}" for limit in self._limits] + ["+Inf"], cumulative):
        lines.append(f"{self.name}_bucket{self._label_text(labels, f'le={chr(34)}{limit}{chr(34)}')} {count}")
      lines.append(f"{self.name}_sum{self._label_text(labels)} {counts[-1]:g}")
      lines.append(f"{self.name}_count{self._label_text(labels)} {cumulative[-1]}")
    return lines


def text() -> str:
  """All metrics of the process."""
  with _LOCK:
    lines = [line for metric in _ALL for line in [f"# TYPE {metric.name} {metric.kind}", *metric.lines()]]
  return "\n".join(lines) + "\n"
