"""A judge of another kind, which shares no layer with what is judged: support vectors on pixels."""

from typing import Optional

import numpy as np
from sklearn import pipeline
from sklearn import preprocessing
from sklearn import svm

_MOST_TRAINING_IMAGES = 5000
# Pixels say what a line drawing is; of a photograph they do not, and this judge would be worth nothing.
_MOST_PIXELS = 1024


class SecondJudge:
  """A classifier with a Gaussian kernel on pixels, trained on up to 5000 real images.

  Args:
    images: uint8 [N, H, W, C].
    labels: int [N], at least two classes.
    seed: of the choice of images.
  """

  def __init__(self, images, labels, seed: int = 0):
    chosen = np.random.default_rng(seed).permutation(len(labels))[:_MOST_TRAINING_IMAGES]
    self._model = pipeline.make_pipeline(preprocessing.FunctionTransformer(_rows), svm.SVC(C=10.0))
    self._model.fit(images[chosen], labels[chosen])

  def agreement(self, images, labels) -> float:
    """The share of images uint8 [N, H, W, C] that it gives their label."""
    return float(self._model.score(images, labels))


def _rows(images) -> np.ndarray:
  return np.asarray(images).reshape(len(images), -1) / np.float32(255.0)


def second_judge(images, labels) -> Optional[SecondJudge]:
  """A SecondJudge of these real images; None for photographs, and where there is one class alone."""
  if images[0].size > _MOST_PIXELS or len(np.unique(labels)) < 2:
    return None
  return SecondJudge(images, labels)
