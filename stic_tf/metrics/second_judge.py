"""A judge of another kind, which shares no layer with what is judged and learns no features from labels.

Of line drawings support vectors on pixels; of photographs, whose pixels alone say little, a linear reading of how near
each patch is to the commonest ones (Coates, Lee & Ng 2011).
"""

from typing import Optional

import numpy as np
from sklearn import base
from sklearn import cluster
from sklearn import decomposition
from sklearn import linear_model
from sklearn import pipeline
from sklearn import preprocessing
from sklearn import svm

_MOST_DRAWINGS, _MOST_PHOTOGRAPHS = 5000, 10000  # that are learnt from
# Pixels say what a line drawing is; of a photograph they do not.
_MOST_PIXELS = 1024
_SIDE = 6  # of a patch
_MOST_PATCHES = 100_000  # that the common ones are found among
_COMMON = 400
_PATCHES_AT_ONCE = 40_000


class SecondJudge:
  """A classifier trained on up to 5000 real line drawings, or 10,000 photographs: images of more than 1024 numbers.

  Args:
    images: uint8 [N, H, W, C].
    labels: int [N], at least two classes.
    seed: of the choice of images, and of patches.
  """

  def __init__(self, images, labels, seed: int = 0):
    if images[0].size > _MOST_PIXELS:
      most, parts = _MOST_PHOTOGRAPHS, [Patches(seed), preprocessing.StandardScaler(),
                                        linear_model.RidgeClassifier(100.0)]
    else:
      most, parts = _MOST_DRAWINGS, [preprocessing.FunctionTransformer(_rows), svm.SVC(C=10.0)]
    chosen = np.random.default_rng(seed).permutation(len(labels))[:most]
    self._model = pipeline.make_pipeline(*parts)
    self._model.fit(images[chosen], labels[chosen])

  def agreement(self, images, labels) -> float:
    """The share of images uint8 [N, H, W, C] that it gives their label."""
    return float(self._model.score(images, labels))


class Patches(base.BaseEstimator, base.TransformerMixin):
  """uint8 [N, H, W, C] -> float32 [N, 4·400]: how much nearer than most each common patch is, summed over each quarter.

  Patches of 6×6 pixels have their mean taken off, are divided by their deviation, and are whitened; the common ones are
  the centres that k-means finds among 100,000 of them.
  """

  def __init__(self, seed: int = 0):
    self.seed = seed

  def fit(self, images, labels=None) -> "Patches":
    generator = np.random.default_rng(self.seed)
    per_image = (images.shape[1] - _SIDE + 1) * (images.shape[2] - _SIDE + 1)
    kept = max(1, per_image // 10)
    some = generator.permutation(len(images))[:_MOST_PATCHES // kept]
    patches = np.concatenate([_patches(images[[one]]).reshape(per_image, -1)[generator.permutation(per_image)[:kept]]
                              for one in some])
    self._whitening = decomposition.PCA(0.99).fit(patches)
    self._scale = np.float32(1.0 / np.sqrt(self._whitening.explained_variance_ + 0.1))
    common = cluster.MiniBatchKMeans(min(_COMMON, len(patches)), batch_size=2048, n_init=1, max_iter=10,
                                     max_no_improvement=None, random_state=self.seed)
    centres = common.fit(self._whitened(patches)).cluster_centers_
    self._centres = np.float32(centres)
    return self

  def transform(self, images) -> np.ndarray:
    at_once = max(1, _PATCHES_AT_ONCE // (images.shape[1] * images.shape[2]))
    return np.concatenate([self._summed(images[start:start + at_once]) for start in range(0, len(images), at_once)])

  def _whitened(self, patches):
    return (patches - np.float32(self._whitening.mean_)) @ np.float32(self._whitening.components_.T) * self._scale

  def _summed(self, images) -> np.ndarray:
    whitened = self._whitened(_patches(images))
    squared = np.sum(whitened ** 2, axis=-1, keepdims=True) + np.sum(self._centres ** 2, axis=1)
    away = np.sqrt(np.maximum(squared - 2.0 * (whitened @ self._centres.T), 0.0))
    nearer = np.maximum(away.mean(-1, keepdims=True) - away, 0.0)
    quarters = [part for half in np.array_split(nearer, 2, axis=1) for part in np.array_split(half, 2, axis=2)]
    return np.concatenate([part.sum((1, 2)) for part in quarters], axis=1)


def _patches(images) -> np.ndarray:
  """uint8 [N, H, W, C] -> float32 [N, H', W', 36·C], of mean 0 and deviation 1 at most."""
  windows = np.lib.stride_tricks.sliding_window_view(np.float32(images), (_SIDE, _SIDE), axis=(1, 2))
  rows = windows.reshape(*windows.shape[:3], -1)
  rows = rows - rows.mean(-1, keepdims=True)
  return rows / np.sqrt(rows.var(-1, keepdims=True) + 10.0)


def _rows(images) -> np.ndarray:
  return np.asarray(images).reshape(len(images), -1) / np.float32(255.0)


def second_judge(images, labels) -> Optional[SecondJudge]:
  """A SecondJudge of these real images; None where there is one class alone."""
  return SecondJudge(images, labels) if len(np.unique(labels)) > 1 else None
