"""Accuracy under attacks by foolbox: white-box projected gradient descent and a black-box boundary attack.

    python benchmarks/robustness.py --run_dir=digits_score --run_dir=runs/digits --norm=linf --out=robustness.json

Runs of several arms and seeds, as claims.py leaves them (…/ARM/seedN), are compared by --against=ARM: for each other
arm the mean over seeds of the paired difference of its accuracy, with its 95 % interval.

foolbox is of requirements-test.txt. Test images that a model reads wrongly count as lost at every ε. ε is in the unit
of the literature: of pixels in [0, 1], the largest difference (linf) or the Euclidean length of all (l2). Intervals are
Wilson's at 95 %, of these images; the boundary attack (l2 only) is slow and sees the first --black_box images alone.
It starts from real images of other classes. PGD has one random start, climbs the margin of the logits, whose gradient
does not vanish where the classifier is sure, and its last point counts; the gradient is that of the answer served.
"""

import argparse
import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from benchmarks import claims_page  # noqa: E402
from benchmarks import measure  # noqa: E402
from benchmarks import training_runs  # noqa: E402
from benchmarks import verdicts  # noqa: E402
from benchmarks.claims_systems import register_systems  # noqa: E402
from stic_tf import loading  # noqa: E402
from stic_tf import run_folder  # noqa: E402
from stic_tf import zoo  # noqa: E402
from stic_tf.config import ConfigError  # noqa: E402
from stic_tf.config import require  # noqa: E402
from stic_tf.datasets import dataset as dataset_lib  # noqa: E402
from stic_tf.metrics import intervals  # noqa: E402

EPSILONS = {"linf": (2 / 255, 8 / 255, 0.1, 0.2, 0.3), "l2": (0.25, 0.5, 1.0, 2.0)}
_AT_ONCE = 100


def attacked_model(classifier):
  """The classifier as foolbox takes a model: images float32 [B, H, W, C] in [0, 1] to logits [B, K]."""
  import foolbox
  shape = [None, *classifier.image_shape]
  logits = tf.function(lambda images: classifier.system.logits(2.0 * images - 1.0), autograph=False,
                       input_signature=[tf.TensorSpec(shape)])
  return foolbox.TensorFlowModel(logits, bounds=(0, 1), device="/CPU:0")


def attacks(norm: str, steps: int, black_box_steps: int) -> dict:
  """{name: foolbox's attack} of a norm; PGD in steps of 2.5 ε / steps (Madry et al. 2018, arXiv 1706.06083)."""
  from foolbox import attacks as of_foolbox
  if norm == "linf":
    return {"PGD": _of_margin(of_foolbox.LinfPGD)(steps=steps, rel_stepsize=2.5 / steps)}
  return {"PGD": _of_margin(of_foolbox.L2PGD)(steps=steps, rel_stepsize=2.5 / steps),
          "boundary": of_foolbox.BoundaryAttack(steps=black_box_steps)}


def _of_margin(attack):
  """A gradient attack of foolbox that climbs Σ (max_j≠y f_j − f_y) instead of the cross-entropy."""

  class OfMargin(attack):

    def get_loss_fn(self, model, labels):
      def loss(inputs):
        logits = model(inputs).raw
        own = tf.one_hot(labels.raw, logits.shape[1])
        others = tf.reduce_max(tf.where(own > 0, logits.dtype.min, logits), axis=1)
        return type(inputs)(tf.reduce_sum(others - tf.reduce_sum(own * logits, axis=1)))
      return loss

  return OfMargin


def survivors(model, attack, images: np.ndarray, labels: np.ndarray, epsilons) -> np.ndarray:
  """Which images [N] keep their class at each ε: bool [E, N].

  Args:
    model: as `attacked_model` gives it; it reads all the images rightly.
    attack: one of `attacks`.
    images: float32 [N, H, W, C] in [0, 1], N > 0, of two classes or more.
    labels: int64 [N].
    epsilons: E numbers.
  """
  kept = []
  # For the boundary attack, for which noise is no start where all of it is of one class: the next of another class.
  if hasattr(attack, "init_attack"):
    require(len(np.unique(labels)) > 1, "black_box", len(labels), "are images of one class, which leave no start")
    others = [int(np.flatnonzero(labels != label)[place % np.sum(labels != label)])
              for place, label in enumerate(labels)]
  for start in range(0, len(images), _AT_ONCE):
    part = slice(start, start + _AT_ONCE)
    tf.random.set_seed(start)  # of foolbox's random starts
    np.random.seed(start)
    starts = {"starting_points": tf.constant(images[others[part]])} if hasattr(attack, "init_attack") else {}
    _, _, fooled = attack(model, tf.constant(images[part]), tf.constant(labels[part]), epsilons=list(epsilons),
                          **starts)
    kept.append(~np.asarray(fooled))
  return np.concatenate(kept, axis=1)


def attack_run(run_dir: str, arguments) -> dict:
  """{attack: {"images": N, "accuracy": {ε: [share, low, high]}}} of a run."""
  classifier = loading.load(zoo.find(run_dir))
  settings = run_folder.RunFolder(zoo.find(run_dir)).json("settings.json")
  images, labels = dataset_lib.load(settings["dataset"], arguments.data_dir).arrays("test", limit=arguments.images)
  floats, labels = (images / np.float32(255)).astype(np.float32), labels.astype(np.int64)
  model, result = attacked_model(classifier), {}
  for name, attack in attacks(arguments.norm, arguments.steps, arguments.black_box_steps).items():
    count = len(labels) if name == "PGD" else min(arguments.black_box, len(labels))
    right = classifier.classify(images[:count]).argmax(1) == labels[:count]
    # Nothing survives where nothing was right.
    kept = survivors(model, attack, floats[:count][right], labels[:count][right],
                     EPSILONS[arguments.norm]) if right.any() else np.zeros([len(EPSILONS[arguments.norm]), 0])
    shares = [float(right.mean()), *(kept.sum(axis=1) / count)]
    result[name] = {"images": count, "accuracy": {
        f"{epsilon:.4g}": [float(share), *intervals.of_share(float(share), count)]
        for epsilon, share in zip((0.0, *EPSILONS[arguments.norm]), shares)}}
    print(run_dir, name, {epsilon: f"{row[0]:.3f} ({row[1]:.3f} – {row[2]:.3f})"
                          for epsilon, row in result[name]["accuracy"].items()}, flush=True)
  return result


def compared(found: dict, against: str) -> tuple:
  """(arms, claims, seeds) as verdicts.judged has them: that each arm of runs …/ARM/seedN withstands more than another.

  Args:
    found: {run folder: what `attack_run` gives}, as `check_arms` wants them.
    against: that other arm.
  """
  runs = arms_of(found)
  seeds = sorted(runs[against])

  def share(run_dir, attack, epsilon):
    return found[run_dir][attack]["accuracy"][epsilon][0]

  asked = [(attack, epsilon) for attack, one in next(iter(found.values())).items() for epsilon in one["accuracy"]]
  arms = {arm: {f"accuracy, {attack}, ε {epsilon}": [share(own[seed], attack, epsilon) for seed in seeds]
                for attack, epsilon in asked} for arm, own in runs.items()}
  claims = [verdicts.Claim(
      f"{arm} is more accurate than {against}" + (", attacked" if float(epsilon) else ", not attacked"),
      f"accuracy, {attack}, ε {epsilon}", arm, against, 1)
            for arm in arms if arm != against for attack, epsilon in asked]
  return arms, verdicts.judged(claims, arms), seeds


def arms_of(run_dirs) -> dict:
  """{arm: {N: run folder}} of folders …/ARM/seedN.

  Raises:
    ConfigError: others, or two of one arm and seed.
  """
  arms = {}
  for run_dir in run_dirs:
    path = pathlib.PurePath(run_dir)
    number = path.name[len("seed"):]
    require(path.name.startswith("seed") and number.isdecimal(), "run_dir", run_dir, "must end in ARM/seedN")
    own = arms.setdefault(path.parent.name, {})
    require(int(number) not in own, "run_dir", run_dir, "is a second one of its arm and seed")
    own[int(number)] = run_dir
  return arms


def check_arms(run_dirs, against: str) -> str:
  """The commit of arms that are to be compared with one of them.

  Raises:
    ConfigError: it is none of them, they have other seeds than it or only one, or they are of several commits.
  """
  arms = arms_of(run_dirs)
  require(against in arms and len(arms) > 1, "against", against, "must be of several arms, of " + ", ".join(arms))
  require(all(set(own) == set(arms[against]) for own in arms.values()) and len(arms[against]) > 1, "run_dir",
          ",".join(run_dirs), "must be of the same seeds in every arm, two or more")
  return training_runs.commit_of(run_dirs)


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--run_dir", action="append", required=True, dest="run_dirs", help="run, or a name of the zoo")
  parser.add_argument("--norm", choices=sorted(EPSILONS), default="linf")
  parser.add_argument("--images", type=int, default=500, help="of the test split")
  parser.add_argument("--black_box", type=int, default=50, help="images of the boundary attack")
  parser.add_argument("--steps", type=int, default=40, help="of PGD")
  parser.add_argument("--black_box_steps", type=int, default=1000)
  parser.add_argument("--data_dir", default=None)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--out", required=True, help="FILE.json")
  parser.add_argument("--against", default=None, help="an arm, where runs are …/ARM/seedN")
  claims_page.add_flags(parser)
  arguments = parser.parse_args()
  for name in ("images", "black_box", "steps", "black_box_steps"):
    require(getattr(arguments, name) >= 1, name, getattr(arguments, name), "must be at least 1")
  claims_page.check(arguments)
  require(not arguments.page or arguments.against, "page", arguments.page, "needs --against")
  return arguments


def main() -> None:
  try:
    arguments = _parse()
    register_systems()
    if arguments.against:
      arguments.commit = check_arms(arguments.run_dirs, arguments.against)
    measure.pin_threads(arguments.threads)
    report = {"runs": {}, **measure.circumstances(arguments.threads), "settings": vars(arguments)}
    for run_dir in arguments.run_dirs:
      report["runs"][run_dir] = attack_run(run_dir, arguments)
      measure.write_json(arguments.out, report)
    if arguments.against:
      arms, report["claims"], arguments.run_seeds = compared(report["runs"], arguments.against)
      print(*map(verdicts.told, report["claims"]), sep="\n")
      measure.write_json(arguments.out, report)
      if arguments.page:
        claims_page.add_of_runs(arguments, {arm: "runs of that name" for arm in arms}, arms, report["claims"])
  except ConfigError as problem:
    sys.exit(f"error: {problem.as_flags}")
  except ImportError as problem:
    sys.exit(f"error: {problem}; foolbox is of requirements-test.txt")


if __name__ == "__main__":
  main()
