"""Class energies f_w(x), with or without the Gram term: what a density is made of.

An energy is conditioned once a chain, `condition(class_weights, guidance)`, and then called with images and that
condition. It gives (f_w [B], a_w): a_w is where the class looks, [B, M], of an attentive network, else ().
"""

from typing import Any, Callable, Optional

import tensorflow as tf

from stic_tf import sparse_weights
from stic_tf.targets import class_grams as class_grams_lib


def weighted_logit(logits: tf.Tensor, class_weights: tf.Tensor) -> tf.Tensor:
  """f_w = Σ_k w_k z_k: [B, K], [B, K] -> [B]."""
  return tf.reduce_sum(logits * class_weights, axis=1)


def guided(of_class: tf.Tensor, of_any: tf.Tensor, guidance) -> tf.Tensor:
  """f_w + γ (f_w - log Σ_k exp f_k): f_w, the logsumexp and γ, [B] each, or γ a number -> [B].

  γ = 0 is the density of the class; more is its more typical part, p(x | w) p(w | x)^γ (Dhariwal & Nichol 2021); and -1
  at T = 1 is the class-free density. A Gram term is not guided.
  """
  return (1.0 + guidance) * of_class - guidance * of_any


class ClassEnergy:
  """f_w(x) - λ·(Gram distance) of a classifier that gives all its logits.

  Args:
    logits_and_features: function images [B, H, W, C] -> (logits [B, K], [features [B, H_l, W_l, C_l], …]).
    class_grams: class statistics of the features; None without the Gram term.
    gram_weight: λ.
  """

  def __init__(self, logits_and_features: Callable, class_grams: Optional[class_grams_lib.ClassGrams] = None,
               gram_weight: float = 0.0):
    self._logits_and_features, self._class_grams, self._gram_weight = logits_and_features, class_grams, gram_weight

  def condition(self, class_weights: tf.Tensor, guidance: Optional[tf.Tensor] = None) -> Any:
    """What a call takes for class weights float32 [B, K] and γ float32 [B] of `guided`, None for none."""
    return class_weights, guidance

  def __call__(self, images: tf.Tensor, condition) -> tuple:
    class_weights, guidance = condition
    logits, features = self._logits_and_features(images)
    energy = weighted_logit(logits, class_weights)
    if guidance is not None:
      energy = guided(energy, tf.reduce_logsumexp(logits, axis=1), guidance)
    if self._gram_weight > 0:
      means = self._class_grams.of_weights(class_weights)
      energy -= self._gram_weight * class_grams_lib.gram_distance(self._class_grams.project(features), means)
    return energy, ()


class AttentiveEnergy:
  """The same of a classifier that reads single classes and shows where they look: its cost does not grow with K.

  With guidance it reads all classes, by what the trunk made of the image once.

  Args:
    read: function (images, SparseWeights, whether all classes are read) -> (f_w [B], a_w [B, M], [features
      [B, H, W, C], …], log Σ_k exp f_k [B] or None).
    class_grams, gram_weight: as for ClassEnergy.
    most_classes: how many an image is a mixture of.
  """

  def __init__(self, read: Callable, class_grams: Optional[class_grams_lib.ClassGrams] = None,
               gram_weight: float = 0.0, most_classes: int = sparse_weights.MOST_CLASSES):
    self._read, self._class_grams, self._gram_weight = read, class_grams, gram_weight
    self._most_classes = most_classes

  def condition(self, class_weights: tf.Tensor, guidance: Optional[tf.Tensor] = None) -> Any:
    """What a call takes for class weights float32 [B, K] and γ float32 [B], None for none."""
    sparse = sparse_weights.of_dense(class_weights, self._most_classes)
    return sparse, guidance, self._class_grams.of_sparse(sparse) if self._gram_weight > 0 else []

  def __call__(self, images: tf.Tensor, condition) -> tuple:
    sparse, guidance, means = condition
    energy, attention, features, of_any = self._read(images, sparse, guidance is not None)
    if guidance is not None:
      energy = guided(energy, of_any, guidance)
    if self._gram_weight > 0:
      energy -= self._gram_weight * class_grams_lib.gram_distance(self._class_grams.project(features), means)
    return energy, attention
