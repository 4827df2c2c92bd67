"""Class statistics of the Gram term: running class means of feature Gram matrices, and an image's distance to them."""

from typing import Dict, Sequence

import numpy as np
import tensorflow as tf

from stic_tf import rounding
from stic_tf import sparse_weights


def _orthonormal(size: int, rank: int) -> np.ndarray:
  """`rank` orthonormal directions of R^size, the same in every run: float32 [size, rank]."""
  return np.linalg.qr(np.random.default_rng(size).normal(size=(size, rank)))[0].astype(np.float32)


def gram_matrix(features: tf.Tensor) -> tf.Tensor:
  """G = FᵀF / (H·W) of features [B, H, W, C]: float32 [B, C, C]."""
  positions = tf.cast(tf.shape(features)[1] * tf.shape(features)[2], features.dtype)
  rows = tf.reshape(features, [tf.shape(features)[0], -1, features.shape[-1]])
  return tf.matmul(rows, rows, transpose_a=True) / positions


def gram_distance(features: Sequence[tf.Tensor], class_grams: Sequence[tf.Tensor]) -> tf.Tensor:
  """Σ_l ‖G_l(x) - Ḡ_l‖² / ‖Ḡ_l‖², without the terms whose Ḡ_l is 0: of classes that were never seen.

  Args:
    features: a tensor [B, H_l, W_l, r_l] per layer, as `ClassGrams.project` gives them.
    class_grams: Ḡ_l of each image's class weights, [B, r_l, r_l] per layer.

  Returns:
    float32 [B].
  """
  distances = []
  for layer, mean in zip(features, class_grams):
    difference = tf.reduce_sum(tf.square(gram_matrix(layer) - mean), axis=[1, 2])
    size = tf.reduce_sum(tf.square(mean), axis=[1, 2])
    distances.append(tf.where(size > 0, difference / (size + 1e-6), 0.0))
  return rounding.sum_of(distances)


class ClassGrams(tf.Module):
  """Running class means Ḡ_l,k of feature Gram matrices, one [K, r_l, r_l] variable a layer.

  Args:
    num_classes: K.
    channels: C_l of each layer.
    decay: of the running means.
    rank: r_l = min(rank, C_l); 0 for whole matrices. Below C_l the features are first projected on r_l fixed random
      orthonormal directions P_l, so that Ḡ is known on their span, as P_l (P_lᵀ Ḡ P_l) P_lᵀ: 10,000 classes fit then.
  """

  def __init__(self, num_classes: int, channels: Sequence[int], decay: float = 0.99, rank: int = 0):
    super().__init__()
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
    return [layer if basis is None else rounding.along_last_axis(layer, basis)
            for layer, basis in zip(features, self._bases)]

  def of_weights(self, class_weights: tf.Tensor) -> Sequence[tf.Tensor]:
    """Ḡ_l,w = Σ_k w_k Ḡ_l,k: float32 class weights [B, K] -> [B, C_l, C_l] per layer."""
    return [tf.reshape(rounding.product(class_weights, tf.reshape(mean, [mean.shape[0], -1])), [-1, *mean.shape[1:]])
            for mean in self.means]

  def of_sparse(self, class_weights: sparse_weights.SparseWeights) -> Sequence[tf.Tensor]:
    """The same of sparse weights, at a cost that does not grow with K."""
    return [tf.einsum("bn,bnij->bij", class_weights.weights, tf.gather(mean, class_weights.classes))
            for mean in self.means]

  def num_bytes(self) -> int:
    """Memory that the class statistics take."""
    return sum(4 * variable.shape.num_elements() for variable in self.variables)

  def named_variables(self) -> Dict[str, tf.Variable]:
    """What a checkpoint must hold, by name."""
    return {variable.name.split(":")[0]: variable for variable in self.variables}
