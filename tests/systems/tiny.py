"""Systems that train in seconds: images of three classes, streams, and passes as the trainers make them."""

import keras
import numpy as np
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.systems import build
from stic_tf.training import passes

SHAPE, NUM_CLASSES, BATCH = (8, 8, 1), 3, 6
SETTINGS = {"width": 8, "blocks": 1, "num_passes": 3, "updates_per_pass": 3, "batch_size": BATCH, "chains": 12,
            "pool_capacity": 20}
KINDS = {
    "stic": {"training_steps": 2},
    "attentive": {"training_steps": 2},
    "score": {"num_steps": 3, "preconditioner": "identity", "chains": 9, "learning_rate": 5e-3, "ema_decay": 0.9,
              "corrector_steps": 1, "cross_entropy_weight": 0.1}}


def images_and_labels(count, seed=0):
  """Images in [-1, 1] with a bright row a class, and their labels."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, NUM_CLASSES, count)
  images = rng.uniform(-1, -0.5, [count, *SHAPE])
  images[np.arange(count), 2 * labels] += 1.2
  return images.astype(np.float32), labels


def batch(number):
  """The streams of update `number`: the same whenever it is asked for."""
  images, labels = images_and_labels(BATCH, 2 * number)
  one_hot = np.eye(NUM_CLASSES, dtype=np.float32)[labels]
  clean, clean_labels = images_and_labels(BATCH, 2 * number + 1)
  return {"real_images": images, "real_labels": one_hot, "mixup_images": images[::-1] * 0.3 + images * 0.7,
          "mixup_labels": one_hot[::-1] * np.float32(0.3) + one_hot * np.float32(0.7), "generative_images": clean,
          "generative_labels": clean_labels.astype(np.int32)}


def stream(start=0, change=lambda batch: batch):
  """Batches from number `start` on, without end."""
  signature = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in batch(0).items()}

  def batches():
    number = start
    while True:
      yield change(batch(number))
      number += 1

  return tf.data.Dataset.from_generator(batches, output_signature=signature)


def build_system(kind, seed=0, steps_per_execution=1, **settings):
  """A system of the registry that has done nothing yet."""
  config = config_lib.RunConfig.of({"model": kind, **SETTINGS, **KINDS[kind], **settings})
  names = [str(label) for label in range(NUM_CLASSES)]
  system = build.build(config, SHAPE, names, seed, tf.distribute.get_strategy())
  system.adapt(images_and_labels(200)[0])
  system.compile(system.make_optimizer(), steps_per_execution=steps_per_execution)
  system.prepare_training()
  return system


class _Rates(keras.callbacks.Callback):

  def on_epoch_begin(self, epoch, logs=None):
    rate = passes.learning_rates(self.model.config.training)[epoch]
    self.model.optimizer.learning_rate.assign(self.model.learning_rate_scale * rate)


def run_pass(system, data=None, callbacks=()):
  """The next pass; gives its logs."""
  number, training = int(system.passes_done.numpy()), system.config.training
  history = system.fit(data or stream(int(system.updates_done.numpy())), initial_epoch=number, epochs=number + 1,
                       steps_per_epoch=training.updates_per_pass, num_passes=training.num_passes, verbose=0,
                       callbacks=[_Rates(), *callbacks])
  return {name: values[0] for name, values in history.history.items()}


def two_passes(kind):
  """(a system after two passes, its states and its logs after each)."""
  system, states, logs = build_system(kind), [], []
  for _ in range(2):
    logs.append(run_pass(system))
    if kind == "score":
      system.choose_answer(*validation())
    states.append(system.state())
  return system, states, logs


def validation(count=20):
  """Images, uint8, and labels that training does not see."""
  images, labels = images_and_labels(count, seed=5)
  return np.clip(127.5 * (images + 1), 0, 255).astype(np.uint8), labels


def assert_same_state(state, other):
  """Two states are equal, bit by bit."""
  assert set(state) == set(other)
  differing = [name for name in state if not np.array_equal(state[name], other[name])]
  assert not differing
