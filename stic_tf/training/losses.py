"""The losses of recurrent self-analysis: scalars from the logits of the four streams."""

import tensorflow as tf


def soft_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
  """Mean cross-entropy of soft labels [B, K] against logits [B, K], for the real and the mixup stream: scalar."""
  return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, logits))


def contrastive(real_energy: tf.Tensor, fake_energy: tf.Tensor, energy_decay: float) -> tf.Tensor:
  """E f_w(fake) - E f_y(real) + α (E f_w(fake)² + E f_y(real)²): the maximum-likelihood gradient of p(x|y).

  Args:
    real_energy: f_y of real images [B].
    fake_energy: f_w of fakes under the class weights that drew them [F].
    energy_decay: α, keeps the logits' common offset, which no other term sees, from drifting.

  Returns:
    A scalar.
  """
  gap = tf.reduce_mean(fake_energy) - tf.reduce_mean(real_energy)
  return gap + energy_decay * (tf.reduce_mean(tf.square(fake_energy)) + tf.reduce_mean(tf.square(real_energy)))


def logistic(real_energy: tf.Tensor, fake_energy: tf.Tensor, energy_decay: float) -> tf.Tensor:
  """E softplus(f_w(fake)) + E softplus(-f_y(real)): real against fake as a classification. Same arguments; no α."""
  del energy_decay
  return tf.reduce_mean(tf.nn.softplus(fake_energy)) + tf.reduce_mean(tf.nn.softplus(-real_energy))


def denoising(denoised: tf.Tensor, clean: tf.Tensor, unlearnt_error: tf.Tensor) -> tf.Tensor:
  """Mean of ‖D(x + σε, σ) - x‖² a pixel over what it is before training: 1 at every level then, as in EDM.

  Args:
    denoised, clean: float32 [B, H, W, C].
    unlearnt_error: mean squared error a pixel of the Gaussian alone, float32 [B] or one for all: EDM's 1 / λ(σ).

  Returns:
    A scalar.
  """
  return tf.reduce_mean(tf.reduce_mean(tf.square(denoised - clean), axis=[1, 2, 3]) / unlearnt_error)


BY_NAME = {"contrastive": contrastive, "logistic": logistic}
