"""What happens around a pass and an update in our own training, as Keras callbacks: figures, pictures, checkpoints."""

import time
from concurrent import futures
from typing import Dict

import keras

from stic_tf import grid
from stic_tf.training import passes
from trainers import evaluate


class LearningRate(keras.callbacks.LearningRateScheduler):
  """The half cosine over the passes, times what rollbacks have left of it."""

  def __init__(self, system):
    rates = passes.learning_rates(system.config.training)
    super().__init__(lambda epoch: float(system.learning_rate_scale.numpy() * rates[epoch]))


class _AfterPass(keras.callbacks.Callback):
  """What happens after a pass, outside the strategy's scope.

  `fit` holds it, and a judge's own Keras training and metrics would be distributed too; it is this thread's alone.

  Args:
    training: the trainers.train.Training that it is part of.
  """

  def __init__(self, training):
    super().__init__()
    self._training = training

  def on_epoch_end(self, epoch, logs=None):
    with futures.ThreadPoolExecutor(1) as outside:
      outside.submit(self._after_pass, epoch, logs).result()


class Answer(_AfterPass):
  """After a pass, on every worker: chooses the answer."""

  def _after_pass(self, epoch, logs):
    self._training.system.choose_answer(*self._training.validation)


class Evaluation(_AfterPass):
  """After a pass: scores fresh drawings on validation images, writes a picture and a row of the log."""

  def _after_pass(self, epoch: int, logs: Dict[str, float]) -> None:
    training, system = self._training, self._training.system
    seconds = training.clock.seconds()
    scores = training.evaluator.score(system.classifier, training.values.pass_samples, training.values.pass_steps,
                                      split="validation")
    picture = evaluate.class_grid(scores.pop("drawings"), system.num_classes)
    row = {"pass": epoch + 1, "step": int(system.updates_done.numpy()), "seconds": seconds,
           **{name: scores.get(name) for name in ("validation_accuracy", "ece", "fid", "fid_floor", "kid", "cas",
                                                  "num_samples", "drawing_steps", "acceptance_rate")},
           "step_size": float(system.step_size.numpy()), "noise_level": float(system.noise_level.numpy()),
           "fakes_in_pool": len(system.pool), "network_evaluations": int(system.network_evaluations.numpy()),
           "attempt": int(system.attempt.numpy()), **_numbers(logs), "git_commit": training.commit}
    training.rows.append(row)
    grid.write_png(training.folder.file("samples", f"pass_{epoch + 1:02d}.png"), picture)
    training.checkpointer.save(system, training.rows, seconds)
    training.folder.write_metrics(training.rows)
    training.dashboard.on_pass(row, picture)


def _numbers(logs: Dict[str, float]) -> Dict[str, float]:
  """Means of a pass's logs as the log names them."""
  names = {"acceptance_rate": "training_acceptance_rate", "lr": "learning_rate"}
  return {names.get(name, name): float(value) for name, value in logs.items()}


class Checkpoints(keras.callbacks.Callback):
  """Within a pass, a checkpoint every some minutes; a run that is killed loses no more.

  Args:
    training: the trainers.train.Training that it is part of.
    minutes: between two; 0 for none.
    clock: seconds, a function.
  """

  def __init__(self, training, minutes: float, clock=time.monotonic):
    super().__init__()
    self._training, self._seconds, self._clock = training, 60.0 * minutes, clock
    self._saved = clock()

  def on_epoch_begin(self, epoch, logs=None):
    self._saved = self._clock()  # a pass ends with a checkpoint

  def on_train_batch_end(self, batch, logs=None):
    training, system = self._training, self._training.system
    within = int(system.pass_updates.numpy()) < training.config.training.updates_per_pass
    if self._seconds and within and self._clock() - self._saved >= self._seconds:
      system.require_finite()
      training.checkpointer.save(system, training.rows, training.clock.seconds())
      self._saved = self._clock()
