"""Claims about figures of two arms: paired differences over seeds, their intervals, a verdict each."""

import math
from typing import Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np
from scipy import stats

from stic_tf.config import require

GAVE_UP = "gave up"  # the figure of a run that diverged for good
# A difference so many standard errors wide is told from none in four of five cases.
_DECIDED = float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))

# A number a seed; None of a run that has no such figure.
Figures = Sequence[Union[float, str, None]]


class Claim(NamedTuple):
  """That a figure of arm `better` is above (sign 1) or below (-1) that of `than`."""

  text: str
  figure: str
  better: str
  than: str
  sign: int


def paired(one: Sequence[float], other: Sequence[float]) -> dict:
  """Mean of the differences of two arms' figures and its 95 % interval, by Student's t.

  Raises:
    ConfigError: fewer than two seeds.
  """
  require(len(one) >= 2, "seeds", len(one), "must be at least 2 for an interval")
  differences = np.subtract(one, other)
  mean, error = float(differences.mean()), float(differences.std(ddof=1) / math.sqrt(len(differences)))
  half = float(stats.t.ppf(0.975, len(differences) - 1)) * error
  return {"mean": mean, "low": mean - half, "high": mean + half, "deviation": float(differences.std(ddof=1)),
          "seeds": len(differences)}


def verdict(difference: dict, sign: int) -> str:
  """What `paired` says of a claim."""
  low, high = sorted((sign * difference["low"], sign * difference["high"]))
  if low > 0:
    return "holds"
  if high < 0:
    return "does not hold: the opposite does"
  if abs(difference["mean"]) <= 1e-6 * difference["deviation"]:  # nought, but for how sums are rounded
    return "undecided: no difference seen"
  would = math.ceil((_DECIDED * difference["deviation"] / difference["mean"]) ** 2) + 2
  return f"undecided; of a difference like this about {max(would, difference['seeds'] + 1)} seeds would tell"


def judged(claims: Sequence[Claim], arms: Dict[str, Dict[str, Figures]]) -> List[dict]:
  """Each claim with its "difference", None where a run has no figure, and its "verdict".

  Args:
    claims: about these arms.
    arms: {arm: {figure: a value a seed}}, of all arms in the same order.
  """
  rows = []
  for claim in claims:
    pair = [arms[arm][claim.figure] for arm in (claim.better, claim.than)]
    difference, said = _said(pair, claim.sign)
    rows.append({**claim._asdict(), "difference": difference, "verdict": said})
  return rows


def _said(pair: Sequence[Figures], sign: int):
  values = [value for figures in pair for value in figures]
  for kind, why in ((GAVE_UP, "diverged for good"), (None, "have no such figure")):
    if lost := values.count(kind):
      return None, f"none: {lost} runs {why}"
  difference = paired(*pair)
  return difference, verdict(difference, sign)


def text_of(difference: Optional[dict]) -> str:
  """What `paired` gives, as it is written; nothing of None."""
  if difference is None:
    return ""
  return f"{difference['mean']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f})"


def told(row: dict) -> str:
  """A row of `judged` in one line."""
  said = f" {text_of(row['difference'])}," if row["difference"] else ""
  return f"{row['better']} − {row['than']}, {row['figure']}:{said} {row['verdict']}"
