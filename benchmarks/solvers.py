"""Ways of drawing from finished runs: evaluations of the network against quality, on validation images.

    python benchmarks/solvers.py --run_dir=runs/digits_score --out=solvers.json \
        --way="heun 35: --num_steps=18 --corrector_steps=0" --way="2M 10: --predictor=dpm_solver_pp --num_steps=10"

A way is a name and flags of a drawing. Each draws --num_images for each of --seeds; Fréchet distances to the validation
images, or those of another --split, are given over the floor (as many training images), beside the share in which the
judge reads the class asked for. Several runs, of the same settings and each of its own seed, give the difference of
each way to the first: its mean over runs and its paired 95 % interval.
"""

import argparse
import copy
import importlib
import pathlib
import sys
import time
import types
from typing import List

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

from benchmarks import claims_page  # noqa: E402
from benchmarks import measure  # noqa: E402
from benchmarks import training_runs  # noqa: E402
from benchmarks import verdicts  # noqa: E402
from benchmarks.claims_systems import register_systems  # noqa: E402
from stic_tf import loading  # noqa: E402
from stic_tf import run_folder  # noqa: E402
from stic_tf import seed_pairs  # noqa: E402
from stic_tf import zoo  # noqa: E402
from stic_tf.config import DRAWING_SETTINGS  # noqa: E402
from stic_tf.config import ConfigError  # noqa: E402
from stic_tf.config import require  # noqa: E402
from stic_tf.datasets import dataset as dataset_lib  # noqa: E402
from stic_tf.metrics import frechet  # noqa: E402
from trainers import evaluate  # noqa: E402
from trainers import flags as trainer_flags  # noqa: E402

_SEED = 1 << 41  # apart from those of evaluation
_COMPARED = {"fid_over_floor": ("FID over its floor", -1), "agreement": ("the judge reads the class asked for", 1)}


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--run_dir", action="append", required=True, dest="run_dirs", help="one or several")
  parser.add_argument("--way", action="append", required=True, help='"NAME: FLAGS"; several')
  parser.add_argument("--data_dir", default=None)
  parser.add_argument("--cache_dir", default="~/.cache/stic_tf")
  parser.add_argument("--num_images", type=int, default=1000, help="a way and seed")
  parser.add_argument("--split", default="validation", choices=("validation", "test"), help="validation to choose by")
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--out", required=True, help="FILE.json")
  claims_page.add_flags(parser)
  arguments = parser.parse_args()
  claims_page.check(arguments)
  ways = [way.partition(":")[::2] for way in arguments.way]
  arguments.ways = {name.strip(): its_flags.strip() for name, its_flags in ways}
  require(len(arguments.ways) == len(ways) and all(arguments.ways), "way", ", ".join(arguments.way),
          'must be "NAME: FLAGS", each of its own name')
  require(not arguments.page or len(ways) > 1, "page", arguments.page, "takes two ways or more")
  for its_flags in arguments.ways.values():
    _given(its_flags)
  for name in ("num_images", "seeds"):
    require(getattr(arguments, name) >= 1, name, getattr(arguments, name), "must be at least 1")
  if len(arguments.run_dirs) > 1:
    arguments.commit, arguments.run_seeds = training_runs.same_but_for_seeds(arguments.run_dirs)
  return arguments


def _given(its_flags: str):
  """The flag values of a way. Raises ConfigError unless all of them are of a drawing."""
  values = copy.deepcopy(flags.FLAGS)
  try:
    rest = values(["solvers.py", *its_flags.split()])[1:]
  except flags.Error as problem:
    raise ConfigError(f"--way={its_flags}: {problem}") from problem
  others = rest + [name for name in values if values[name].present and not flags.FLAGS[name].present
                   and name not in DRAWING_SETTINGS]
  require(not others, "way", its_flags, f"has {', '.join(others)}, which is no flag of a drawing")
  return values


class _Run:
  """A finished run, and the judge of its data."""

  def __init__(self, run_dir: str, arguments):
    self.classifier = loading.load(run_dir)
    self._settings = run_folder.RunFolder(zoo.find(run_dir)).json("settings.json")
    own = types.SimpleNamespace(**{**self._settings, "inception_weights": None},
                                data_dir=arguments.data_dir, cache_dir=arguments.cache_dir)
    dataset = dataset_lib.load(own.dataset, own.data_dir)
    self.judge = evaluate.Evaluator(own, dataset).judge(arguments.split)
    self.num_classes = dataset.spec.num_classes

  def drawn(self, its_flags: str, count: int, seeds: int) -> dict:
    """Figures of `count` drawings a seed: lists, a number a seed."""
    labels = np.arange(count) % self.num_classes
    drawing = self.classifier.with_settings(**trainer_flags.overrides(
        _given(its_flags), self._settings, DRAWING_SETTINGS))
    figures = {"evaluations": drawing.network_evaluations(), "fid_over_floor": [], "agreement": [], "acceptance": [],
               "seconds": []}
    drawing.draw(labels[:16], 0)
    for seed in range(seeds):
      began = time.perf_counter()
      drawn = drawing.draw(labels, seed_pairs.of(_SEED + seeds * self._settings["seed"] + seed, len(labels)))
      figures["seconds"].append(time.perf_counter() - began)
      scores = self.judge.score(drawn.images, labels, with_cas=False)
      ratio = frechet.over_floor(scores["fid"], scores["fid_floor"])
      require(ratio is not None, "run_dir", self._settings["dataset"], "has one set of real images, and no floor")
      figures["fid_over_floor"].append(ratio)
      figures["agreement"].append(scores["judge_agreement"])
      figures["acceptance"].append(float(drawn.acceptance_rate.mean()))
    return figures


def judged(rows: dict) -> tuple:
  """(arms, claims) of ways and what their runs gave: of each way against the first, means over a run's drawings."""
  arms = {name: {figure: [float(np.mean(run[figure])) for run in row["runs"]] for figure in _COMPARED}
          for name, row in rows.items()}
  first, *others = arms
  asked = [verdicts.Claim(f"{way} against {first}: {what}", figure, way, first, sign)
           for way in others for figure, (what, sign) in _COMPARED.items()]
  return arms, verdicts.judged(asked, arms)


def _told(name: str, runs: List[dict]) -> str:
  ratios = [ratio for run in runs for ratio in run["fid_over_floor"]]
  return (f"{name}: {runs[0]['evaluations']} evaluations, FID over floor {np.mean(ratios):.3f} "
          f"({min(ratios):.3f}-{max(ratios):.3f}), judge reads {np.mean([run['agreement'] for run in runs]):.4f}, "
          f"{np.median([run['seconds'] for run in runs]):.1f} s")


def main() -> None:
  try:
    _compare(_parse())
  except ConfigError as problem:
    sys.exit(f"error: {problem.as_flags}")


def _compare(arguments) -> None:
  measure.pin_threads(arguments.threads)
  register_systems()
  rows = {name: {"flags": its_flags, "runs": []} for name, its_flags in arguments.ways.items()}
  report = {"settings": vars(arguments), **measure.circumstances(arguments.threads), "ways": rows}
  for run_dir in arguments.run_dirs:
    run = _Run(run_dir, arguments)
    for name, its_flags in arguments.ways.items():
      rows[name]["runs"].append(run.drawn(its_flags, arguments.num_images, arguments.seeds))
      measure.write_json(arguments.out, report)
  for name, row in rows.items():
    print(_told(name, row["runs"]), flush=True)
  if len(arguments.run_dirs) > 1 and len(rows) > 1:
    arms, report["claims"] = judged(rows)
    print(*map(verdicts.told, report["claims"]), sep="\n")
    measure.write_json(arguments.out, report)
    if arguments.page:
      what = {name: f"`{its_flags}`" for name, its_flags in arguments.ways.items()}
      claims_page.add_of_runs(arguments, what, arms, report["claims"])


if __name__ == "__main__":
  main()
