"""One update of the weights and of their average."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from stic_tf.models import convolutional
from stic_tf.self_analysis import learner as learner_lib

SHAPE, NUM_CLASSES = (8, 8, 1), 3


def _learner(seed=0, learning_rate=3e-3, **settings):
  network, average = (convolutional.small_network(SHAPE, NUM_CLASSES, 8, seed) for _ in range(2))
  settings = {"loss_name": "contrastive", "fake_weight": 1.0, "energy_decay": 0.01, "ema_decay": 0.9, **settings}
  learner = learner_lib.Learner(network, average, **settings)
  learner.compile(optimizer=keras.optimizers.Adam(learning_rate, jit_compile=False))
  learner.optimizer.build(network.trainable_variables)
  return learner


def _batch(with_fakes=True):
  """Real images with a bright row a class; fakes are noise."""
  rng = np.random.default_rng(0)
  labels = np.arange(12) % NUM_CLASSES
  images = rng.normal(0, 0.2, [12, *SHAPE])
  images[np.arange(12), 2 * labels] += 1.0
  one_hot = np.eye(NUM_CLASSES)[labels]
  mixed, mixed_labels = 0.7 * images + 0.3 * images[::-1], 0.7 * one_hot + 0.3 * one_hot[::-1]
  data = {"real_images": images, "real_labels": one_hot, "mixup_images": mixed, "mixup_labels": mixed_labels}
  if with_fakes:
    data.update(generative_images=images + rng.normal(0, 0.3, images.shape), generative_labels=one_hot,
                fake_images=rng.normal(0, 1, [10, *SHAPE]), fake_weights=rng.dirichlet(np.ones(3), 10))
  return {name: tf.constant(value, tf.float32) for name, value in data.items()}


def _train(learner, data, updates):
  step = tf.function(learner.train_step, autograph=False)
  return [{name: float(value) for name, value in step(data).items()} for _ in range(updates)]


@pytest.mark.parametrize("loss_name", ["contrastive", "logistic"])
def test_updates_learn_the_classes_and_push_fakes_down(loss_name):
  logs = _train(_learner(loss_name=loss_name), _batch(), 60)
  assert set(logs[0]) == {"loss_classification", "loss_mixup", "loss_generative", "energy_real", "energy_fake",
                          "energy_bound"}
  assert logs[0]["loss_classification"] == pytest.approx(np.log(3), abs=0.2)
  assert logs[-1]["loss_classification"] < 0.5 * logs[0]["loss_classification"]
  gap = [row["energy_real"] - row["energy_fake"] for row in logs]
  assert gap[-1] > gap[0] + 1.0
  assert logs[-1]["energy_fake"] < logs[0]["energy_fake"]


def test_the_logs_are_of_the_weights_before_the_update():
  learner, data = _learner(), _batch()
  logits = {name: learner.network(data[f"{name}_images"])[0].numpy() for name in ("generative", "fake")}
  (logs,) = _train(learner, data, 1)
  real = (logits["generative"] * data["generative_labels"].numpy()).sum(1).mean()
  fake = (logits["fake"] * data["fake_weights"].numpy()).sum(1).mean()
  assert logs["energy_real"] == pytest.approx(real, abs=1e-5)
  assert logs["energy_fake"] == pytest.approx(fake, abs=1e-5)
  assert logs["energy_bound"] >= max(np.abs(value).max() for value in logits.values()) - 1e-5


def test_without_fakes_it_is_a_plain_classifier():
  logs = _train(_learner(), _batch(with_fakes=False), 30)
  assert set(logs[0]) == {"loss_classification", "loss_mixup", "energy_bound"}
  assert logs[-1]["loss_classification"] < logs[0]["loss_classification"]


def test_fakes_of_no_weight_change_nothing():
  learners = [_learner(fake_weight=0.0), _learner()]
  for learner, data in zip(learners, (_batch(), _batch(with_fakes=False))):
    _train(learner, data, 3)
  for ours, theirs in zip(*(learner.network.get_weights() for learner in learners)):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_average_starts_at_the_weights_and_follows_them():
  learner = _learner(ema_decay=0.9)
  before = learner.average.get_weights()
  for ours, theirs in zip(before, learner.network.get_weights()):
    np.testing.assert_array_equal(ours, theirs)
  _train(learner, _batch(), 1)
  for ours, theirs in zip(before, learner.average.get_weights()):
    np.testing.assert_array_equal(ours, theirs)
  weights = learner.network.get_weights()
  learner.update_average(tf.constant(0))
  # Early on the average is a short one: decay 1/10 at first, 0.9 from update 80 on.
  first = [0.1 * old + 0.9 * new for old, new in zip(before, weights)]
  for ours, expected in zip(learner.average.get_weights(), first):
    np.testing.assert_allclose(ours, expected, atol=1e-6)
  learner.update_average(tf.constant(1000))
  for ours, old, new in zip(learner.average.get_weights(), first, weights):
    np.testing.assert_allclose(ours, 0.9 * old + 0.1 * new, atol=1e-6)


def test_the_average_is_not_trained():
  learner = _learner()
  assert not learner.average.trainable_variables
  assert len(learner.trainable_variables) == len(learner.network.trainable_variables)


def test_calling_it_gives_logits():
  learner, images = _learner(), _batch()["real_images"]
  np.testing.assert_allclose(learner(images), learner.network(images)[0])
  np.testing.assert_allclose(learner_lib.probabilities(learner.network, images), tf.nn.softmax(learner(images)),
                             atol=1e-6)
