"""--mode=train: the passes, with their log, pictures and checkpoints, and the evaluation at the end."""

import sys
from typing import List, Optional

import keras
import tensorflow as tf

from stic_tf import checkpoint
from stic_tf import cluster as cluster_lib
from stic_tf import config as config_lib
from stic_tf import loading
from stic_tf import provenance
from stic_tf import replicas
from stic_tf import run_folder as run_folder_lib
from stic_tf import workers
from stic_tf import zoo
from stic_tf.datasets import dataset as dataset_lib
from stic_tf.datasets import pipeline
from stic_tf.datasets import share
from stic_tf.datasets import source
from stic_tf.systems import build
from stic_tf.systems.base import System
from stic_tf.training import passes
from trainers import callbacks
from trainers import checkpointing
from trainers import dashboard as dashboard_lib
from trainers import evaluate
from trainers import flags as trainer_flags

_MAX_ROLLBACKS = 3
_STATISTICS_IMAGES = 10000


def run(values, config: config_lib.RunConfig) -> None:
  """Trains a run to its end, from where it stands; one of several workers where TF_CONFIG says so.

  Args:
    values: the flag values.
    config: as `trainer_flags.to_config` gives it.

  Raises:
    ConfigError: bad input; nothing is written then, unless it is a disk that fills up later.
    LostWorkerError: another worker is gone.
    DivergenceError: the training diverges again and again.
  """
  cluster = _cluster(values)
  folder = run_folder_lib.RunFolder(trainer_flags.run_dir_of(values))
  settings = trainer_flags.run_settings(values, config)
  leads = cluster is None or cluster.is_chief
  if leads:
    config_lib.require(not zoo.is_model(folder.path), "run_dir", folder.path,
                       "is a model of the zoo, weights alone; name another folder to train in")
    folder.check_settings(settings, {name: values[name].default for name in trainer_flags.RUN_FLAGS})
  config_lib.require(not config.training.jit or tf.config.list_physical_devices("GPU"), "jit", True,
                     "needs a GPU: compiled by XLA for a processor, chains take twenty times as long")
  config = precise(config)
  if cluster is None:
    strategy = replicas.make_strategy(1 if values.strategy == "one" else values.num_replicas)
  else:
    cluster_lib.meet(cluster, {**{f"--{name}": value for name, value in settings.items()},
                               "--updates_per_call": values.updates_per_call,
                               "bfloat16": config.training.mixed_precision, "commit": provenance.git_commit()},
                     values.worker_timeout)
    strategy = replicas.make_worker_strategy()
  with workers.working_together(strategy):  # from here on: variables are made together too
    count = strategy.num_replicas_in_sync
    config_lib.require(values.num_replicas in (0, count), "num_replicas", values.num_replicas,
                       f"must be 0 or {count}, the replicas of --strategy={values.strategy}")
    config_lib.require(values.batch_size % count == 0, "batch_size", values.batch_size,
                       f"must be a multiple of the {count} replicas")
    dataset = dataset_lib.load(values.dataset, values.data_dir)
    build.check(config, dataset.spec.num_classes)
    learnt = dataset.learnt(values.train_images, values.seed)
    # Before anything is written, as a wrong --inception_weights shows here.
    evaluator = evaluate.Evaluator(values, dataset) if leads else None
    training = Training(values, config, folder, learnt, strategy, evaluator)
    if leads and values.pass_samples:
      evaluator.judge("validation")  # can take long, and is no part of the seconds of training
    if leads:
      folder.claim(settings, trainer_flags.flagfile_lines(settings, values.data_dir))
    try:
      summary = training.run()
    except (tf.errors.DataLossError, tf.errors.NotFoundError) as problem:
      if dataset.in_memory:
        raise
      raise source.unreadable(dataset.spec, values.data_dir, problem) from problem
  if leads:
    print(evaluate.describe(summary))
    print(f"run folder: {folder.path}")


def precise(config: config_lib.RunConfig) -> config_lib.RunConfig:
  """In float32 where the device has no bfloat16, and says so."""
  if not config.training.mixed_precision or replicas.computes_bfloat16():
    return config
  print("warning: --mixed_precision: this device does not compute in bfloat16; training in float32", file=sys.stderr)
  return config.replace(mixed_precision=False)


def begin_with(system: System, init_from: Optional[str]) -> float:
  """Gives a training the weights of --init_from; returns their seconds of training, to be counted with its own.

  Without --init_from it begins with its own, which have none.

  Raises:
    ConfigError: there are none, or they are of another network.
  """
  if not init_from:
    return 0.0
  _, arrays, description = loading.read(init_from, "init_from")
  try:
    system.begin_with(arrays)
  except ValueError as problem:
    raise config_lib.ConfigError(f"--init_from={init_from}: is of another network ({problem})") from problem
  summary = run_folder_lib.RunFolder(zoo.find(init_from)).json("summary.json") or {}
  return float(description.get("seconds") or summary.get("seconds_training", 0.0))


def _precision_of(config: config_lib.RunConfig) -> str:
  return "bfloat16" if config.training.mixed_precision else "float32"


def _cluster(values) -> Optional[cluster_lib.Cluster]:
  """The workers of TF_CONFIG, as --strategy takes them."""
  if values.strategy not in ("auto", "multi_worker"):
    return None
  cluster = cluster_lib.from_environment()
  count = len(cluster.tasks) if cluster else 1
  config_lib.require(values.batch_size % count == 0, "batch_size", values.batch_size,
                     f"must be a multiple of the {count} workers of TF_CONFIG")
  config_lib.require(cluster is not None or values.strategy == "auto", "strategy", values.strategy,
                     "needs TF_CONFIG with two workers or more (trainers/launch.py sets it for workers of one machine)")
  return cluster


class Training:
  """One command's share of a run.

  Args:
    values, config, folder, dataset, strategy: of the run.
    evaluator: scores the passes; None for a worker that only trains: it reads and writes nothing.

  Attributes:
    system: what is trained.
    rows: of metrics.jsonl.
    validation: images and labels on which an answer is chosen.
    commit: of the code that trains.
    values, config, folder, evaluator, checkpointer, clock, dashboard: what its callbacks work with.
  """

  def __init__(self, values, config: config_lib.RunConfig, folder: run_folder_lib.RunFolder,
               dataset: dataset_lib.Dataset, strategy: tf.distribute.Strategy,
               evaluator: Optional[evaluate.Evaluator]):
    self.values, self.config, self.folder, self.evaluator = values, config, folder, evaluator
    self._dataset, self._strategy, spec = dataset, strategy, dataset.spec
    self.validation = evaluator.real["validation"] if evaluator else evaluate.validation_images(dataset)
    names = list(spec.class_names) or [str(label) for label in range(spec.num_classes)]
    self.system = build.build(config, spec.image_shape, names, values.seed, strategy)
    images, _ = dataset.arrays("train", limit=min(dataset.sizes["train"], _STATISTICS_IMAGES))
    self.system.adapt(images)
    with strategy.scope():
      self.system.compile(self.system.make_optimizer(), steps_per_execution=values.updates_per_call,
                          jit_compile=config.training.jit and self.system.jits_updates)
    description = {"config": trainer_flags.run_settings(values, config), "dataset": values.dataset,
                   "image_shape": list(spec.image_shape), "class_names": names, "precision": _precision_of(config)}
    self.checkpointer = checkpointing.Checkpointer(folder.checkpoints, description)
    if evaluator and not checkpoint.available(folder.checkpoints):
      begin_with(self.system, values.init_from)  # what is wrong with it shows before anything is written
    self.rows: List[dict] = []
    self.commit = provenance.git_commit()  # of what runs; a checkout may change beside it
    self._profiled = trainer_flags.profile_window(values)

  def run(self) -> Optional[dict]:
    """Runs the passes that are left, then evaluates; returns the summary, None without evaluator."""
    seconds = self._restore()
    if self.evaluator and not int(self.system.updates_done.numpy()):
      self.checkpointer.save(self.system, self.rows, seconds)
    training = self.config.training
    self.clock = dashboard_lib.Clock(seconds)
    if self.evaluator is None:
      self.dashboard = dashboard_lib.Silence()
    else:
      # A run that was killed between its checkpoint and its log writes the log again.
      self.folder.write_metrics(self.rows)
      self.dashboard = dashboard_lib.Dashboard(
          self.folder.tensorboard, self.folder.text("flags.txt").splitlines(),
          training.num_passes * training.updates_per_pass, int(self.system.updates_done.numpy()))
    self._warn_of_classes_without_chain()
    try:
      self._train_or_roll_back()
    finally:
      self.dashboard.close()
    if self.evaluator is None:
      return None
    return evaluate.finish(self.folder, self.values, self.evaluator, self.system.classifier, self.rows[-1]["seconds"],
                           git_commit=evaluate.commits(self.rows, self.commit), drawn_with={}, passes=len(self.rows))

  def _restore(self, or_fresh: bool = True) -> float:
    """Takes the newest checkpoint, on every worker the one that the chief read; returns its seconds of training."""
    seconds = 0.0
    if self.evaluator:
      restored = (self.checkpointer.restore if or_fresh else self.checkpointer.fall_back)(self.system)
      if not restored and self.values.init_from:
        print(f"begins with the weights of {self.values.init_from}", flush=True)
      self.rows[:], seconds = restored or ([], begin_with(self.system, self.values.init_from))
    if workers.count(self._strategy) > 1:
      workers.from_chief(self._strategy, self.system.training_variables())
    return seconds

  def _warn_of_classes_without_chain(self) -> None:
    training, num_classes = self.config.training, self.system.num_classes
    without = num_classes - len(self.system.chains.hard_classes())
    if training.fakes and without:
      self.dashboard.say(f"warning: --chains={training.chains} with --soft_fraction={training.soft_fraction:g} leave "
                         f"{without} of {num_classes} classes without hard fakes")

  def _train_or_roll_back(self) -> None:
    """The passes that are left; one that diverges goes back to the last checkpoint, with smaller steps."""
    system, rollbacks, stuck_at = self.system, 0, None
    while int(system.passes_done.numpy()) < self.config.training.num_passes:
      try:
        self._train()
      except passes.DivergenceError as problem:
        number, attempt = int(system.passes_done.numpy()) + 1, int(system.attempt.numpy()) + 1
        # Rollbacks of one pass count together.
        rollbacks, stuck_at = (rollbacks + 1 if stuck_at == number else 1), number
        if rollbacks > _MAX_ROLLBACKS:
          raise passes.DivergenceError(f"training diverged {rollbacks} times, the last time in pass {number}: "
                                       f"{problem}") from problem
        self.dashboard.say(f"warning: pass {number} diverged ({problem}); rolling back, attempt {attempt}")
        scale = 0.5 * float(system.learning_rate_scale.numpy())
        self._restore(or_fresh=False)
        # Half of what diverged, whichever attempt the checkpoint is of.
        system.start_new_attempt(attempt, scale / float(system.learning_rate_scale.numpy()))
        self.dashboard.rewind(int(system.updates_done.numpy()))

  def _train(self) -> None:
    """Passes to the end, as epochs of `fit`; a pass that was begun before is first completed."""
    system, training = self.system, self.config.training
    begun = int(system.passes_done.numpy())
    if int(system.pass_updates.numpy()):
      self._fit(begun, begun + 1, training.updates_per_pass - int(system.pass_updates.numpy()))
      begun += 1
    if begun < training.num_passes:
      self._fit(begun, training.num_passes, training.updates_per_pass)

  def _fit(self, first: int, end: int, updates: int) -> None:
    own = [callbacks.LearningRate(self.system)]
    if self.evaluator:
      window, self._profiled = self._profiled, None  # once: Keras counts the updates of each `fit` anew
      # Keras begins and ends within the updates that it names: whole are those between.
      own += [keras.callbacks.TensorBoard(self.folder.tensorboard, write_graph=False,
                                          profile_batch=(max(1, window[0] - 1), window[1] + 1))] if window else []
      own += [self.dashboard.progress(), callbacks.Answer(self), callbacks.Evaluation(self),
              callbacks.Checkpoints(self, self.values.checkpoint_minutes)]
    else:
      own += [callbacks.Answer(self)]
    self.system.fit(self._stream(), initial_epoch=first, epochs=end, steps_per_epoch=updates, verbose=0,
                    num_passes=self.config.training.num_passes, callbacks=own)

  def _stream(self):
    """The streams of the updates that are left, a dictionary a batch; of several workers each reads its own rows."""
    config, start = self.config.training, int(self.system.updates_done.numpy())
    seed = self.values.seed + (int(self.system.attempt.numpy()) << 32)
    own = share.Share(workers.number(self._strategy), workers.count(self._strategy))
    stream = pipeline.update_stream(self._dataset, config.batch_size, seed, self.values.augment, config.mixup_alpha,
                                    start, own, config.classification_ratio, self.values.cutout, self.values.cutmix)
    return replicas.distributed(self._strategy, stream, own_share=True) if own.of > 1 else stream
