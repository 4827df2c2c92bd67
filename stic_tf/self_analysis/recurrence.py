"""The passes of recurrent self-analysis: draw fakes, re-estimate the class boundary, draw again (method §3).

`Recurrence` holds the whole state of a training and can hand it out and take it back as plain arrays, so that a run
continues exactly where it stopped. Between passes nothing random is carried over: every pass derives its data order,
its chain seeds and its choices from (seed, attempt, pass).
"""

import contextlib
import dataclasses
from typing import Callable, Dict, Optional

import keras
import numpy as np
import tensorflow as tf

from stic_tf import checkpoint
from stic_tf import config as config_lib
from stic_tf import replicas
from stic_tf.models import attention
from stic_tf.models import build
from stic_tf.sampler import canvas
from stic_tf.sampler import gram as gram_lib
from stic_tf.sampler import target as target_lib
from stic_tf.self_analysis import fakes as fakes_lib
from stic_tf.self_analysis import learner as learner_lib

_STEP_SIZE_RANGE = (1e-5, 4.0)


class DivergenceError(RuntimeError):
  """A loss is not finite, or a logit is beyond --divergence_bound."""


def noise_schedule(config: config_lib.RecurrenceConfig) -> np.ndarray:
  """Smoothing noise s of each pass: geometric from `noise_start` to `noise_end`, then held. float [num_passes].

  It is held while the learning rate goes to its end: a network that is still handed new noise levels at the smallest
  learning rates cannot follow.
  """
  falling = max(1, config.num_passes - int(round(config.noise_hold * config.num_passes)))
  levels = np.full([config.num_passes], config.noise_end)
  levels[:falling] = np.geomspace(config.noise_start, config.noise_end, falling)
  return levels


def learning_rates(config: config_lib.RecurrenceConfig) -> np.ndarray:
  """Learning rate of each pass: a half cosine from `learning_rate` towards a twentieth of it, float [num_passes]."""
  phase = np.arange(config.num_passes) / config.num_passes
  return config.learning_rate * (0.05 + 0.95 * 0.5 * (1.0 + np.cos(np.pi * phase)))


def make_energy(network: keras.Model, class_grams: Optional[gram_lib.ClassGrams],
                gram_weight: float) -> target_lib.ClassEnergy:
  """f_w, with the Gram term where `gram_weight` is above 0; an attentive network's reads no class but w's."""
  if network.name == attention.NAME:
    read = attention.ClassReader(network).energy_and_attention
    return target_lib.AttentiveEnergy(read, class_grams, gram_weight)
  if gram_weight > 0:
    return target_lib.gram_regularised_energy(lambda images: build.logits_and_features(network, images), class_grams,
                                              gram_weight)
  return target_lib.class_energy(lambda images: build.logits(network, images))


def make_class_grams(network: keras.Model, num_classes: int, sampler: config_lib.SamplerConfig) -> gram_lib.ClassGrams:
  """The class statistics the Gram term needs; empty where it is off."""
  channels = [layer.shape[-1] for layer in network.outputs[1:]] if sampler.gram_weight > 0 else []
  return gram_lib.ClassGrams(num_classes, channels, rank=sampler.gram_rank)


class Recurrence:
  """The state of a training and what a pass does to it.

  Args:
    model, sampler, recurrence: the configuration.
    image_shape: (H, W, C).
    num_classes: K.
    statistics: moments of the training images in [-1, 1].
    seed: of everything random.
    strategy: replicas for training and sampling.
  """

  def __init__(self, model: config_lib.ModelConfig, sampler: config_lib.SamplerConfig,
               recurrence: config_lib.RecurrenceConfig, image_shape, num_classes: int,
               statistics: gram_lib.ImageStatistics, seed: int, strategy: tf.distribute.Strategy):
    self.model, self.sampler, self.recurrence = model, sampler, recurrence
    self.image_shape, self.num_classes = tuple(image_shape), num_classes
    self.statistics, self.seed, self.strategy = statistics, seed, strategy
    self.noise_levels = noise_schedule(recurrence)
    self.passes_done, self.updates_done, self.attempt = 0, 0, 0
    self.learning_rate_scale = 1.0
    self.step_size = sampler.step_size
    self.network_evaluations = 0
    self.annealed = None
    with strategy.scope():
      self.network = build.build_network(model, image_shape, num_classes, seed)
      self.average = build.build_network(model, image_shape, num_classes, seed)
      self.preconditioner = self._make_preconditioner()
      self.class_grams = make_class_grams(self.network, num_classes, sampler)
      self.noise_level = tf.Variable(float(self.noise_levels[0]), trainable=False, name="noise_level")
      self.learner = self._make_learner()
      self.learner.optimizer.build(self.network.trainable_variables)
    self.targets = {name: target_lib.Target(make_energy(network, self.class_grams, sampler.gram_weight),
                                            self.preconditioner, self.image_shape, sampler.reference)
                    for name, network in (("network", self.network), ("average", self.average))}
    rng = np.random.default_rng([seed, 0])
    mixed = fakes_lib.classes_of_chains(recurrence.chains, num_classes, recurrence.soft_fraction, rng)
    self.chains = fakes_lib.PersistentChains(np.zeros([recurrence.chains, *self.image_shape], np.float32), mixed)
    self.pool = fakes_lib.FakePool(recurrence.pool_capacity, self.image_shape, num_classes)
    self._advance = replicas.compiled(strategy, self._advance_replica)
    self._train = replicas.compiled(strategy, self.learner.train_step)
    self._update_average = tf.function(self.learner.update_average, autograph=False)
    self._update_grams = tf.function(self._update_grams_step, autograph=False)

  def _make_preconditioner(self):
    return gram_lib.build_preconditioner(self.sampler.preconditioner, self.image_shape)

  def _make_learner(self) -> learner_lib.Learner:
    config = self.recurrence
    learner = learner_lib.Learner(self.network, self.average, config.loss, config.fake_weight, config.energy_decay,
                                  config.ema_decay)
    learner.compile(optimizer=keras.optimizers.Adam(config.learning_rate, beta_2=0.99, jit_compile=False))
    return learner

  # --- what runs in the graph ---

  def _advance_replica(self, chains, step_size):
    """Moves a batch of chains: restarts some from a blank canvas, then `training_steps` steps."""
    target = self.targets["network"]
    fresh = canvas.start(target, chains["seeds"], self.sampler.sampler)
    position = tf.where(chains["restart"][:, tf.newaxis], fresh, target.to_whitened(chains["images"]))
    result = canvas.run(target, position, chains["class_weights"], chains["seeds"], self.sampler.training_steps,
                        self.sampler.temperature, step_size, sampler=self.sampler.sampler)
    return {"images": target.to_images(result.state.position), "acceptance_rate": result.acceptance_rate}

  def _update_grams_step(self, images, labels):
    _, features = build.logits_and_features(self.network, images)
    self.class_grams.update(features, labels)

  # --- a pass ---

  def run_pass(self, classification_stream, generation_stream, around_update=contextlib.nullcontext,
               on_update: Callable[[int, Dict[str, float]], None] = lambda update, logs: None) -> Dict[str, float]:
    """Runs the next pass.

    Args:
      classification_stream: iterator of {real_images, real_labels, mixup_images, mixup_labels}.
      generation_stream: iterator of (images [B, H, W, C], labels int [B]).
      around_update: makes a context to hold around each update (a profiler's step).
      on_update: called after each update with its number in the pass and its logs.

    Returns:
      Means of the logs over the pass.

    Raises:
      DivergenceError: training left the finite; the state is then not to be used further.
    """
    config = self.recurrence
    number = self.passes_done
    rng = np.random.default_rng([self.seed, self.attempt, number + 1])
    self._set_noise_level(self.noise_levels[number])
    self.learner.optimizer.learning_rate.assign(self.learning_rate_scale * learning_rates(config)[number])
    sums: Dict[str, float] = {}
    for update in range(config.updates_per_pass):
      with around_update():
        logs = self._update(classification_stream, generation_stream, rng)
      self._check(logs)
      for name, value in logs.items():
        sums[name] = sums.get(name, 0.0) + value
      on_update(update, logs)
    # The logs of an update are from before it: the last one of a pass shows here only.
    if not all(np.isfinite(variable.numpy()).all() for variable in self.network.variables):
      raise DivergenceError(f"a weight is not finite after update {self.updates_done}")
    if config.fakes:
      self._end_chains()
      begun = self._begun(self.chains.images)
      self.pool.add(self.chains.images[begun], self.chains.classes[begun], number, rng)
    self.passes_done += 1
    means = {name: value / config.updates_per_pass for name, value in sums.items()}
    means["learning_rate"] = float(self.learner.optimizer.learning_rate.numpy())
    return means

  def _update(self, classification_stream, generation_stream, rng) -> Dict[str, float]:
    """Draws fakes, makes one update of the weights and of their average; returns the logs."""
    data = {name: np.asarray(value) for name, value in next(classification_stream).items()}
    logs = self._add_generative_streams(data, generation_stream, rng) if self._generates else {}
    logs.update(self._reduce(self._train(replicas.split(self.strategy, data))))
    self._update_average(tf.constant(self.updates_done))
    self.updates_done += 1
    return logs

  @property
  def _generates(self) -> bool:
    """Whether updates take from the generation stream."""
    return self.recurrence.fakes

  def _end_chains(self) -> None:
    """At the end of a pass, before its chains go into the pool."""

  def _add_generative_streams(self, data, generation_stream, rng) -> Dict[str, float]:
    """Draws fakes and adds the generative streams to `data`; returns the chain's logs."""
    config = self.recurrence
    images, labels = (np.asarray(value) for value in next(generation_stream))
    rows = rng.choice(len(self.chains), config.batch_size, replace=len(self.chains) < config.batch_size)
    restart = rng.uniform(size=config.batch_size) < config.restart_probability
    restart |= ~self._begun(self.chains.images[rows])
    chains = {"images": self.chains.images[rows], "class_weights": self.chains.classes[rows].dense(self.num_classes),
              "seeds": self._chain_seeds(rows), "restart": restart}
    moved = replicas.join(self.strategy, self._advance(replicas.split(self.strategy, chains),
                                                       tf.constant(self.step_size, tf.float32)))
    self.network_evaluations += config.batch_size * (self.sampler.training_steps + 1)
    self.chains.images[rows] = moved["images"]
    acceptance = float(moved["acceptance_rate"].mean())
    if self.sampler.sampler == "grmala":
      # Declared adaptation between updates; h is fixed within each chain.
      self._adapt_step_size(acceptance, 0.1)
    fake_images, fake_weights = moved["images"], chains["class_weights"]
    fake_images, fake_weights = self._with_past(fake_images, fake_weights, rng)
    noise = rng.standard_normal(images.shape, np.float32) * float(self.noise_levels[self.passes_done])
    noisy = images + noise
    data.update(generative_images=noisy, generative_labels=np.eye(self.num_classes, dtype=np.float32)[labels],
                fake_images=fake_images, fake_weights=fake_weights)
    if self.sampler.gram_weight > 0:
      self._update_grams(tf.constant(noisy), tf.constant(labels, tf.int32))
    return {"acceptance_rate": acceptance}

  def _adapt_step_size(self, acceptance: float, gain: float) -> None:
    moved_by = gain * (acceptance - self.sampler.target_acceptance)
    self.step_size = float(np.clip(self.step_size * np.exp(moved_by), *_STEP_SIZE_RANGE))

  def _with_past(self, images, class_weights, rng):
    """Puts fakes of past passes in the place of some new ones: the batch keeps its size."""
    past = int(round(self.recurrence.past_fraction * self.recurrence.batch_size))
    if not past or not len(self.pool):
      return images, class_weights
    past_images, past_weights = self.pool.sample(past, rng)
    return np.concatenate([images[past:], past_images]), np.concatenate([class_weights[past:], past_weights])

  @staticmethod
  def _begun(images: np.ndarray) -> np.ndarray:
    """Which chains hold an image yet: bool [B]."""
    return images.reshape(len(images), -1).any(axis=1)

  def _chain_seeds(self, rows: np.ndarray) -> np.ndarray:
    """A seed pair per chain and update: int64 [B, 2]."""
    first = (np.int64(self.updates_done + 1) << 32) + np.int64(self.seed & 0xFFFFFFFF)
    return np.stack([np.full(len(rows), first), (np.int64(self.attempt) << 32) + rows.astype(np.int64)], axis=1)

  def _set_noise_level(self, noise_level: float) -> None:
    self.noise_level.assign(float(noise_level))
    self.preconditioner.update(self.statistics, float(noise_level))

  def _reduce(self, per_replica) -> Dict[str, float]:
    """Means over replicas, largest for the bound."""
    joined = {name: [float(part) for part in self.strategy.experimental_local_results(value)]
              for name, value in per_replica.items()}
    return {name: max(parts) if name == "energy_bound" else float(np.mean(parts)) for name, parts in joined.items()}

  def _check(self, logs: Dict[str, float]) -> None:
    for name, value in logs.items():
      if not np.isfinite(value):
        raise DivergenceError(f"{name} is {value} at update {self.updates_done}")
    if logs["energy_bound"] > self.recurrence.divergence_bound:
      raise DivergenceError(f"|f| = {logs['energy_bound']:.3g} is beyond --divergence_bound="
                            f"{self.recurrence.divergence_bound:g} at update {self.updates_done}")

  def choose_answer(self, images: np.ndarray, labels: np.ndarray) -> None:
    """After a pass: fixes whatever of the answer is chosen on validation images (uint8) and labels; here nothing."""

  def start_new_attempt(self, factor: float = 0.5) -> None:
    """After a rollback: other random numbers, and learning rate and step size times `factor`."""
    self.attempt += 1
    self.learning_rate_scale *= factor
    self.step_size *= factor

  def drawing_sampler(self) -> config_lib.SamplerConfig:
    """The settings of a fresh drawing: the run's own, starting at the step size that training arrived at."""
    return dataclasses.replace(self.sampler, step_size=self.step_size)

  # --- state in and out ---

  def _variables(self) -> Dict[str, list]:
    return {"network": self.network.variables, "average": self.average.variables,
            "optimizer": self.learner.optimizer.variables, "class_grams": self.class_grams.variables(),
            "preconditioner": self.preconditioner.variables(), "noise_level": [self.noise_level]}

  def state(self) -> Dict[str, np.ndarray]:
    """Everything a continued run needs, as arrays by name."""
    arrays = {}
    for group, variables in self._variables().items():
      arrays.update(checkpoint.collect(group, variables))
    arrays.update({
        "chains/images": self.chains.images.copy(), **self.chains.classes.state("chains"), **self.pool.state("pool"),
        "counters": np.array([self.passes_done, self.updates_done, self.attempt, self.network_evaluations], np.int64),
        "scales": np.array([self.step_size, self.learning_rate_scale], np.float64)})
    return arrays

  def load_state(self, arrays: Dict[str, np.ndarray]) -> None:
    """Takes back what `state` gave.

    Raises:
      ValueError: an array is missing or of another shape.
    """
    for group, variables in self._variables().items():
      checkpoint.assign(arrays, group, variables)
    self.chains = fakes_lib.PersistentChains(arrays["chains/images"].copy(),
                                             fakes_lib.MixedClasses.from_state("chains", arrays))
    self.pool.load_state("pool", arrays)
    self.passes_done, self.updates_done, self.attempt, self.network_evaluations = (
        int(count) for count in arrays["counters"])
    self.step_size, self.learning_rate_scale = (float(scale) for scale in arrays["scales"])
