"""--mode=train: the passes, with their log, pictures and checkpoints, and the evaluation at the end."""

from stic_tf import config as config_lib
from stic_tf import drawing_classifier as drawing_lib
from stic_tf import grid
from stic_tf import loading
from stic_tf import replicas
from stic_tf.datasets import catalog
from stic_tf.datasets import dataset as dataset_lib
from stic_tf.datasets import pipeline
from stic_tf.datasets import pixel_range
from stic_tf.sampler import gram as gram_lib
from stic_tf.self_analysis import recurrence as recurrence_lib
from stic_tf.self_analysis import systems
from trainers import checkpointing
from trainers import dashboard as dashboard_lib
from trainers import evaluate
from trainers import flags as trainer_flags
from trainers import run_folder as run_folder_lib

_MAX_ROLLBACKS = 3
_STATISTICS_IMAGES = 10000


def run(values, configs) -> None:
  """Trains a run to its end, from where it stands.

  Args:
    values: the flag values.
    configs: as `trainer_flags.to_config` gives them.

  Raises:
    ConfigError: bad input; nothing is written then, unless it is a disk that fills up later.
    RuntimeError: the training diverges again and again.
  """
  folder = run_folder_lib.RunFolder(run_folder_lib.run_dir_of(values))
  settings = trainer_flags.run_settings(values)
  folder.check_settings(settings)
  catalog.lookup(values.dataset)
  strategy = replicas.make_strategy(values.num_replicas)
  config_lib.require(values.batch_size % strategy.num_replicas_in_sync == 0, "batch_size", values.batch_size,
                     f"must be a multiple of the {strategy.num_replicas_in_sync} GPUs (--num_replicas)")
  dataset = dataset_lib.load(values.dataset, values.data_dir)
  # Before anything is written, as a wrong --inception_weights shows here; and it can take long.
  evaluator = evaluate.Evaluator(values, dataset)
  training = Training(values, configs, folder, dataset, strategy)
  folder.claim(settings, trainer_flags.flagfile_lines(values))
  summary = training.run(evaluator)
  print(evaluate.describe(summary))
  print(f"run folder: {folder.path}")


class Training:
  """One command's share of a run."""

  def __init__(self, values, configs, folder: run_folder_lib.RunFolder, dataset: dataset_lib.Dataset, strategy):
    self.values, self.folder, self.dataset = values, folder, dataset
    self.config: config_lib.RecurrenceConfig = configs["recurrence"]
    images, _ = dataset.arrays("train", limit=min(dataset.sizes["train"], _STATISTICS_IMAGES))
    statistics = gram_lib.ImageStatistics.fit(pixel_range.from_uint8(images).numpy())
    spec = dataset.spec
    self.recurrence = systems.make_recurrence(configs, spec.image_shape, spec.num_classes, statistics, values.seed,
                                              strategy)
    names = list(spec.class_names) or [str(label) for label in range(spec.num_classes)]
    description = {"config": trainer_flags.run_settings(values), "dataset": values.dataset,
                   "image_shape": list(spec.image_shape), "class_names": names}
    self.checkpointer = checkpointing.Checkpointer(folder.checkpoints, description)
    self.classifier = None
    self._names = names

  def run(self, evaluator: evaluate.Evaluator) -> dict:
    """Runs the passes that are left, then evaluates; returns the summary."""
    rows, seconds = self.checkpointer.restore(self.recurrence)
    if not self.recurrence.passes_done:
      self.checkpointer.save(self.recurrence, rows, seconds)
    # A run that was killed between its checkpoint and its log writes the log again.
    self.folder.write_metrics(rows)
    clock = dashboard_lib.Clock(seconds)
    dashboard = dashboard_lib.Dashboard(
        self.folder.tensorboard, trainer_flags.flagfile_lines(self.values),
        self.config.num_passes * self.config.updates_per_pass, self.recurrence.updates_done,
        trainer_flags.profile_window(self.values))
    self._warn_of_classes_without_chain(dashboard)
    try:
      while self.recurrence.passes_done < self.config.num_passes:
        self._run_pass(rows, clock, evaluator, dashboard)
      seconds = rows[-1]["seconds"]
    finally:
      dashboard.close()
    return evaluate.finish(self.folder, self.values, evaluator, self._classifier(), seconds)

  def _warn_of_classes_without_chain(self, dashboard) -> None:
    num_classes = self.recurrence.num_classes
    without = num_classes - len(self.recurrence.chains.classes.hard())
    if self.config.fakes and without:
      dashboard.say(f"warning: --chains={self.config.chains} with --soft_fraction={self.config.soft_fraction:g} leave "
                    f"{without} of {num_classes} classes without hard fakes")

  def _classifier(self) -> drawing_lib.DrawingClassifier:
    """The drawing classifier as training stands; built once, its compiled functions are kept."""
    if self.classifier is None:
      self.classifier = loading.from_recurrence(self.recurrence, self._names)
    self.classifier.sampler = self.recurrence.drawing_sampler()
    return self.classifier

  def _run_pass(self, rows, clock, evaluator, dashboard) -> None:
    recurrence = self.recurrence
    logs = self._train_pass_or_roll_back(rows, dashboard)
    recurrence.choose_answer(*evaluator.validation)
    number = recurrence.passes_done
    seconds = clock.seconds()
    scores = evaluator.score(self._classifier(), self.values.pass_samples, self.values.pass_steps)
    picture = evaluate.class_grid(scores.pop("drawings"), recurrence.num_classes)
    rows.append({
        "pass": number, "step": recurrence.updates_done, "seconds": seconds,
        **{name: scores[name] for name in ("test_accuracy", "validation_accuracy", "ece", "fid", "fid_floor", "kid",
                                           "cas", "num_samples", "drawing_steps")},
        "acceptance_rate": scores["acceptance_rate"], "step_size": recurrence.step_size,
        "noise_level": float(recurrence.noise_level.numpy()), "fakes_in_pool": len(recurrence.pool),
        "network_evaluations": recurrence.network_evaluations, "attempt": recurrence.attempt,
        **{name: value for name, value in logs.items() if name != "acceptance_rate"},
        "training_acceptance_rate": logs.get("acceptance_rate")})
    grid.write_png(self.folder.file("samples", f"pass_{number:02d}.png"), picture)
    self.checkpointer.save(recurrence, rows, seconds)
    self.folder.write_metrics(rows)
    dashboard.on_pass(rows[-1], picture)

  def _train_pass_or_roll_back(self, rows, dashboard):
    """The next pass of weight updates; one that diverges goes back to the last checkpoint, with smaller steps."""
    recurrence, rollbacks = self.recurrence, 0
    while True:
      number, attempt = recurrence.passes_done + 1, recurrence.attempt + 1
      try:
        return self._train_pass(number, dashboard)
      except recurrence_lib.DivergenceError as problem:
        if attempt > _MAX_ROLLBACKS:
          raise RuntimeError(f"training diverged {attempt} times, the last time in pass {number}: {problem}"
                             ) from problem
        dashboard.say(f"warning: pass {number} diverged ({problem}); rolling back, attempt {attempt}")
        rows[:], _ = self.checkpointer.restore(recurrence, or_fresh=False)
        rollbacks += 1
        recurrence.attempt = attempt - 1
        recurrence.start_new_attempt(0.5 ** rollbacks)
        dashboard.rewind(recurrence.updates_done)

  def _train_pass(self, number: int, dashboard):
    """One pass of weight updates; the streams go on where the last pass left them."""
    recurrence, config = self.recurrence, self.config
    seed = self.values.seed + (recurrence.attempt << 32)
    classification = pipeline.classification_stream(self.dataset, config.batch_size, seed, self.values.augment,
                                                    config.mixup_alpha, start=recurrence.updates_done)
    generation = pipeline.generation_stream(self.dataset, config.batch_size, seed, start=recurrence.updates_done)
    return recurrence.run_pass(iter(classification), iter(generation), dashboard.step,
                               lambda update, logs: dashboard.on_update(number, logs))
