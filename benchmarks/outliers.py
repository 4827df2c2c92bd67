"""How well a run's densities tell test images from others, beside baselines that need no network or no density.

    python benchmarks/outliers.py --run_dir=digits_score --run_dir=zoo/mnist --data_dir=… --out=outliers.json

Scores, higher for what is like the training images: `density`, the class-free log density; `logits`, log Σ_k exp f_k
(Grathwohl et al. 2020); `confidence`, the probability of the class answered (Hendrycks & Gimpel 2017); `gaussian`, a
Gaussian of the training images with a shrunk covariance (scikit-learn's LedoitWolf): what no network has to learn.
Outsiders: the test images with shuffled pixels, spliced with another class, inverted, grey areas, noise, and images of
--others, resized. A figure is the area under the ROC curve with its 95 % interval over images, and of density less each
baseline the paired one (bootstrap). It is of one training; of several runs of one design and --page, density less each
baseline has its paired interval over runs.
"""

import argparse
import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from sklearn import covariance  # noqa: E402

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
from stic_tf.datasets import catalog  # noqa: E402
from stic_tf.datasets import dataset as dataset_lib  # noqa: E402
from stic_tf.metrics import intervals  # noqa: E402
from stic_tf.metrics import out_of_distribution  # noqa: E402

_WHAT = {"density": "the class-free log density", "logits": "log Σ exp f of the answer's logits",
         "confidence": "the probability of the class answered",
         "gaussian": "a Gaussian of the training images with a shrunk covariance"}
BASELINES = tuple(name for name in _WHAT if name != "density")
_FITTED = 10000  # images


def resized(images: np.ndarray, image_shape) -> np.ndarray:
  """uint8 [N, h, w, c] -> [N, *image_shape], by area or bicubic; grey where it has one channel, thrice where three."""
  height, width, channels = image_shape
  pixels = tf.cast(images, tf.float32)
  if channels == 1 and images.shape[3] == 3:
    pixels = tf.image.rgb_to_grayscale(pixels)
  elif channels != images.shape[3]:
    pixels = tf.repeat(pixels, channels, axis=3)
  method = "area" if height < images.shape[1] else "bicubic"
  return np.clip(np.round(tf.image.resize(pixels, [height, width], method).numpy()), 0, 255).astype(np.uint8)


def outsiders(images: np.ndarray, labels: np.ndarray, others: dict, seed: int = 0) -> dict:
  """{name: uint8 [M, H, W, C]} of what is not of the data set of uint8 images [N, H, W, C] and labels [N].

  Args:
    images, labels: of the test split.
    others: {name: images of another data set, of any size}.
    seed: of what is random.
  """
  rng = np.random.default_rng(seed)
  return {"shuffled": out_of_distribution.shuffled(images, seed),
          "spliced": out_of_distribution.spliced(images, labels), "inverted": 255 - images,
          "grey": np.broadcast_to(rng.integers(0, 256, [len(images), 1, 1, 1]), images.shape).astype(np.uint8),
          "noise": rng.integers(0, 256, images.shape).astype(np.uint8),
          **{name: resized(other[:len(images)], images.shape[1:]) for name, other in others.items()}}


class Scores:
  """The scores of images under a classifier, and under a Gaussian of its training images uint8 [N, H, W, C]."""

  def __init__(self, classifier, train_images: np.ndarray):
    self._classifier, self._gaussian = classifier, covariance.LedoitWolf().fit(_rows(train_images))
    self._energy = tf.function(lambda images: classifier.classify_tensors(images)["energy"], autograph=False,
                               input_signature=[tf.TensorSpec([None, *classifier.image_shape], tf.uint8)])

  def __call__(self, images: np.ndarray) -> dict:
    """{score: float [N]} of uint8 images [N, H, W, C]."""
    parts = [self._energy(images[start:start + 256]).numpy() for start in range(0, len(images), 256)]
    return {"density": self._classifier.log_density(images), "logits": -np.concatenate(parts),
            "confidence": self._classifier.classify(images).max(axis=1),
            "gaussian": -0.5 * self._gaussian.mahalanobis(_rows(images))}


def _rows(images):
  return images.reshape(len(images), -1) / 127.5 - 1.0


def compare(inside: dict, outside: dict) -> dict:
  """Areas under ROC curves of `Scores` of images from inside and outside, and of density less each baseline."""
  def area(name):
    return lambda real, other: out_of_distribution.auroc(real[:, names.index(name)], other[:, names.index(name)])

  names = list(inside)
  real, other = (np.stack([scores[name] for name in names], axis=1) for scores in (inside, outside))
  areas = {name: {"auroc": area(name)(real, other), "interval": intervals.resampled(area(name), real, other)}
           for name in names}

  def lead(baseline):
    return lambda real, other: area("density")(real, other) - area(baseline)(real, other)

  return {"areas": areas, "lead": {name: {"difference": lead(name)(real, other),
                                          "interval": intervals.resampled(lead(name), real, other)}
                                   for name in names if name != "density"}}


def measured(run_dir: str, arguments) -> dict:
  """{outsiders: what `compare` says} of a run."""
  folder = run_folder.RunFolder(zoo.find(run_dir))
  classifier, settings = loading.load(run_dir), folder.settings()
  require(bool(settings), "run_dir", run_dir, "has no settings.json that can be read")
  dataset = dataset_lib.load(settings["dataset"], arguments.data_dir)
  learnt = dataset.learnt(settings.get("train_images", 0), settings["seed"])
  images, labels = dataset.arrays("test", limit=min(dataset.sizes["test"], arguments.images))
  others = {name: dataset_lib.load(name, arguments.data_dir).arrays("test", limit=arguments.images)[0]
            for name in arguments.others if name != settings["dataset"]}
  scores = Scores(classifier, learnt.arrays("train", limit=min(learnt.sizes["train"], _FITTED))[0])
  inside = scores(images)
  return {name: compare(inside, scores(other)) for name, other in outsiders(images, labels, others).items()}


def tabled(report: dict) -> tuple:
  """(arms, claims) of what `measured` says of several runs: scores, and of each kind density against each baseline."""
  runs = list(report.values())
  arms = {score: {f"AUROC, {kind}": [run[kind]["areas"][score]["auroc"] for run in runs] for kind in runs[0]}
          for score in ("density", *BASELINES)}
  asked = [verdicts.Claim(f"Densities tell others better than {_WHAT[baseline]}", figure, "density", baseline, 1)
           for baseline in BASELINES for figure in arms["density"]]
  return arms, verdicts.judged(asked, arms)


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--run_dir", action="append", required=True, dest="run_dirs")
  parser.add_argument("--data_dir", default=None)
  parser.add_argument("--others", default="digits", help="data sets, by name, whose images are from outside")
  parser.add_argument("--images", type=int, default=1000, help="test images, and outsiders of each kind, at most")
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--out", required=True, help="FILE.json")
  claims_page.add_flags(parser)
  arguments = parser.parse_args()
  claims_page.check(arguments)
  if arguments.page:
    arguments.commit, arguments.run_seeds = training_runs.same_but_for_seeds(arguments.run_dirs)
  require(arguments.images >= 20, "images", arguments.images, "must be at least 20")
  arguments.others = [name for name in arguments.others.split(",") if name]
  for name in arguments.others:
    require(name in catalog.CATALOG, "others", name, "must be of " + ", ".join(catalog.CATALOG))
  return arguments


def main() -> None:
  try:
    arguments = _parse()
    register_systems()
    measure.pin_threads(arguments.threads)
    report = {run_dir: measured(run_dir, arguments) for run_dir in arguments.run_dirs}
  except ConfigError as problem:
    sys.exit(f"error: {problem.as_flags}")
  measure.write_json(arguments.out, {"runs": report, "images": arguments.images,
                                     **measure.circumstances(arguments.threads)})
  for run_dir, kinds in report.items():
    print(run_dir)
    for kind, found in kinds.items():
      cells = [f"{name} {one['auroc']:.3f} ({one['interval'][0]:.3f} – {one['interval'][1]:.3f})"
               for name, one in found["areas"].items()]
      print(f"  {kind}: " + ", ".join(cells))
  if arguments.page:
    arms, claims = tabled(report)
    print(*map(verdicts.told, claims), sep="\n")
    claims_page.add_of_runs(arguments, _WHAT, arms, claims)


if __name__ == "__main__":
  main()
