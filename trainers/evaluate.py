"""Measures a run: accuracy and calibration on real test images, image metrics on fresh, unfiltered drawings."""

import os
import sys
import time
import types
import warnings
from typing import Callable, Optional, Sequence

import numpy as np

from stic_tf import config as config_lib
from stic_tf import drawing
from stic_tf import drawing_classifier as drawing_lib
from stic_tf import grid
from stic_tf import loading
from stic_tf import provenance
from stic_tf import replicas
from stic_tf import run_folder as run_folder_lib
from stic_tf import seed_pairs
from stic_tf import zoo
from stic_tf.datasets import dataset as dataset_lib
from stic_tf.metrics import calibration
from stic_tf.metrics import features
from stic_tf.metrics import intervals
from stic_tf.metrics import out_of_distribution
from stic_tf.metrics import report
from stic_tf.metrics import sampler_health
from trainers import flags as trainer_flags

_LARGEST_REAL_SAMPLE = 10000
_LARGEST_OUTLIER_SAMPLE = 1000
_INTERPOLATION_STEPS = 11
_DRAWINGS_A_CLASS = 4  # in drawing.gif
_MAX_CLASSES_SHOWN = 20
_LOOKED_AT = 100  # drawings of a pass whose drawings are not judged
_TRACED, _LEAST_TRACED = 32, 20  # chains, and steps of each
FRAMES = 48  # of an animation
_REAL_CAS_SEED = 0
_OF_ANSWERS = {"ece": calibration.expected_calibration_error, "nll": calibration.negative_log_likelihood,
               "brier": calibration.brier_score}


class Evaluator:
  """Scores a classifier of one dataset; the judge and the real images' features are computed once, when first asked.

  On validation images while it trains, as choices are made by what is seen; on test images once, at the end.

  Args:
    values: the flag values.
    dataset: as `datasets.load` gives it.

  Attributes:
    seed: of drawings; at first that of the run.

  Raises:
    ConfigError: one class and no --inception_weights, or fewer than two images to validate or to test on: distances
      are between distributions.
  """

  def __init__(self, values, dataset: dataset_lib.Dataset):
    self.seed = values.seed
    self.num_classes = dataset.spec.num_classes
    self.memorisation = dataset.memorisation
    self.mirrors = bool(getattr(values, "augment", True) and dataset.spec.flip)
    for split in ("validation", "test"):
      config_lib.require(dataset.sizes[split] >= 2, "dataset", values.dataset,
                         f"has {dataset.sizes[split]} {split} images, to measure on takes 2")
    train = dataset.arrays("train", limit=min(dataset.sizes["train"], 5 * _LARGEST_REAL_SAMPLE))
    self.real = {"test": dataset.arrays("test", limit=min(dataset.sizes["test"], _LARGEST_REAL_SAMPLE)),
                 "validation": validation_images(dataset)}
    few = getattr(values, "train_images", 0)  # settings of an older run do not have it
    whole = dataset.learnt(few, values.seed)
    # Of one that is streamed the first images alone: whether none of the others was copied is not known.
    self.learnt = whole.arrays("train")[0] if whole.in_memory else train[0]
    # What is wrong with them shows at once; a judge can take an hour to train.
    self._network = features.InceptionNetwork(values.inception_weights) if values.inception_weights else None
    if not self._network:
      features.require_classes(self.num_classes, values.dataset)
    self._cache_dir, self._train_split = os.path.expanduser(values.cache_dir), train
    self._train_network = lambda: features.train_judge(
        *train, self.num_classes, cache_dir=self._cache_dir, dataset_name=values.dataset)
    self._judges, self._train = {}, tuple(array[:_LARGEST_REAL_SAMPLE] for array in train)

  def judge(self, split: str) -> report.DrawingJudge:
    """Compares drawings with the real images of a split, whose features are computed when first asked for."""
    self._network = self._network or self._train_network()
    if split not in self._judges:
      self._judges[split] = report.DrawingJudge(self._network, *self._train, *self.real[split], self.num_classes)
    return self._judges[split]

  def accuracy(self, classifier: drawing_lib.DrawingClassifier, split: str) -> dict:
    """`<split>_accuracy`, and log loss, Brier score and expected calibration error, on "test" or "validation".

    On "test" `intervals` of the last three as well.
    """
    images, labels = self.real[split]
    probabilities = classifier.classify(images)
    result = {f"{split}_accuracy": float(np.mean(probabilities.argmax(1) == labels)),
              **{name: figure(probabilities, labels) for name, figure in _OF_ANSWERS.items()}}
    if split == "test":
      answers = np.column_stack([probabilities, labels])
      result["intervals"] = {name: [max(end, 0.0) for end in intervals.resampled(_of_rows(figure), answers)]
                             for name, figure in _OF_ANSWERS.items()}
    return result

  def real_cas(self, count: int) -> Optional[float]:
    """What CAS would be of as many real training images, or of all: learnt once and cached. None of one class.

    A fixed choice of the whole split, whatever the run has learnt from, with as many of each class, as drawings have.
    """
    if self.num_classes < 2:
      return None
    images, labels = self._train_split
    chosen = report.in_turn(labels, self.num_classes, _REAL_CAS_SEED)[:count]
    network = features.train_judge(images[chosen], labels[chosen], self.num_classes, cache_dir=self._cache_dir)
    images, labels = self.real["test"]
    return float(np.mean(network(images).probabilities.argmax(1) == labels))

  def out_of_distribution(self, classifier: drawing_lib.DrawingClassifier) -> dict:
    """How well the class-free log density tells test images from what no class has made: areas under ROC curves."""
    images, labels = (array[:_LARGEST_OUTLIER_SAMPLE] for array in self.real["test"])
    inside = classifier.log_density(images)
    others = {"shuffled": out_of_distribution.shuffled(images), "spliced": out_of_distribution.spliced(images, labels)}
    return {f"ood_auroc_{name}": out_of_distribution.auroc(inside, classifier.log_density(outside))
            for name, outside in others.items()}

  def draw(self, classifier: drawing_lib.DrawingClassifier, count: int, num_steps: Optional[int] = None):
    """`count` fresh drawings, classes in turn: (Drawings, labels int [count])."""
    labels = np.arange(count) % self.num_classes
    seeds = seed_pairs.of_use(seed_pairs.MEASURED, self.seed, count)
    return classifier.draw(labels, seeds, num_steps=num_steps), labels

  def score(self, classifier: drawing_lib.DrawingClassifier, count: int, num_steps: Optional[int] = None,
            split: str = "test") -> dict:
    """Everything that is reported of a classifier, and under "drawings" and "labels" what was drawn for it.

    Of the real images of one split, "test" or "validation". Of 0 drawings it is what needs no judge; some are drawn all
    the same, to be looked at.
    """
    is_judged, count = count > 0, count or _LOOKED_AT
    result = self.accuracy(classifier, split)
    began = time.monotonic()
    drawings, labels = self.draw(classifier, count, num_steps)
    result["images_per_second_sampling"] = count / (time.monotonic() - began)
    if is_judged:
      result.update(self.judge(split).score(drawings.images, labels))
    has_chain = classifier.has_accept_test
    result["acceptance_rate"] = float(drawings.acceptance_rate.mean()) if has_chain else None
    result["drawing_step_size"] = float(np.median(drawings.step_size)) if has_chain else None
    result["drawing_steps"] = num_steps or classifier.config.sampler.num_steps
    result["drawings"], result["labels"] = drawings, labels
    return result


def _of_rows(figure: Callable) -> Callable:
  """A figure of (probabilities, labels) as one of rows that have both."""
  return lambda rows: figure(rows[:, :-1], rows[:, -1].astype(int))


def validation_images(dataset: dataset_lib.Dataset):
  """(images uint8 [N, H, W, C], labels int32 [N]) on which choices are made."""
  return dataset.arrays("validation", limit=min(dataset.sizes["validation"], _LARGEST_REAL_SAMPLE))


def classes_shown(num_classes: int) -> np.ndarray:
  """The classes a picture has rows for: all, or the first 20."""
  return np.arange(min(num_classes, _MAX_CLASSES_SHOWN))


def class_grid(drawings: drawing_lib.Drawings, num_classes: int, columns: int = 10) -> np.ndarray:
  """A picture with a row a class, from drawings whose classes come in turn."""
  rows = [drawings.images[label::num_classes][:columns] for label in classes_shown(num_classes)]
  columns = min(len(row) for row in rows)
  return grid.make_grid(np.concatenate([row[:columns] for row in rows]), columns)


def interpolations(classifier: drawing_lib.DrawingClassifier, seed: int):
  """Of each class shown a path to the next, soft classes and one seed: (uint8 [P, 11, H, W, C], from [P], to [P])."""
  first = classes_shown(classifier.num_classes)
  second = (first + 1) % classifier.num_classes
  share = np.linspace(0.0, 1.0, _INTERPOLATION_STEPS)[np.newaxis, :, np.newaxis]
  one, other = (np.eye(classifier.num_classes)[classes][:, np.newaxis] for classes in (first, second))
  weights = (1.0 - share) * one + share * other
  seeds = np.repeat(seed_pairs.of_use(seed_pairs.INTERPOLATED, seed, len(first)), _INTERPOLATION_STEPS, axis=0)
  images = classifier.draw(weights.reshape(-1, classifier.num_classes), seeds).images
  return images.reshape(*weights.shape[:2], *classifier.image_shape), first, second


def write_watched_drawing(folder: run_folder_lib.RunFolder, classifier: drawing_lib.DrawingClassifier,
                          seed: int) -> None:
  """Draws some of each class shown and writes how they came about: drawing.gif, and attention.png with a row a class.

  A row of attention.png: the first drawing, how many strokes were taken in each tile, and where the next would go.
  """
  labels = np.repeat(classes_shown(classifier.num_classes), _DRAWINGS_A_CLASS)
  seeds = seed_pairs.of_use(seed_pairs.WATCHED, seed, len(labels))
  drawings = classifier.draw(labels, seeds, num_frames=FRAMES)
  grid.write_gif(folder.file("drawing.gif"),
                 [grid.make_grid(drawings.frames[:, number], _DRAWINGS_A_CLASS) for number in range(FRAMES)])
  first = slice(None, None, _DRAWINGS_A_CLASS)
  columns = [drawings.images[first], *(grid.tile_map(tiles[first], classifier.image_shape)
                                       for tiles in (drawings.strokes, drawings.attention))]
  grid.write_png(folder.file("attention.png"),
                 grid.make_grid(np.stack(columns, axis=1).reshape(-1, *classifier.image_shape), len(columns)))


def mixing(classifier: drawing_lib.DrawingClassifier, seed: int) -> dict:
  """`effective_draws_per_step`: independent draws that a step past burn-in is worth, by the chains' log density.

  A step is an evaluation of the network. None where the chains are too short to say. Nothing where it does not walk.
  """
  if not classifier.walks:
    return {}
  if classifier.config.sampler.num_steps < _LEAST_TRACED:
    return {"effective_draws_per_step": None}
  trace = classifier.trace(*_traced(classifier, seed))
  return {"effective_draws_per_step": sampler_health.independent_draws_a_step(trace)}


def corrections(classifier: drawing_lib.DrawingClassifier, seed: int) -> dict:
  """`corrector`: of each noise level at which it moves by a chain, the means of `drawing.LEVEL_FIGURES`.

  Nothing where it does not.
  """
  if not classifier.corrects:
    return {}
  levels = classifier.trace_levels(*_traced(classifier, seed)).mean(2)
  return {"corrector": [dict(zip(drawing.LEVEL_FIGURES, map(float, level))) for level in levels]}


def _traced(classifier, seed):
  """(labels, seeds) of the drawings that are traced."""
  labels = np.resize(classes_shown(classifier.num_classes), _TRACED)
  return labels, seed_pairs.of_use(seed_pairs.TRACED, seed, _TRACED)


def beside_real(classifier: drawing_lib.DrawingClassifier, images: np.ndarray, labels: np.ndarray,
                seed: int) -> np.ndarray:
  """A picture with a row a class shown: its name, a real image of it, drawings."""
  shown = np.intersect1d(classes_shown(classifier.num_classes), labels)
  drawings = classifier.draw(np.repeat(shown, _DRAWINGS_A_CLASS),
                             seed_pairs.of_use(seed_pairs.BESIDE_REAL, seed, len(shown) * _DRAWINGS_A_CLASS))
  rows = [np.concatenate([images[labels == label][:1], drawn]) for label, drawn in
          zip(shown, drawings.images.reshape(len(shown), _DRAWINGS_A_CLASS, *classifier.image_shape))]
  picture = grid.make_grid(np.concatenate(rows), 1 + _DRAWINGS_A_CLASS)
  return grid.with_names(picture, [classifier.class_names[label] for label in shown])


def finish(folder: run_folder_lib.RunFolder, values, evaluator: Evaluator, classifier: drawing_lib.DrawingClassifier,
           seconds_training: float, **noted) -> dict:
  """Scores the finished run and writes interpolation.png, samples/final.png and summary.json; returns the summary.

  `noted` stands in the summary beside what was measured: git_commit, that of the code that trained, passes, and
  drawn_with, what drawings were asked to do otherwise than the run's.

  A model that draws in strokes leaves drawing.gif and attention.png too; a run that was tested on its training images
  leaves memorised.png, drawings beside them.
  """
  evaluator.judge("test")  # before anything is drawn: it may have to be trained
  scores = evaluator.score(classifier, values.num_samples)
  drawings, labels, of_answers = (scores.pop(name) for name in ("drawings", "labels", "intervals"))
  grid.write_png(folder.file("samples", "final.png"), class_grid(drawings, classifier.num_classes))
  paths, *ends = interpolations(classifier, evaluator.seed)
  grid.write_png(folder.file("interpolation.png"), grid.make_grid(paths.reshape(-1, *paths.shape[2:]), paths.shape[1]))
  if classifier.tile_grid:
    write_watched_drawing(folder, classifier, evaluator.seed)
  if evaluator.memorisation:
    grid.write_png(folder.file("memorised.png"), beside_real(classifier, *evaluator.real["test"], evaluator.seed))
  final = evaluator.judge("test").final_figures(drawings.images, labels, evaluator.learnt, scores,
                                                  evaluator.mirrors)
  summary = {
      "model": values.model, "dataset": values.dataset, "seed": values.seed, "drawing_seed": evaluator.seed,
      "memorisation": evaluator.memorisation,
      "validation_accuracy": evaluator.accuracy(classifier, "validation")["validation_accuracy"], **scores,
      "cas_real": evaluator.real_cas(values.num_samples),
      **final, "intervals": {**final["intervals"], **of_answers},
      **evaluator.judge("test").path_figures(paths, *ends),
      **evaluator.out_of_distribution(classifier), **mixing(classifier, evaluator.seed),
      **corrections(classifier, evaluator.seed),
      "step_size": classifier.step_size, "noise_level": classifier.noise_level,
      "drawing": "strokes" if classifier.tile_grid else "whole",
      "network_evaluations_per_image": classifier.network_evaluations(), "seconds_training": seconds_training,
      "versions": provenance.versions(), **noted, "measured_at": provenance.git_commit()}
  folder.write_summary(summary)
  return summary


def commits(rows: Sequence[dict], otherwise: str) -> str:
  """The commits of the code that trained, by the rows of the log, separated by commas; `otherwise` of older runs."""
  return ",".join(dict.fromkeys(row["git_commit"] for row in rows if "git_commit" in row)) or otherwise


def describe(summary: dict) -> str:
  """The summary in two lines, the floor beside the FID; a third where it is memorisation that was measured."""
  cas, real, accepted = summary["cas"], summary["cas_real"], summary["acceptance_rate"]
  warning = "\nmemorisation: the test images are the training images, so nothing here speaks of generalisation"
  return (f"test accuracy {summary['test_accuracy']:.4f}, ECE {summary['ece']:.4f}"
          f"{'' if cas is None else f', CAS {cas:.4f}'}"
          f"{'' if real is None else f' (of as many real images {real:.4f})'}\n"
          f"FID {summary['fid']:.2f} (floor {summary['fid_floor']:.2f}: real train against real test), "
          f"KID {summary['kid']:.4f}, inception score {summary['inception_score']:.2f}, "
          f"{'' if accepted is None else f'acceptance {accepted:.3f}, '}"
          f"{summary['num_samples']} fresh unfiltered drawings, "
          f"features {summary['judge']}{warning if summary['memorisation'] else ''}")


def load_classifier(values) -> drawing_lib.DrawingClassifier:
  """The classifier of --run_dir, with what the flags ask a drawing to do otherwise. Says what it read.

  Raises:
    ConfigError: no such run, or a flag that it does not read, or that a drawing cannot be asked to do otherwise.
  """
  folder = run_folder_lib.RunFolder(zoo.find(values.run_dir))
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    classifier = loading.load(folder.path, replicas.make_strategy(values.num_replicas))
  for warning in caught:
    if warning.category is UserWarning and "falling back" in str(warning.message):
      print(f"warning: {warning.message}", file=sys.stderr)
  print(f"read {classifier.checkpoint}")
  settings = folder.settings() or classifier.config.flat()
  _check_made_with(values, settings, classifier)
  return classifier.with_settings(**trainer_flags.overrides(values, settings, config_lib.DRAWING_SETTINGS))


def _check_made_with(values, settings: dict, classifier: drawing_lib.DrawingClassifier) -> None:
  """Refuses flags of another model than the run's, and warns of those that change nothing any more."""
  made_with = {**config_lib.RunConfig().flat(), "dataset": values.dataset, **settings}
  shape = classifier.image_shape
  made_with["network"], asked = (config.network_name(shape) for config in (
      classifier.config, classifier.config.replace(network=values.network)))
  for name in trainer_flags.overrides(values, made_with, trainer_flags.MODEL_FLAGS):
    config_lib.require(name == "network" and asked == made_with[name], name, getattr(values, name),
                       f"must be {made_with[name]}, as the run was made")
  for name, value in trainer_flags.overrides(values, made_with, trainer_flags.TRAINING_FLAGS).items():
    print(f"warning: --{name}={value} changes nothing here: it is of the training, which had {made_with.get(name)}",
          file=sys.stderr)


def evaluator_of(settings: dict, data_dir: Optional[str], cache_dir: str):
  """(the settings of a run as flag values, the Evaluator of its dataset).

  Raises:
    ConfigError: the dataset is absent.
  """
  own = types.SimpleNamespace(**settings, data_dir=data_dir, cache_dir=cache_dir)
  return own, Evaluator(own, dataset_lib.load(own.dataset, data_dir))


def _beside(run_dir: str, others: dict) -> str:
  """Where figures of a run go that are not its own: runs/evaluated/RUN/what=was,asked=for, under this folder."""
  path = os.path.relpath(run_dir)
  path = os.path.basename(path) if path.startswith(os.pardir) else path.removeprefix("runs" + os.sep)
  return os.path.join("runs", "evaluated", path, ",".join(
      f"{name}={str(value).replace(os.sep, '_')}" for name, value in sorted(others.items())))


def run(values) -> None:
  """--mode=evaluate: scores the newest checkpoint of a run folder, with the run's own settings where no flag is given.

  Raises:
    ConfigError: no such run, or a dataset that is absent or not the run's.
  """
  classifier = load_classifier(values)
  folder = run_folder_lib.RunFolder(zoo.find(values.run_dir))
  settings = folder.settings()
  config_lib.require(bool(settings), "run_dir", values.run_dir, "its settings.json is damaged or not there")
  given = trainer_flags.overrides(values, settings, ("num_samples", "inception_weights"))
  own, evaluator = evaluator_of({**settings, **given}, values.data_dir, values.cache_dir)
  if values["seed"].present:
    evaluator.seed = values.seed
  before = folder.json("summary.json") or {}
  rows, of_drawing = folder.rows(), trainer_flags.overrides(values, settings, config_lib.DRAWING_SETTINGS)
  seconds = rows[-1]["seconds"] if rows else before.get("seconds_training", 0.0)
  commit = commits(rows, before.get("git_commit", "unknown"))
  of_seed = {"seed": values.seed} if values["seed"].present and values.seed != own.seed else {}
  others = {**of_drawing, **given, **of_seed}
  # The zoo's files and the figures of the run's own drawings stay.
  if zoo.is_model(folder.path) or of_drawing or others and before:
    folder = run_folder_lib.RunFolder(_beside(folder.path, others))
  summary = finish(folder, own, evaluator, classifier, seconds, git_commit=commit, drawn_with=of_drawing,
                   passes=rows[-1]["pass"] if rows else before.get("passes", 0))
  print(describe(summary))
  print(f"run folder: {folder.path}")
