"""What a system is: a keras.Model that classifies, draws, and is trained on its own drawings by `fit`.

A system owns everything in which it differs from the others, and is asked by name for nothing else. A subclass, one
file and one line of `registries.SYSTEMS`, says how it is made of a network (`prepare`, `make_preconditioner`), how it
draws (`drawer`), how it answers (`logits`) and what an update of its weights is (`make_fakes`, `learn`).

`train_step` is one whole update of recurrent self-analysis (docs/equations.md): it draws fakes, re-estimates the class
boundary on real images, mixtures and fakes, and moves the average of the weights. All it holds (chains, pool, noise
level, step size, counters) are variables on the device, so that Keras' `fit`, strategies and callbacks work with it.
"""

import dataclasses
from typing import Dict, List, Optional, Sequence

import keras
import numpy as np
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import drawing_classifier
from stic_tf import registries
from stic_tf import replicas
from stic_tf.mcmc import adaptation
from stic_tf.preconditioners import statistics as statistics_lib
from stic_tf.systems import accepted
from stic_tf.systems import drawer as drawer_lib
from stic_tf.systems import recurrence
from stic_tf.systems import state
from stic_tf.training import fakes as fakes_lib
from stic_tf.training import optimizers
from stic_tf.training import passes
from stic_tf.training import randomness as randomness_lib
from stic_tf.training import streams as streams_lib

_OF_BUILT = frozenset(("mixed_precision", *(field.name for field in dataclasses.fields(config_lib.NetworkConfig))))
LARGEST = "energy_bound"  # the one log that is a largest value, not a mean


class System(state.Stateful, recurrence.Recurrent, keras.Model):
  """A classifier that draws.

  Args:
    network: a Keras classifier, images float32 [B, H, W, C] in [-1, 1] -> logits [B, K] (or a list that begins with
      them), without batch statistics and without layers that decide by tensors in Python. It is trained; a copy of it
      holds the moving average that answers and draws.
    num_classes: K.
    config: settings; None for the defaults of this system.
    class_names: K names; None for numbers.
    seed: of everything random in training.
    average: a network like the first; None clones it. Give `network` itself for a system that is only to draw.
    image_shape: (H, W, C); None for what the network states.
    **settings: fields of config.RunConfig that replace those of `config`, for example chains=200.

  Raises:
    ConfigError: a setting out of range or not read by this system, or a network that cannot be drawn from.
  """

  # The registry's name.
  kind = ""
  # Whether its network is to know a noise level.
  conditioned = False
  # What its fakes may come from, its own choice first.
  fake_sources = ("current", "none")
  # Whether XLA may compile a whole update; not where it has chains, which are compiled apart.
  jits_updates = False

  @classmethod
  def check(cls, config: config_lib.RunConfig, num_classes: int) -> None:
    """Refuses, by a ConfigError, what needs no network to be refused."""
    config_lib.check_classes(config.training, num_classes)
    config_lib.require(config.training.fakes_from in ("auto", *cls.fake_sources), "fakes_from",
                       config.training.fakes_from, f"must be {' or '.join(cls.fake_sources)} with --model={cls.kind}")

  def __init__(self, network: keras.Model, num_classes: int, config: Optional[config_lib.RunConfig] = None,
               class_names: Optional[Sequence[str]] = None, seed: int = 0, average: Optional[keras.Model] = None,
               image_shape: Optional[Sequence[int]] = None, **settings):
    super().__init__(name=self.kind)
    if tf.config.list_physical_devices("GPU"):
      # An accept test that sees 10 bits of a product is not one. Left alone on a processor, where it changes no more
      # than which kernels oneDNN takes, and with them last bits: a server has it on.
      tf.config.experimental.enable_tensor_float_32_execution(False)
      # Of a layer normalisation it makes a kernel that there is for processors alone (TensorFlow 2.15).
      tf.config.optimizer.set_experimental_options({"remapping": False})
    image_shape = tuple(image_shape or network.inputs[0].shape[1:])
    if config is None or settings:
      for name in _OF_BUILT.intersection(settings):
        config_lib.require(False, name, settings[name], "is of networks that are built by name")
      config = (config or config_lib.RunConfig.of({"model": self.kind})).replace(**settings)
      config.check_read(settings, image_shape)
    self.check(config, num_classes)
    self.config, self.image_shape, self.num_classes, self.seed = config, image_shape, num_classes, seed
    self.class_names = tuple(map(str, range(num_classes) if class_names is None else class_names))
    config_lib.require(len(self.class_names) == num_classes, "class_names", len(self.class_names),
                       f"must be {num_classes}, a name a class")
    accepted.check_network(network)
    average = keras.models.clone_model(network) if average is None else average
    same = average is network
    self.network = self.prepare(network)
    self.average = self.network if same else self.prepare(average)
    pairs = []  # (a variable of the average, its own in the network)
    if not same:
      self.average.set_weights(self.network.get_weights())
      pairs += zip(self.average.variables, self.network.variables)
      self.average.trainable = False  # after which Keras lists its variables in another order
    self.averaged = lambda: pairs  # a list Keras would track
    self.preconditioner = self.make_preconditioner()
    self.step_size = _scalar(config.sampler.step_size, tf.float32, "step_size")
    self.noise_level = _scalar(1.0, tf.float32, "noise_level")
    self.updates_done = _scalar(0, tf.int64, "updates_done")
    self.pass_updates = _scalar(0, tf.int64, "pass_updates")
    self.passes_done = _scalar(0, tf.int64, "passes_done")
    self.attempt = _scalar(0, tf.int64, "attempt")
    self.learning_rate_scale = _scalar(1.0, tf.float32, "learning_rate_scale")
    self.network_evaluations = _scalar(0, tf.int64, "network_evaluations")
    self.log_names = [*self.logged(), LARGEST]
    self.log_sums = tf.Variable(tf.zeros([len(self.log_names)]), trainable=False, name="log_sums")
    self.statistics: Optional[statistics_lib.ImageStatistics] = None
    self.chains: Optional[fakes_lib.Chains] = None
    self.pool: Optional[fakes_lib.FakePool] = None
    self.num_passes = config.training.num_passes
    self.kernel_is_exact = self.is_exact(config)
    self._classifier = None
    # Its logs are those of all replicas; Keras would add up one for each worker.
    self.distribute_reduction_method = "first"

  def is_exact(self, config: config_lib.RunConfig) -> bool:
    """Whether chains of these settings have an accept test, whose acceptance h can follow."""
    return registries.KERNELS.load(config.sampler.sampler)(None, self.preconditioner.size).exact

  # --- in which systems differ ---

  def prepare(self, network: keras.Model) -> keras.Model:
    """What of `network` this system trains: itself, or something around it."""
    return network

  def make_preconditioner(self):
    """Its preconditioner, to be fitted by `begin_pass` or `on_statistics`."""
    raise NotImplementedError

  def on_statistics(self) -> None:
    """Takes `self.statistics`, once they are there."""

  def logits(self, images: tf.Tensor) -> tf.Tensor:
    """The averaged network's answer: images float32 [B, H, W, C] in [-1, 1] -> class logits [B, K]."""
    raise NotImplementedError

  def log_density(self, images: tf.Tensor, class_weights: Optional[tf.Tensor], temperature: tf.Tensor) -> tf.Tensor:
    """log π_w(x) that is drawn from, unguided, up to a constant of w: [B, H, W, C], [B, K] or None, T [B] -> [B].

    None is the class-free density, Σ_k exp(f_k / T) in place of exp(f_w / T).
    """
    raise NotImplementedError

  def drawer(self, config: config_lib.RunConfig) -> drawer_lib.Drawer:
    """How the averaged network draws under the settings of a drawing, which need not be the run's own.

    Raises:
      ConfigError: a setting that does not go with how this system was trained.
    """
    raise NotImplementedError

  def logged(self) -> List[str]:
    """Names of what `make_fakes` and `learn` log, without `energy_bound`."""
    raise NotImplementedError

  def make_fakes(self, streams: Dict[str, tf.Tensor], randomness: randomness_lib.Randomness):
    """The fakes of an update, of one replica.

    Returns:
      (tensors that `learn` reads beside the streams, rows int32 [B] and images [B', H, W, C] of chains that moved or
      None, logs).
    """
    raise NotImplementedError

  def learn(self, streams: Dict[str, tf.Tensor], randomness: randomness_lib.Randomness) -> Dict[str, tf.Tensor]:
    """One update of the network's weights; returns its logs, energy_bound (the largest |f|) among them."""
    raise NotImplementedError

  def after_update(self, strategy, logs: Dict[str, tf.Tensor]) -> None:
    """What follows from the logs of an update, reduced over the replicas; in the graph, outside them."""

  def on_pass(self, number: int) -> None:
    """Before a pass, number 0 on: sets what is fixed within it."""

  def choose_answer(self, images: np.ndarray, labels: np.ndarray) -> None:
    """After a pass: fixes whatever of the answer is chosen on validation images (uint8) and labels; here nothing."""

  # --- training ---

  def make_optimizer(self, **more) -> keras.optimizers.Optimizer:
    """The optimizer of the configuration, as the trainers use it; `more` of Adam's arguments."""
    return optimizers.build(self.config.training, self.network.trainable_variables, **more)

  def adapt(self, images) -> None:
    """Takes the moments of training images: the blank canvas and the preconditioner.

    Args:
      images: uint8, or float in [-1, 1], [N, H, W, C]; or a data set as for `fit`, of which 10,000 images are taken.
    """
    self.statistics = statistics_lib.ImageStatistics.fit(accepted.some_images(images))
    self.on_statistics()

  def prepare_training(self) -> None:
    """Makes the chains, the pool and the optimizer's moments, if they are not there yet."""
    with self.distribute_strategy.scope():
      # Left to the first update, they would be called otherwise.
      self.optimizer.build(self.network.trainable_variables)
      if self.chains is None:
        training = self.config.training
        rng = np.random.default_rng([self.seed, 0])
        labels, shares = fakes_lib.classes_of_chains(training.chains, self.num_classes, training.soft_fraction, rng)
        self.chains = fakes_lib.Chains(self.image_shape, labels, shares)
        capacity = training.pool_capacity if training.fakes else 0
        self.pool = fakes_lib.FakePool(capacity, self.image_shape, self.num_classes)

  def fit(self, x=None, *args, epochs: int = 1, callbacks: Sequence = (), num_passes: Optional[int] = None, **kwargs):
    """Keras' fit: an epoch is a pass of self-analysis, `steps_per_epoch` its updates.

    Args:
      x: a tf.data.Dataset of (images, labels), see `training.streams`. Unless `adapt` was called before, its first
        images give the moments; one that shuffles anew each time it is read then begins its second order.
      epochs: passes.
      callbacks: run after the pass itself has begun or ended.
      num_passes: passes of the whole training where this call makes only some of them.

    Raises:
      DivergenceError: training left the finite.
    """
    self.num_passes = num_passes or epochs
    if self.statistics is None:
      self.adapt(x)
    self.prepare_training()
    if isinstance(x, tf.data.Dataset):
      x = replicas.distributed(self.distribute_strategy, x)
    return super().fit(x, *args, epochs=epochs, callbacks=[passes.Passes(self), *callbacks], **kwargs)

  def make_train_function(self, force=False):
    """Keras' compiled update; with several replicas its sums are in the order they are written in.

    The graph's optimizer orders them by operations' names, which a process's second replica has others of.
    """
    if self.train_function is not None and not force:
      return self.train_function
    function = super().make_train_function(force)
    if self.num_replicas > 1:
      self.train_function = replicas.with_sums_as_written(function)
    return self.train_function

  # Keras would have every function below rewritten, for half of the time that a first update takes.
  @tf.autograph.experimental.do_not_convert
  def train_step(self, data):
    """One update: advances the chains, forms fakes, re-estimates the boundary; returns means of the pass's logs."""
    if self.num_replicas > 1 or not tf.inside_function():
      return self._update(data)
    # A function of its own, kept apart: in Keras' the optimiser orders the terms of sums by their names, and in a loop
    # over several updates these are others than for one update a call.
    return tf.function(self._update, autograph=False, experimental_attributes={"_noinline": True})(data)

  def _update(self, data):
    randomness = randomness_lib.Randomness(self.seed, self.attempt, self.updates_done)
    streams = streams_lib.of_batch(data, self.num_classes, self.config.training.mixup_alpha, randomness)
    fakes, moved, logs = self.make_fakes(streams, randomness)
    logs = {**logs, **self.learn({**streams, **fakes}, randomness)}
    means = tf.stack([logs[name] for name in self.log_names[:-1]])
    logs = {"means": means, LARGEST: tf.reshape(logs[LARGEST], [1])}
    return tf.distribute.get_replica_context().merge_call(self._finish_update, args=(logs, moved))

  def _finish_update(self, strategy, logs, moved):
    """Outside the replicas: puts their results together, in order."""
    if moved is not None:
      rows, images = moved
      self.chains.put(strategy.experimental_local_results(rows)[0], strategy.gather(images, axis=0))
    means = strategy.reduce("MEAN", logs["means"], axis=None)
    parts = strategy.gather(logs[LARGEST], axis=0)
    largest = tf.where(tf.reduce_all(tf.math.is_finite(parts)), tf.reduce_max(parts), float("nan"))
    self.after_update(strategy, dict(zip(self.log_names, tf.unstack(means))))
    self._move_average(strategy)
    values = tf.concat([self.log_sums[:-1] + means,
                        [tf.where(self.log_sums[-1] > largest, self.log_sums[-1], largest)]], 0)
    self.log_sums.assign(values)
    self.updates_done.assign_add(1)
    self.pass_updates.assign_add(1)
    return self._logs_of(values, self.pass_updates + 0)

  def _logs_of(self, values, updates) -> Dict[str, tf.Tensor]:
    count = tf.cast(updates, tf.float32)
    return {name: values[place] if name == LARGEST else values[place] / count
            for place, name in enumerate(self.log_names)}

  def _move_average(self, strategy) -> None:
    """Moves the average towards the weights; early on it is a short one."""
    updates = tf.cast(self.updates_averaged, tf.float32)
    decay = tf.minimum(self.config.training.ema_decay, (updates + 1.0) / (updates + 10.0))
    for mean, value in self.averaged():
      if value.trainable:
        strategy.extended.update(mean, lambda mean, value: mean.assign(decay * mean + (1.0 - decay) * value),
                                 args=(value,))

  def apply_gradients(self, gradients, variables) -> None:
    """To be called once in `learn`, with gradients of the replica's own share of the loss; they are summed."""
    self.optimizer.apply_gradients(zip(gradients, variables))

  @property
  def updates_averaged(self):
    """How many updates the average is of."""
    return self.updates_done

  @property
  def num_replicas(self) -> int:
    """How many replicas train."""
    return self.distribute_strategy.num_replicas_in_sync

  @property
  def replica_share(self) -> float:
    """By which a replica's mean loss is to be multiplied."""
    return 1.0 / self.num_replicas

  def adapt_step_size(self, acceptance: tf.Tensor, gain: float) -> None:
    """Moves the h that chains begin with; within a chain it is fixed."""
    target = self.config.sampler.target_acceptance
    self.step_size.assign(adaptation.between_chains(self.step_size, acceptance, target, gain))

  # --- passes ---

  def begin_pass(self, number: int) -> None:
    """Before the first update of a pass, or the first after a pause within it."""
    if not int(self.pass_updates.numpy()):
      self.log_sums.assign(tf.zeros_like(self.log_sums))
    self.on_pass(number)

  def end_pass(self) -> None:
    """After the last update of a pass: its chains become fakes in the pool.

    Raises:
      DivergenceError: a weight is not finite.
    """
    self.require_finite()
    number = int(self.passes_done.numpy())
    if self.config.training.fakes:
      self.keep_fakes(number)
    self.passes_done.assign_add(1)
    self.pass_updates.assign(0)

  def require_finite(self) -> None:
    """Raises DivergenceError where a weight is not finite: the logs of an update are from before it."""
    if not all(np.isfinite(variable.numpy()).all() for variable in self.network.variables):
      raise passes.DivergenceError(f"a weight is not finite after update {int(self.updates_done.numpy())}")

  def start_new_attempt(self, attempt: int, factor: float) -> None:
    """After a rollback: other random numbers, and learning rate and step size times `factor`."""
    self.attempt.assign(attempt)
    self.learning_rate_scale.assign(self.learning_rate_scale * factor)
    self.step_size.assign(self.step_size * factor)

  # --- use ---

  def call(self, images, training=False):
    """Class logits [B, K] of images float32 [B, H, W, C] in [-1, 1]."""
    del training
    return self.logits(images)

  # Keras would track the classifier, which holds this system, and go round in circles.
  @property
  def classifier(self) -> drawing_classifier.DrawingClassifier:
    """What classifies and draws as training stands; built once, its compiled functions are kept."""
    if self._classifier is None:
      self._classifier = drawing_classifier.DrawingClassifier(self, self.config)
    return self._classifier

  def draw(self, class_weights, seeds=0, **settings) -> drawing_classifier.Drawings:
    """`DrawingClassifier.draw`."""
    return self.classifier.draw(class_weights, seeds, **settings)

  def classify(self, images: np.ndarray) -> np.ndarray:
    """`DrawingClassifier.classify`."""
    return self.classifier.classify(images)


def _scalar(value, dtype, name: str) -> tf.Variable:
  return tf.Variable(value, dtype=dtype, trainable=False, name=name)
