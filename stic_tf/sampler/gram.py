"""Gram matrices: of features (the regulariser's statistics) and of training images (the preconditioner M = L Lᵀ).

A preconditioner maps images x to whitened coordinates u by x = mean + L u. GRMALA with preconditioner M in x is plain
MALA in u (method: docs/equations.md, "preconditioner"), so only L, Lᵀ and their inverses are ever applied.
"""

import dataclasses
import functools
from typing import Sequence

import numpy as np
import scipy.linalg
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import sparse_weights

# Above this many numbers an image, M is held as its circulant form.
DENSE_LIMIT = 4096
# Above this many, products with a full factor would cost a third of the network's own forward and backward pass: M is
# held as its leading components and one variance for all the others, which are small beside noise².
FULL_RANK_LIMIT = 1024
RANK = 512


@dataclasses.dataclass(frozen=True)
class ImageStatistics:
  """First and second moments of training images in [-1, 1].

  Attributes:
    image_shape: (H, W, C).
    mean: float64 [D], D = H·W·C.
    covariance: float64 [D, D] centred second moments, or None above DENSE_LIMIT.
    spectrum: complex128 [H, W, C, C], mean cross-channel power spectrum of the centred images, per pixel.
  """

  image_shape: tuple
  mean: np.ndarray
  covariance: np.ndarray
  spectrum: np.ndarray

  @classmethod
  def fit(cls, images: np.ndarray, dense_limit: int = DENSE_LIMIT) -> "ImageStatistics":
    """Moments of float images [N, H, W, C] in [-1, 1]. Raises ValueError on fewer than two images."""
    images = np.asarray(images, np.float64)
    if images.ndim != 4 or len(images) < 2:
      raise ValueError(f"image statistics need at least two images [N, H, W, C], got shape {images.shape}")
    shape = images.shape[1:]
    flat = images.reshape(len(images), -1)
    mean = flat.mean(0)
    centred = flat - mean
    covariance = centred.T @ centred / len(flat) if flat.shape[1] <= dense_limit else None
    waves = np.fft.fft2(centred.reshape(images.shape), axes=(1, 2))
    spectrum = np.einsum("nhwc,nhwd->hwcd", waves, waves.conj()) / (len(images) * shape[0] * shape[1])
    return cls(tuple(int(size) for size in shape), mean, covariance, spectrum)

  @functools.cached_property
  def leading_components(self):
    """The RANK largest principal components: (variances float64 [RANK], directions [D, RANK], mean of the others)."""
    size = len(self.mean)
    values, vectors = scipy.linalg.eigh(self.covariance, subset_by_index=[size - RANK, size - 1])
    rest = max((np.trace(self.covariance) - values.sum()) / (size - RANK), 0.0)
    return np.maximum(values, 0.0), vectors, rest

  @property
  def mean_variance(self) -> float:
    """Variance a pixel, averaged over the image."""
    return float(np.trace(self.spectrum, axis1=2, axis2=3).real.mean() / self.image_shape[2])


class Preconditioner:
  """M = L Lᵀ with the mean of the canvas; images are handled as rows [B, D]. Subclasses say how L is applied."""

  def __init__(self, image_shape: Sequence[int]):
    self.image_shape = tuple(image_shape)
    self.size = int(np.prod(self.image_shape))
    self.mean = tf.Variable(tf.zeros([self.size]), trainable=False, name="mean")

  def color(self, whitened: tf.Tensor) -> tf.Tensor:
    """L u: float32 [B, D] -> [B, D]."""
    raise NotImplementedError

  def color_transpose(self, rows: tf.Tensor) -> tf.Tensor:
    """Lᵀ v: float32 [B, D] -> [B, D]; takes a gradient in x to a gradient in u."""
    raise NotImplementedError

  def whiten(self, rows: tf.Tensor) -> tf.Tensor:
    """L⁻¹ v: float32 [B, D] -> [B, D]."""
    raise NotImplementedError

  def whiten_transpose(self, rows: tf.Tensor) -> tf.Tensor:
    """L⁻ᵀ v: float32 [B, D] -> [B, D]; takes a gradient in u to a gradient in x."""
    raise NotImplementedError

  def update(self, statistics: ImageStatistics, noise_level: float) -> None:
    """Fits the mean and M to moments of images plus smoothing noise of standard deviation `noise_level`."""
    raise NotImplementedError

  def to_rows(self, whitened: tf.Tensor) -> tf.Tensor:
    """x = mean + L u."""
    return self.mean + self.color(whitened)

  def to_whitened(self, rows: tf.Tensor) -> tf.Tensor:
    """u = L⁻¹ (x - mean)."""
    return self.whiten(rows - self.mean)

  def variables(self) -> Sequence[tf.Variable]:
    """What a checkpoint must hold."""
    return [self.mean]


class DensePreconditioner(Preconditioner):
  """M = covariance + noise²·I by its Cholesky factor."""

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    self.factor = tf.Variable(tf.eye(self.size), trainable=False, name="factor")

  def update(self, statistics, noise_level):
    self.mean.assign(statistics.mean)
    matrix = statistics.covariance + noise_level ** 2 * np.eye(self.size)
    self.factor.assign(scipy.linalg.cholesky(matrix, lower=True).astype(np.float32))

  def color(self, whitened):
    return tf.matmul(whitened, self.factor, transpose_b=True)

  def color_transpose(self, rows):
    return tf.matmul(rows, self.factor)

  def whiten(self, rows):
    return tf.transpose(tf.linalg.triangular_solve(self.factor, tf.transpose(rows), lower=True))

  def whiten_transpose(self, rows):
    return tf.transpose(tf.linalg.triangular_solve(self.factor, tf.transpose(rows), lower=True, adjoint=True))

  def variables(self):
    return [self.mean, self.factor]


class LowRankPreconditioner(Preconditioner):
  """M = V (Λ + noise²) Vᵀ + (λ̄ + noise²)(I - V Vᵀ): probabilistic PCA (Tipping & Bishop 1999) plus smoothing noise.

  V are the RANK leading directions, λ̄ is the mean variance of the others. L is its symmetric root, c·I + V D Vᵀ.
  """

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    # Both orders are held: a product with a transposed factor is several times slower.
    self.directions = tf.Variable(tf.zeros([self.size, RANK]), trainable=False, name="directions")
    self.directions_transposed = tf.Variable(tf.zeros([RANK, self.size]), trainable=False, name="directions_transposed")
    # D / c and c of the root, then of its inverse.
    self.scales = tf.Variable(tf.zeros([2, RANK]), trainable=False, name="scales")
    self.rest = tf.Variable(tf.ones([2]), trainable=False, name="rest")

  def update(self, statistics, noise_level):
    self.mean.assign(statistics.mean)
    values, vectors, rest = statistics.leading_components
    self.directions.assign(vectors)
    self.directions_transposed.assign(vectors.T)
    roots, rest_root = np.sqrt(values + noise_level ** 2), np.sqrt(rest + noise_level ** 2)
    self.scales.assign([roots / rest_root - 1.0, rest_root / roots - 1.0])
    self.rest.assign([rest_root, 1.0 / rest_root])

  def _apply(self, which, rows):
    inner = tf.matmul(rows, self.directions) * self.scales[which]
    # The scale last: a sum is added to this, and a sum of three may be regrouped, see langevin.propose.
    return self.rest[which] * (rows + tf.matmul(inner, self.directions_transposed))

  def color(self, whitened):
    return self._apply(0, whitened)

  def whiten(self, rows):
    return self._apply(1, rows)

  # The root is symmetric.
  color_transpose = color
  whiten_transpose = whiten

  def variables(self):
    return [self.mean, self.directions, self.directions_transposed, self.scales, self.rest]


class SpectralPreconditioner(Preconditioner):
  """The circulant form of M: a Hermitian C×C matrix a spatial frequency, applied by FFT. L is its symmetric root."""

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    height, width, channels = self.image_shape
    unit = tf.eye(channels, batch_shape=[height, width], dtype=tf.complex64)
    self.root = tf.Variable(unit, trainable=False, name="root")
    self.inverse_root = tf.Variable(unit, trainable=False, name="inverse_root")

  def update(self, statistics, noise_level):
    self.mean.assign(statistics.mean)
    matrices = statistics.spectrum + noise_level ** 2 * np.eye(self.image_shape[2])
    values, vectors = np.linalg.eigh(matrices)
    values = np.maximum(values, 1e-12)

    def power(exponent):
      return np.einsum("hwce,hwe,hwde->hwcd", vectors, values ** exponent, vectors.conj()).astype(np.complex64)

    self.root.assign(power(0.5))
    self.inverse_root.assign(power(-0.5))

  def _apply(self, matrices, rows):
    height, width, channels = self.image_shape
    images = tf.transpose(tf.reshape(rows, [-1, height, width, channels]), [0, 3, 1, 2])
    waves = tf.signal.fft2d(tf.cast(images, tf.complex64))
    mixed = tf.reduce_sum(tf.transpose(matrices, [2, 3, 0, 1]) * waves[:, tf.newaxis], axis=2)
    images = tf.math.real(tf.signal.ifft2d(mixed))
    return tf.reshape(tf.transpose(images, [0, 2, 3, 1]), [-1, self.size])

  def color(self, whitened):
    return self._apply(self.root, whitened)

  def whiten(self, rows):
    return self._apply(self.inverse_root, rows)

  # The root is symmetric.
  color_transpose = color
  whiten_transpose = whiten

  def variables(self):
    return [self.mean, self.root, self.inverse_root]


class IdentityPreconditioner(Preconditioner):
  """M = scale²·I, for ablation; scale² is the mean variance of a pixel plus noise². Not fitted: pixels as they are."""

  def __init__(self, image_shape: Sequence[int]):
    super().__init__(image_shape)
    self.scale = tf.Variable(1.0, trainable=False, name="scale")

  def update(self, statistics, noise_level):
    self.mean.assign(statistics.mean)
    self.scale.assign(np.sqrt(statistics.mean_variance + noise_level ** 2))

  def color(self, whitened):
    return whitened * self.scale

  def whiten(self, rows):
    return rows / self.scale

  color_transpose = color
  whiten_transpose = whiten

  def variables(self):
    return [self.mean, self.scale]


class PixelCoordinates(IdentityPreconditioner):
  """M = I and mean 0 whatever the images: JEM's SGLD walks in pixels."""

  def update(self, statistics, noise_level):
    del statistics, noise_level


def build_preconditioner(name: str, image_shape: Sequence[int]) -> Preconditioner:
  """The preconditioner called `name`, to be fitted by `update`.

  Args:
    name: "gram" (dense up to FULL_RANK_LIMIT numbers an image, low-rank up to DENSE_LIMIT, spectral above), "dense",
      "spectral", "identity" or "pixels".
    image_shape: (H, W, C).

  Raises:
    ConfigError: "dense" for images of more than DENSE_LIMIT numbers.
  """
  size = np.prod(image_shape)
  if name == "pixels":
    return PixelCoordinates(image_shape)
  if name == "identity":
    return IdentityPreconditioner(image_shape)
  if name == "dense":
    config_lib.require(size <= DENSE_LIMIT, "preconditioner", name, f"takes images of at most {DENSE_LIMIT} numbers")
    return DensePreconditioner(image_shape)
  if name == "spectral" or size > DENSE_LIMIT:
    return SpectralPreconditioner(image_shape)
  if size > FULL_RANK_LIMIT:
    return LowRankPreconditioner(image_shape)
  return DensePreconditioner(image_shape)


def _orthonormal(size: int, rank: int) -> np.ndarray:
  """`rank` orthonormal directions of R^size, the same in every run: float32 [size, rank]."""
  return np.linalg.qr(np.random.default_rng(size).normal(size=(size, rank)))[0].astype(np.float32)


def gram_matrix(features: tf.Tensor) -> tf.Tensor:
  """G = FᵀF / (H·W) of features [B, H, W, C] (method §1): float32 [B, C, C]."""
  positions = tf.cast(tf.shape(features)[1] * tf.shape(features)[2], features.dtype)
  rows = tf.reshape(features, [tf.shape(features)[0], -1, features.shape[-1]])
  return tf.matmul(rows, rows, transpose_a=True) / positions


def gram_distance(features: Sequence[tf.Tensor], class_grams: Sequence[tf.Tensor]) -> tf.Tensor:
  """Σ_l ‖G_l(x) - Ḡ_l‖² / ‖Ḡ_l‖² (method §1).

  Args:
    features: a tensor [B, H_l, W_l, r_l] per layer, as `ClassGrams.project` gives them.
    class_grams: Ḡ_l of each image's class weights, [B, r_l, r_l] per layer.

  Returns:
    float32 [B].
  """
  distances = []
  for layer, mean in zip(features, class_grams):
    difference = tf.reduce_sum(tf.square(gram_matrix(layer) - mean), axis=[1, 2])
    distances.append(difference / (tf.reduce_sum(tf.square(mean), axis=[1, 2]) + 1e-6))
  # Not a sum of several terms, which may be regrouped, see langevin.propose.
  return tf.reduce_sum(tf.stack(distances), axis=0)


class ClassGrams:
  """Running class means Ḡ_l,k of feature Gram matrices, one [K, r_l, r_l] variable a layer.

  Args:
    num_classes: K.
    channels: C_l of each layer.
    decay: of the running means.
    rank: r_l = min(rank, C_l); 0 for whole matrices. Below C_l the features are first projected on r_l fixed random
      orthonormal directions P_l, so that Ḡ is known on their span, as P_l (P_lᵀ Ḡ P_l) P_lᵀ: 10,000 classes fit then.
  """

  def __init__(self, num_classes: int, channels: Sequence[int], decay: float = 0.99, rank: int = 0):
    self.decay = decay
    ranks = [min(rank or size, size) for size in channels]
    self._bases = [None if rank == size else _orthonormal(size, rank) for size, rank in zip(channels, ranks)]
    self.means = [tf.Variable(tf.zeros([num_classes, size, size]), trainable=False, name=f"gram_{i}")
                  for i, size in enumerate(ranks)]
    self.seen = tf.Variable(tf.zeros([num_classes]), trainable=False, name="gram_seen")

  def update(self, features: Sequence[tf.Tensor], labels: tf.Tensor) -> None:
    """Moves each class in `labels` int32 [B] towards the batch's mean Gram matrix of that class."""
    counts = tf.math.unsorted_segment_sum(tf.ones_like(labels, tf.float32), labels, self.seen.shape[0])
    # A class's first batch sets its mean; later ones move it by 1 - decay.
    rate = tf.maximum(1.0 - self.decay, 1.0 / (self.seen + 1.0)) / tf.maximum(counts, 1.0)
    rows = tf.gather(rate, labels)[:, tf.newaxis, tf.newaxis]
    for mean, layer in zip(self.means, self.project(features)):
      change = rows * (gram_matrix(layer) - tf.gather(mean, labels))
      mean.assign_add(tf.math.unsorted_segment_sum(change, labels, self.seen.shape[0]))
    self.seen.assign_add(tf.cast(counts > 0, tf.float32))

  def project(self, features: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """Features [B, H_l, W_l, C_l] -> what the means are of: [B, H_l, W_l, r_l]."""
    return [layer if basis is None else tf.tensordot(layer, basis, 1) for layer, basis in zip(features, self._bases)]

  def of_weights(self, class_weights: tf.Tensor) -> Sequence[tf.Tensor]:
    """Ḡ_l,w = Σ_k w_k Ḡ_l,k: float32 class weights [B, K] -> [B, C_l, C_l] per layer."""
    return [tf.einsum("bk,kij->bij", class_weights, mean) for mean in self.means]

  def of_sparse(self, class_weights: sparse_weights.SparseWeights) -> Sequence[tf.Tensor]:
    """The same of sparse weights, at a cost that does not grow with K."""
    return [tf.einsum("bn,bnij->bij", class_weights.weights, tf.gather(mean, class_weights.classes))
            for mean in self.means]

  def num_bytes(self) -> int:
    """Memory that the class statistics take."""
    return sum(4 * variable.shape.num_elements() for variable in self.variables())

  def variables(self) -> Sequence[tf.Variable]:
    """What a checkpoint must hold."""
    return [*self.means, self.seen]
