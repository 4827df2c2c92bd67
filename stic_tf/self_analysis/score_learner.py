"""The learner of Score-STIC: denoising, cross-entropy and mixup at noise, and real against fake (method §4)."""

import tensorflow as tf

from stic_tf.models import build
from stic_tf.sampler import target as target_lib
from stic_tf.self_analysis import learner as learner_lib
from stic_tf.self_analysis import losses


class ScoreLearner(learner_lib.Learner):
  """A Learner whose network takes images and noise levels.

  Args:
    network, average: as for Learner, noise-conditional.
    fake_weight: weight of the real/fake loss, which trains the evidence head alone; 0 for none.
    cross_entropy_weight: weight of each of the two cross-entropies beside the denoising loss.
    ema_decay: as for Learner.
  """

  def __init__(self, network, average, fake_weight: float, cross_entropy_weight: float, ema_decay: float):
    super().__init__(network, average, "logistic", fake_weight, 0.0, ema_decay)
    self.cross_entropy_weight = cross_entropy_weight

  def call(self, images, training=False):
    """Class energies [B, K] of images [B, H, W, C] at σ [B], given as a pair."""
    return self.network(images, training=training)[0]

  def train_step(self, data):
    """One update of the weights, by a gradient through the input gradient that denoises.

    Args:
      data: a dictionary of float32 tensors.
        clean_images [B, H, W, C], clean_labels [B, K], noise of the images' shape (standard normal), clean_levels [B]:
          the denoising stream, never augmented.
        mixup_images, mixup_labels, mixup_levels: noisy mixtures of augmented real images.
        fake_images, fake_weights, fake_levels: noisy fakes with the class weights that drew them; absent where there
          are none.

    Returns:
      A dictionary of scalars: loss_denoising, loss_classification, loss_mixup, loss_generative, energy_bound (largest
      |g| of the denoising stream, which is of one size at all levels; f's Gaussian part grows with the canvas).
    """
    clean, levels = data["clean_images"], data["clean_levels"]
    wide = levels[:, tf.newaxis, tf.newaxis, tf.newaxis]
    noisy = clean + wide * data["noise"]
    logs = {}
    with tf.GradientTape(persistent=True) as tape:
      with tf.GradientTape(watch_accessed_variables=False) as image_tape:
        image_tape.watch(noisy)
        energies, evidence = build.level_energies(self.network, noisy, levels)
        energy = target_lib.weighted_logit(energies, data["clean_labels"])
      denoised = noisy + tf.square(wide) * image_tape.gradient(energy, noisy)
      logs["loss_denoising"] = losses.denoising(denoised, clean, levels, self.network.data_scale)
      logs["loss_classification"] = losses.soft_cross_entropy(data["clean_labels"], energies)
      mixed, _ = build.level_energies(self.network, data["mixup_images"], data["mixup_levels"])
      logs["loss_mixup"] = losses.soft_cross_entropy(data["mixup_labels"], mixed)
      loss = logs["loss_denoising"] + self.cross_entropy_weight * (logs["loss_classification"] + logs["loss_mixup"])
      has_fakes = "fake_images" in data and self.fake_weight
      if has_fakes:
        _, fake_evidence = build.level_energies(self.network, data["fake_images"], data["fake_levels"])
        logs["loss_generative"] = losses.logistic(target_lib.weighted_logit(evidence, data["clean_labels"]),
                                                  target_lib.weighted_logit(fake_evidence, data["fake_weights"]), 0.0)
      # Gradients of the replicas are summed by the optimizer.
      replicas = tf.cast(tf.distribute.get_strategy().num_replicas_in_sync, loss.dtype)
      loss /= replicas
      head_loss = self.fake_weight * logs["loss_generative"] / replicas if has_fakes else 0.0 * loss
    # The head is a reading of features that denoise: let into them, its loss costs more FID than its ratio gains.
    head = [variable for variable in self.network.trainable_variables if "evidence" in variable.name]
    body = [variable for variable in self.network.trainable_variables if "evidence" not in variable.name]
    zero = tf.UnconnectedGradients.ZERO
    gradients = (tape.gradient(loss, body, unconnected_gradients=zero)
                 + tape.gradient(head_loss, head, unconnected_gradients=zero))
    self.optimizer.apply_gradients(zip(gradients, body + head))
    learnt = energies - self.network.gaussian(noisy, levels)[:, tf.newaxis]
    logs["energy_bound"] = tf.reduce_max(tf.abs(learnt) * (levels / self.network.data_scale)[:, tf.newaxis])
    return logs
