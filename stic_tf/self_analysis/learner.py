"""The learner: a classifier that is re-estimated on real images, mixup images and its own fakes (method §3)."""

import keras
import tensorflow as tf

from stic_tf.models import build
from stic_tf.sampler import target as target_lib
from stic_tf.self_analysis import losses


class Learner(keras.Model):
  """A Keras model whose `train_step` takes the four streams of recurrent self-analysis.

  Args:
    network: the classifier, images -> [logits, features, …].
    average: a network of the same shape that holds the exponential moving average of its weights, used to draw and to
      answer.
    loss_name: a key of `losses.BY_NAME`.
    fake_weight: weight of the generative loss; 0 trains a plain classifier.
    energy_decay: α of the contrastive loss.
    ema_decay: decay of the average once warm.
  """

  def __init__(self, network: keras.Model, average: keras.Model, loss_name: str, fake_weight: float,
               energy_decay: float, ema_decay: float):
    super().__init__(name="learner")
    self.network = network
    self.average = average
    self.generative_loss = losses.BY_NAME[loss_name]
    self.fake_weight = fake_weight
    self.energy_decay = energy_decay
    self.ema_decay = ema_decay
    average.set_weights(network.get_weights())
    average.trainable = False

  def call(self, images, training=False):
    """Logits [B, K] of images [B, H, W, C] in [-1, 1]."""
    return self.network(images, training=training)[0]

  def train_step(self, data):
    """One update of the weights.

    Args:
      data: a dictionary of float32 tensors; class weights and labels are on the simplex [·, K].
        real_images, real_labels; mixup_images, mixup_labels: the classification streams (augmented).
        generative_images, generative_labels: real images plus smoothing noise (never augmented).
        fake_images, fake_weights: unrendered fakes with the class weights that drew them; absent where there are none.

    Returns:
      A dictionary of scalars: loss_classification, loss_mixup, loss_generative, energy_real, energy_fake, energy_bound
      (largest |f|).
    """
    has_fakes = "fake_images" in data
    streams = ["real", "mixup"] + (["generative", "fake"] if has_fakes else [])
    images = tf.concat([data[f"{name}_images"] for name in streams], axis=0)
    sizes = [tf.shape(data[f"{name}_images"])[0] for name in streams]
    with tf.GradientTape() as tape:
      logits = dict(zip(streams, tf.split(self(images, training=True), sizes)))
      classification = losses.soft_cross_entropy(data["real_labels"], logits["real"])
      mixup = losses.soft_cross_entropy(data["mixup_labels"], logits["mixup"])
      loss = classification + mixup
      logs = {"loss_classification": classification, "loss_mixup": mixup}
      if has_fakes:
        real_energy = target_lib.weighted_logit(logits["generative"], data["generative_labels"])
        fake_energy = target_lib.weighted_logit(logits["fake"], data["fake_weights"])
        generative = self.generative_loss(real_energy, fake_energy, self.energy_decay)
        loss += self.fake_weight * generative
        logs.update(loss_generative=generative, energy_real=tf.reduce_mean(real_energy),
                    energy_fake=tf.reduce_mean(fake_energy))
      # Gradients of the replicas are summed by the optimizer.
      scaled = loss / tf.cast(tf.distribute.get_strategy().num_replicas_in_sync, loss.dtype)
    variables = self.network.trainable_variables
    self.optimizer.apply_gradients(zip(tape.gradient(scaled, variables), variables))
    logs["energy_bound"] = tf.reduce_max(tf.abs(tf.concat(list(logits.values()), axis=0)))
    return logs

  def update_average(self, updates: tf.Tensor) -> None:
    """Moves the average towards the weights; call once an update, outside the replicas.

    Args:
      updates: how many updates were made before, a scalar; early on the average is a short one.
    """
    updates = tf.cast(updates, tf.float32)
    decay = tf.minimum(self.ema_decay, (updates + 1.0) / (updates + 10.0))
    for mean, value in zip(self.average.variables, self.network.variables):
      if value.trainable:
        mean.assign(decay * mean + (1.0 - decay) * value)


def probabilities(network: keras.Model, images: tf.Tensor) -> tf.Tensor:
  """Class probabilities [B, K] of images [B, H, W, C] in [-1, 1]."""
  return tf.nn.softmax(build.logits(network, images))
