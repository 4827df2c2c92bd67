"""The image metrics of a run in one place: drawings against real images, always beside the floor."""

from typing import Optional

import numpy as np

from stic_tf.metrics import intervals
from stic_tf.metrics import kernel
from stic_tf.metrics import neighbours
from stic_tf.metrics import paths
from stic_tf.metrics import second_judge
from stic_tf.metrics.classification import classification_accuracy_score
from stic_tf.metrics.features import FeatureNetwork
from stic_tf.metrics.frechet import frechet_distance
from stic_tf.metrics.inception import inception_score
from stic_tf.metrics.judge_model import check_labelled_images

# The figures are to be compared over runs and passes, so their random choices never follow the run's seed.
_FLOOR_SEED = 0
_CAS_SEED = 0
_MOST_RESAMPLED_FEATURES = 512


def _splits(drawings) -> int:
  return min(10, len(drawings))


def _inception_score(probabilities) -> float:
  return inception_score(probabilities, splits=_splits(probabilities))[0]


def in_turn(labels, num_classes: int, seed: int) -> np.ndarray:
  """A random order of images in which their classes come in turn, as those of drawings do: int [N].

  Where a class has no more, the others go on.

  Args:
    labels: int [N] in 0..num_classes-1.
    num_classes: K.
    seed: of the order within a class.
  """
  order = np.random.default_rng(seed).permutation(len(labels))
  turns = np.zeros(len(labels), int)
  for label in range(num_classes):
    own = np.asarray(labels)[order] == label
    turns[own] = np.arange(own.sum())
  return order[np.argsort(turns, kind="stable")]


class DrawingJudge:
  """Scores drawings of one data set; features of the real images are computed once and kept.

  Args:
    feature_network: see `features.FeatureNetwork`.
    train_images: the real training split, uint8 [N, H, W, C].
    train_labels: int [N] in 0..num_classes-1.
    test_images: the real split to compare with (test for what is reported, validation for what is chosen), uint8
      [M, H, W, C].
    test_labels: int [M].
    num_classes: K.
  Raises:
    ValueError: images or labels of a wrong shape, type or range.
  """

  def __init__(self, feature_network: FeatureNetwork, train_images, train_labels, test_images, test_labels,
               num_classes: int):
    self.feature_network = feature_network
    self.num_classes = num_classes
    self._train_images, self._train_labels = check_labelled_images(train_images, train_labels, num_classes)
    self._test_images, self._test_labels = check_labelled_images(test_images, test_labels, num_classes)
    self._test = feature_network(self._test_images)
    self._floors = {}

  def floor(self, num_samples: int) -> float:
    """Fréchet distance of real training images to the real test images: what perfect drawings would score, about.

    The distance falls as the count grows, so the floor takes as many training images as there are drawings (a fixed
    random choice of them, their classes in turn), or all where there are fewer. The judge has learnt of them, and
    knows them better than it would know others.
    """
    count = min(num_samples, len(self._train_images))
    if count not in self._floors:
      chosen = in_turn(self._train_labels, self.num_classes, _FLOOR_SEED)[:count]
      self._floors[count] = frechet_distance(self.feature_network(self._train_images[chosen]).features,
                                             self._test.features)
    return self._floors[count]

  def judge_accuracy(self) -> Optional[float]:
    """The feature network's accuracy on the real test images; None where its classes are not the data set's."""
    return self._agreement(self._test.probabilities, self._test_labels)

  def score(self, drawings, labels, with_cas: bool = True) -> dict:
    """All figures of one set of drawings, which should be fresh and unfiltered.

    Args:
      drawings: uint8 [S, H, W, C], S >= 2.
      labels: int [S], the class each was drawn for.
      with_cas: whether to train the network of the classification accuracy score (the slow part).
    Returns:
      A JSON-ready dict: `fid`, `fid_floor`, `kid`, `kid_std`, `inception_score`, `inception_score_std`, `cas` (None
      without, and of one class alone), `judge` (the network's name), `judge_accuracy` and `judge_agreement` (fraction
      of drawings that the network gives their own class; None where its classes are not the data set's),
      `num_samples`.
    Raises:
      ValueError: drawings or labels of a wrong shape, type or range.
    """
    drawings, labels = check_labelled_images(drawings, labels, self.num_classes)
    if drawings.shape[1:] != self._test_images.shape[1:]:
      raise ValueError(f"drawings are {list(drawings.shape[1:])}, real images {list(self._test_images.shape[1:])}")
    drawn = self.feature_network(drawings)
    kid, kid_std = kernel.kernel_distance(drawn.features, self._test.features)
    score, score_std = inception_score(drawn.probabilities, splits=_splits(drawings))
    cas = None
    if with_cas and self.num_classes > 1:  # of one class any answer is right
      cas = classification_accuracy_score(
        drawings, labels, self._test_images, self._test_labels, self.num_classes, _CAS_SEED)
    return {
      "fid": frechet_distance(drawn.features, self._test.features),
      "fid_floor": self.floor(len(drawings)),
      "kid": kid,
      "kid_std": kid_std,
      "inception_score": score,
      "inception_score_std": score_std,
      "cas": cas,
      "judge": self.feature_network.name,
      "judge_accuracy": self.judge_accuracy(),
      "judge_agreement": self._agreement(drawn.probabilities, labels),
      "num_samples": len(drawings),
    }

  def final_figures(self, drawings, labels, learnt_images, scores: dict, mirrored: bool = False) -> dict:
    """What is asked of a finished run alone: variety, copies, another judge, and how sure the figures are.

    Args:
      drawings: uint8 [S, H, W, C], those that were scored.
      labels: int [S], the class each was drawn for.
      learnt_images: uint8 [N, H, W, C], those that the model has learnt from.
      mirrored: whether it has learnt them in their mirror image too.
      scores: what `score` gave of them, and "test_accuracy", of as many images as are real test images here.
    Returns:
      A JSON-ready dict: `precision`, `recall`, `nearest_train`, `nearest_train_least` (see `neighbours`; of as many
      drawings as test images, min(S, M): compare only values of equal counts),
      `second_judge_accuracy` on real test images and `second_judge_agreement` (see `second_judge`; None without), and
      `intervals`: [low, high] at 95 % of `test_accuracy`, both judges' agreement, `cas`, `fid`, `kid`,
      `inception_score`, `precision` and `recall` (of each beside the other set as it is), of these test images and
      these drawings alone; how far another training would come out elsewhere is for several seeds to say. That of
      `fid` is None where features are many (Inception's 2048) or resamples too few for a Gaussian, and that of `kid`
      of fewer than 20 images.
    """
    seen = self.feature_network(drawings)
    drawn = seen.features
    count = min(len(drawings), len(self._test_images))
    precision, recall = neighbours.precision_and_recall(self._test.features[:count], drawn[:count])
    second = second_judge.second_judge(self._train_images, self._train_labels)
    figures = {"precision": precision, "recall": recall,
               "second_judge_accuracy": second and second.agreement(self._test_images, self._test_labels),
               "second_judge_agreement": second and second.agreement(drawings, labels)}
    tests, draws = len(self._test_images), len(drawings)
    counts = {"test_accuracy": tests, "cas": tests, "judge_agreement": draws, "precision": count, "recall": count,
              "second_judge_accuracy": tests, "second_judge_agreement": draws}
    known = {**scores, **figures}
    shares = {name: intervals.of_share(known[name], of) for name, of in counts.items() if known.get(name) is not None}
    return {**figures, **neighbours.nearness_to_training(drawings[:count], learnt_images, self._test_images[:count],
                                                            mirrored),
            "intervals": {**shares, "fid": self._fid_interval(drawn), "kid": self._kid_interval(drawn, scores["kid"]),
                          "inception_score": intervals.resampled(_inception_score, seen.probabilities)}}

  def _kid_interval(self, drawn: np.ndarray, kid: float) -> Optional[list]:
    try:
      return kernel.interval(drawn, self._test.features, kid)
    except ValueError:
      return None

  def _fid_interval(self, drawn: np.ndarray) -> Optional[list]:
    if drawn.shape[1] > _MOST_RESAMPLED_FEATURES:  # a root of a matrix a resample
      return None
    try:
      low, high = intervals.resampled(frechet_distance, drawn, self._test.features)
    except ValueError:
      return None
    return [max(low, 0.0), high]

  def path_figures(self, images, first, second) -> dict:
    """`paths.path_figures` of drawings uint8 [P, S, H, W, C]; nothing where the judge's classes are others."""
    if not self._knows_classes:
      return {}
    probabilities = self.feature_network(images.reshape(-1, *images.shape[2:])).probabilities
    return paths.path_figures(probabilities.reshape(*images.shape[:2], -1), first, second)

  @property
  def _knows_classes(self) -> bool:
    same_classes = getattr(self.feature_network, "predicts_dataset_classes", True)
    return same_classes and self._test.probabilities.shape[1] == self.num_classes

  def _agreement(self, probabilities: np.ndarray, labels: np.ndarray) -> Optional[float]:
    """The fraction of rows [N, J] whose largest entry is at the label [N]; None where J classes are other classes."""
    if not self._knows_classes:
      return None
    return float(np.mean(np.argmax(probabilities, axis=1) == labels))
