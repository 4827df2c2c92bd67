"""The claims of the method: arms with the same seeds, paired differences with intervals, a verdict each.

    python benchmarks/claims.py --experiments=E1_few --seeds=0,1,2,3,4 --runs=runs/claims --out=docs/claims.md

An experiment is a flagfile and arms, an arm flags of the trainers after it. Every arm is trained with every seed; what
is in --runs is not trained again, so the command may be killed and given anew. All runs of a table must be of one
commit. A claim compares a figure of two arms: the mean of the differences of runs of the same seed, and its 95 %
interval by Student's t. It holds where the interval lies above 0, does not where it lies below, and is undecided
else; how many seeds would then decide is an estimate from the differences' spread. What --out holds of other
experiments stays.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import sys
from typing import Dict, List, NamedTuple, Sequence

import numpy as np
from scipy import stats

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks import training_runs  # noqa: E402
from stic_tf import atomic_file  # noqa: E402
from stic_tf import provenance  # noqa: E402
from stic_tf import registries  # noqa: E402
from stic_tf.config import ConfigError  # noqa: E402
from stic_tf.config import require  # noqa: E402

# Of seeds 100 and 101, 100 labels: by --loss=contrastive fakes cost accuracy on validation images, at weight 1 and .1;
# by --loss=logistic they did not, and validation did not tell these weights apart.
_DESIGN = ["--noisy_weight=1", "--loss=logistic", "--fake_weight=0.1"]
# digits_jem.flags says what is JEM's; learning rate and chains are for E5 to choose. At 3e-3 it diverges for good.
_JEM = ["--sampler=jem_sgld", "--preconditioner=pixels", "--reference=flat", "--noise_start=0.03", "--noise_end=0.03",
        "--energy_decay=0", "--soft_fraction=0", "--past_fraction=0", "--fakes_from=current"]
_JEM_GRID = {f"lr{rate}_chains{chains}": (f"JEM, learning rate {rate}, {chains} chains",
                                          [*_JEM, f"--learning_rate={rate}", f"--chains={chains}"])
             for rate in ("1e-4", "3e-4", "1e-3") for chains in (300, 10000)}
_JEM_PAPER = "lr1e-4_chains10000"
_JEM_TUNED = "lr1e-3_chains300"  # by E5_few, seeds 100 and 101
# The clean images and updates of these are equal, but for "A_long", which has as much time as "F".
_ARMS = {
    "A": ("no fakes", ["--fakes_from=none"]),
    "A_long": ("no fakes, six times the updates", ["--fakes_from=none", "--updates_per_pass=600"]),
    "B": ("no fakes, noisy real images classified", ["--fakes_from=none", "--noisy_weight=1"]),
    "C": ("B, and fakes that are draws from the blank canvas", ["--model=canvas_fakes", *_DESIGN]),
    "D": ("B, and drawings of pass 0, frozen", ["--model=frozen_fakes", "--fakes_from=previous_pass", *_DESIGN]),
    "E": ("B, and drawings of the pass before", ["--fakes_from=previous_pass", *_DESIGN]),
    "F": ("B, and chains on the current network", ["--fakes_from=current", *_DESIGN]),
    "E_contrastive": ("as E, by the contrastive loss at weight 1", ["--fakes_from=previous_pass", "--noisy_weight=1"]),
}
_RIVALS = {**{name: _ARMS[name] for name in ("A", "A_long", "B", "D", "E", "F")}, "JEM": (
    "JEM's SGLD, its learning rate and chains chosen on validation images", _JEM_GRID[_JEM_TUNED][1])}
_SHORT = ["--num_passes=6", "--updates_per_pass=100", "--chains=300", "--num_samples=200", "--pass_samples=20",
          "--pass_steps=1"]


class Claim(NamedTuple):
  """That a figure of arm `better` is above (sign 1) or below (-1) that of `than`."""

  text: str
  figure: str
  better: str
  than: str
  sign: int


_RECURRENCE = (
    Claim("Noise on labelled images helps accuracy", "test_accuracy", "B", "A", 1),
    Claim("Self-analysis on the pass before helps accuracy, against noise alone", "test_accuracy", "E", "B", 1),
    Claim("The same by the contrastive loss at weight 1", "test_accuracy", "E_contrastive", "B", 1),
    Claim("Self-analysis on the pass before helps accuracy, against six times the updates without fakes",
          "test_accuracy", "E", "A_long", 1),
    Claim("The network's own drawings help accuracy, against draws of the blank canvas", "test_accuracy", "D", "C", 1),
    Claim("Recurrence: drawings of the pass before help accuracy, against those of pass 0", "test_accuracy", "E", "D",
          1),
    Claim("Current chains help accuracy, against drawings of the pass before", "test_accuracy", "F", "E", 1),
    Claim("Self-analysis on current chains helps accuracy, against noise alone", "test_accuracy", "F", "B", 1),
    Claim("Self-analysis on the pass before lowers the calibration error, against noise alone", "ece", "E", "B", -1),
    Claim("Self-analysis on the pass before lowers FID, against noise alone", "fid", "E", "B", -1),
)
_AGAINST_RIVALS = (
    Claim("Self-analysis on current chains helps accuracy, against six times the updates without fakes",
          "test_accuracy", "F", "A_long", 1),
    *(Claim(f"Self-analysis on {of} against JEM, tuned: {name}", figure, arm, "JEM", sign)
      for of, arm in (("the pass before", "E"), ("current chains", "F"))
      for name, figure, sign in (("accuracy", "test_accuracy", 1), ("calibration error", "ece", -1),
                                 ("FID", "fid", -1))))

_PASSES = tuple(
    Claim(text + f": {name}", figure, better, than, sign)
    for text, better, than in (("Ten passes instead of one, whose fakes stay in the pool", "ten", "one"),
                               ("In ten passes, drawings of the pass before instead of current chains", "ten_previous",
                                "ten"))
    for name, figure, sign in (("accuracy", "test_accuracy", 1), ("FID", "fid", -1)))
_INTERPOLATION = tuple(
    Claim(f"Soft fakes help interpolation: {text}", figure, "soft", "hard", sign) for text, figure, sign in (
        ("drawings between two classes are one of the two", "path_pair", 1),
        ("paths reach both classes", "path_both", 1),
        ("paths go from one to the other", "path_order", 1)))
_DRAWN = (("FID", "fid", -1), ("CAS", "cas", 1), ("recall", "recall", 1))
_SCORE = (
    *(Claim(f"Score-STIC, drawings corrected by what a head has learnt of fakes: {name}", figure, "corrected", "none",
            sign) for name, figure, sign in _DRAWN),
    *(Claim(f"Score-STIC against STIC, as the flagfiles stand and not at equal images: {name}", figure, "none", "stic",
            sign) for name, figure, sign in (("accuracy", "test_accuracy", 1), ("log loss", "nll", -1), *_DRAWN)))


def _flagfile(name: str) -> str:
  return f"--flagfile=trainers/flagfiles/{name}.flags"


class Experiment(NamedTuple):
  """What is trained, and what it is to show."""

  flags: Sequence[str]
  arms: Dict[str, tuple]
  claims: Sequence[Claim]

  def claims_about(self, arms: Sequence[str]) -> List[Claim]:
    """The claims that compare two of these arms."""
    return [claim for claim in self.claims if {claim.better, claim.than} <= set(arms)]


EXPERIMENTS = {
    **{f"E1_{name}": Experiment([_flagfile(flagfile), *_SHORT, *more], _ARMS, _RECURRENCE)
       for name, flagfile, more in (("few", "digits", ["--train_images=100"]), ("digits", "digits", []),
                                    ("mnist100", "mnist", ["--train_images=100"]),
                                    ("mnist1000", "mnist", ["--train_images=1000"]))},
    # With seeds of its own (10 to 14), to confirm what E1_few found.
    "E1_rivals": Experiment([_flagfile("digits"), *_SHORT, "--train_images=100"], _RIVALS,
                            _RECURRENCE + _AGAINST_RIVALS),
    # Noise and learning rate are held, so that passes differ by their fakes alone. Without --past_fraction, "ten" would
    # be "one"; "ten_previous" has no fakes in its first 60 updates.
    "E2": Experiment([_flagfile("digits"), *_SHORT, *_DESIGN, "--noise_start=0.3", "--noise_end=0.3",
                      "--learning_rate_end=1"], {
        "one": ("600 updates in a pass", ["--fakes_from=current", "--num_passes=1", "--updates_per_pass=600"]),
        "ten": ("600 updates in ten", ["--fakes_from=current", "--num_passes=10", "--updates_per_pass=60"]),
        "ten_previous": ("ten, drawings of the pass before", ["--fakes_from=previous_pass", "--num_passes=10",
                                                              "--updates_per_pass=60"])}, _PASSES),
    "E7": Experiment([_flagfile("digits"), *_SHORT, "--fakes_from=current", *_DESIGN], {
        "hard": ("fakes of one class each", ["--soft_fraction=0"]),
        "soft": ("a quarter of the fakes of two classes", ["--soft_fraction=0.25"])}, _INTERPOLATION),
    # To be run with seeds of its own (--seeds=100,101): the highest mean on validation images is the rival.
    **{f"E5{name}": Experiment([_flagfile("digits"), *_SHORT, *more], _JEM_GRID, tuple(
        Claim(f"{what}, instead of what its paper has", "validation_accuracy", arm, _JEM_PAPER, 1)
        for arm, (what, _) in _JEM_GRID.items() if arm != _JEM_PAPER))
       for name, more in (("", []), ("_few", ["--train_images=100"]))},
    # Whole flagfiles. The head's loss reaches nothing but the head, so accuracies of the first two are one.
    "E9": Experiment([], {
        "none": ("Score-STIC without fakes", [_flagfile("digits_score"), "--fakes_from=none"]),
        "corrected": ("Score-STIC, a head learns real against drawings of the pass before and corrects its drawings",
                      [_flagfile("digits_score"), "--correction=1"]),
        "stic": ("STIC", [_flagfile("digits")])}, _SCORE),
}


def register_systems() -> None:
  """Makes the two systems that only this benchmark has known by name."""
  stic = registries.SYSTEMS["stic"]
  for name in ("canvas_fakes", "frozen_fakes"):
    target = f"benchmarks.claims_systems:{name.title().replace('_', '')}"
    registries.SYSTEMS[name] = dataclasses.replace(stic, target=target)


def paired(one: Sequence[float], other: Sequence[float]) -> dict:
  """Mean of the differences of two arms' figures and its 95 % interval.

  Raises:
    ConfigError: fewer than two seeds.
  """
  require(len(one) >= 2, "seeds", len(one), "must be at least 2 for an interval")
  differences = np.subtract(one, other)
  mean, error = float(differences.mean()), float(differences.std(ddof=1) / math.sqrt(len(differences)))
  half = float(stats.t.ppf(0.975, len(differences) - 1)) * error
  return {"mean": mean, "low": mean - half, "high": mean + half, "deviation": float(differences.std(ddof=1))}


def verdict(difference: dict, sign: int) -> str:
  """What an interval says of a claim."""
  low, high = sorted((sign * difference["low"], sign * difference["high"]))
  if low > 0:
    return "holds"
  if high < 0:
    return "does not hold: the opposite does"
  if abs(difference["mean"]) <= 1e-6 * difference["deviation"]:  # nought, but for how sums are rounded
    return "undecided: no difference seen"
  seeds = math.ceil((1.96 * difference["deviation"] / difference["mean"]) ** 2) + 2
  return f"undecided; of a difference like this about {seeds} seeds would tell"


def _folder(runs: str, experiment: str, arm: str, seed: int) -> pathlib.Path:
  return pathlib.Path(runs).absolute() / experiment / arm / f"seed{seed}"


def train(experiment: str, arm: str, seed: int, arguments) -> None:
  """Trains one run, where it is not there."""
  flags = [*EXPERIMENTS[experiment].flags, *EXPERIMENTS[experiment].arms[arm][1], f"--seed={seed}", *arguments.flags]
  if training_runs.train(_folder(arguments.runs, experiment, arm, seed), flags, one_thread=True,
                         script=(str(training_runs.ROOT / "benchmarks" / "claims.py"), "--child")):
    print(experiment, arm, seed, _summary(arguments.runs, experiment, arm, seed)["test_accuracy"], flush=True)


def _summary(runs: str, experiment: str, arm: str, seed: int) -> dict:
  return json.loads((_folder(runs, experiment, arm, seed) / "summary.json").read_text("utf-8"))


def judge(experiment: str, seeds: Sequence[int], runs: str, arms: Sequence[str] = ()) -> dict:
  """The figures of an experiment's arms, and its claims with intervals and verdicts.

  Args:
    experiment: a name of EXPERIMENTS.
    seeds: of the runs, two or more.
    runs: their folder.
    arms: those that were run; none: all. Claims about others are left out.
  Raises:
    ConfigError: runs of several commits, or fewer than two seeds.
  """
  arms = arms or [*EXPERIMENTS[experiment].arms]
  asked = EXPERIMENTS[experiment].claims_about(arms)
  summaries = {arm: [_summary(runs, experiment, arm, seed) for seed in seeds] for arm in arms}
  commits = sorted({str(one.get("git_commit")) for arm in summaries.values() for one in arm})
  require(len(commits) == 1 and not commits[0].endswith("-dirty"), "runs", runs,
          f"holds runs of several commits for {experiment}, or of no clean one: {', '.join(commits)}")
  figures = sorted({claim.figure for claim in asked})
  claims = []
  for claim in asked:
    difference = paired(*([one[claim.figure] for one in summaries[arm]] for arm in (claim.better, claim.than)))
    claims.append({**claim._asdict(), "difference": difference, "verdict": verdict(difference, claim.sign)})
  own = EXPERIMENTS[experiment]
  return {"commit": commits[0], "seeds": list(seeds), "flags": list(own.flags),
          "what": {arm: own.arms[arm] for arm in arms}, "claims": claims,
          "arms": {arm: {figure: [one[figure] for one in runs_of_arm] for figure in figures}
                   for arm, runs_of_arm in summaries.items()}}


def page(report: Dict[str, dict]) -> str:
  """docs/claims.md."""
  lines = ["# Claims", "", "Written by `benchmarks/claims.py`, not by hand. A difference is the mean over seeds of the",
           "first arm less the second, with its paired 95 % interval. That is of one claim: of 40 without any",
           "effect one would be said to hold, and one its opposite. What was chosen on some seeds is for others to",
           "confirm.", ""]
  for experiment, result in report.items():
    flags = " ".join(["trainers/main.py", *result["flags"], "[flags of the arm]"])
    lines += [f"## {experiment}", "", f"    {flags}", "",
              f"Commit {result['commit']}, seeds {', '.join(map(str, result['seeds']))}.", "",
              "| claim | arms | figure | difference (95 %) | verdict |", "|---|---|---|---|---|"]
    for claim in result["claims"]:
      values = claim["difference"]
      lines.append(f"| {claim['text']} | {claim['better']} − {claim['than']} | {claim['figure']} | "
                   f"{values['mean']:+.4f} ({values['low']:+.4f} to {values['high']:+.4f}) | {claim['verdict']} |")
    lines += ["", "| arm | what it is | " + " | ".join(next(iter(result["arms"].values()))) + " |",
              "|---|---|" + "---|" * len(next(iter(result["arms"].values())))]
    for arm, figures in result["arms"].items():
      cells = [f"{np.mean(values):.4f} ({min(values):.4f} – {max(values):.4f})" for values in figures.values()]
      what, own = result["what"][arm]
      lines.append(f"| {arm} | {what}: `{' '.join(own)}` | " + " | ".join(cells) + " |")
    lines.append("")
  return "\n".join(lines)


def _parse(argv: List[str]):
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--experiments", default="E1_few")
  parser.add_argument("--seeds", default="0,1,2,3,4")
  parser.add_argument("--arms", default="", help="of the experiments, and claims about these alone; otherwise all")
  parser.add_argument("--runs", default="runs/claims", help="folder of the runs")
  parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a thread each")
  parser.add_argument("--flag", action="append", default=[], dest="flags", help="a further one of trainers/main.py")
  parser.add_argument("--out", required=True, help="FILE.md; FILE.json beside it has every figure")
  arguments = parser.parse_args(argv)
  for name in arguments.experiments.split(","):
    require(name in EXPERIMENTS, "experiments", name, "must be of " + ", ".join(EXPERIMENTS))
  arguments.arms = [arm for arm in arguments.arms.split(",") if arm]
  for name in arguments.experiments.split(","):
    for arm in arguments.arms:
      require(arm in EXPERIMENTS[name].arms, "arms", arm, f"{name} has " + ", ".join(EXPERIMENTS[name].arms))
    compared = EXPERIMENTS[name].claims_about(arguments.arms)
    require(not arguments.arms or bool(compared) and len(set(arguments.arms)) == len(arguments.arms), "arms",
            ",".join(arguments.arms), f"must be different ones, two of which {name} compares")
  texts = arguments.seeds.split(",")
  require(all(text.isdecimal() for text in texts) and len(set(texts)) == len(texts) >= 2, "seeds", arguments.seeds,
          "must be two different numbers or more, for an interval")
  arguments.seeds = [int(text) for text in texts]
  require(arguments.jobs >= 1, "jobs", arguments.jobs, "must be at least 1")
  require(arguments.out.endswith(".md"), "out", arguments.out, "must be a file that ends in .md")
  return arguments


def main() -> None:
  try:
    arguments = _parse(sys.argv[1:])
    names = arguments.experiments.split(",")
    training_runs.side_by_side(lambda run: train(*run, arguments), [
        (name, arm, seed) for name in names for seed in arguments.seeds
        for arm in arguments.arms or EXPERIMENTS[name].arms], arguments.jobs)
    report = {name: judge(name, arguments.seeds, arguments.runs, arguments.arms) for name in names}
  except ConfigError as problem:
    sys.exit(f"error: {problem.as_flags}")
  except RuntimeError as problem:
    sys.exit(f"error: {problem}")
  beside = pathlib.Path(arguments.out).with_suffix(".json")
  before = json.loads(beside.read_text("utf-8"))["experiments"] if beside.exists() else {}
  report = {**before, **report}
  atomic_file.write_text(str(beside), json.dumps(
      {"versions": provenance.versions(), "flags": arguments.flags, "experiments": report}, indent=1))
  atomic_file.write_text(arguments.out, page(report))
  print(page(report))


def child() -> None:
  """trainers/main.py with the systems of this benchmark."""
  register_systems()
  import runpy
  sys.argv = [training_runs.MAIN, *sys.argv[2:]]
  runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
  child() if sys.argv[1:2] == ["--child"] else main()
