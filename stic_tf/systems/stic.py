"""STIC: a classifier whose logits are class energies, drawn from by chains in images smoothed by noise s."""

import functools
from typing import Optional

import numpy as np
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import drawing as drawing_lib
from stic_tf import registries
from stic_tf import seed_pairs
from stic_tf.datasets import pixel_range
from stic_tf.mcmc import metropolis
from stic_tf.mcmc import random as random_lib
from stic_tf.mcmc import recording
from stic_tf.mcmc import run as run_lib
from stic_tf.networks import build
from stic_tf.networks import shared_energy
from stic_tf.preconditioners import base as base_preconditioner
from stic_tf.preconditioners import build as preconditioners
from stic_tf.systems import base
from stic_tf.systems import drawer
from stic_tf.targets import class_grams as class_grams_lib
from stic_tf.targets import density
from stic_tf.targets import energies
from stic_tf.targets import gradient as gradient_lib
from stic_tf.training import losses
from stic_tf.training import passes
from stic_tf.training import randomness as randomness_lib

_ADAPTATION_GAIN = 0.1
_RENDERED_AT_ONCE = 96


class STIC(base.System):
  """A System whose network is an image classifier as it stands; arguments as there."""

  kind = "stic"
  fake_sources = ("current", "previous_pass", "canvas", "none")

  def __init__(self, network, num_classes, *args, **kwargs):
    super().__init__(network, num_classes, *args, **kwargs)
    walk, sampler = self.config.walk, self.config.sampler
    channels = [shape[-1] for shape in self.feature_shapes()] if walk.gram_weight > 0 else []
    config_lib.require(channels or not walk.gram_weight, "gram_weight", walk.gram_weight,
                       "needs a network that gives feature maps beside its logits")
    self.class_grams = class_grams_lib.ClassGrams(self.num_classes, channels, rank=walk.gram_rank)
    self._classes = shared_energy.without(self.network)
    self.reference = self._make_reference()
    self.targets = {name: density.Target(self.energy(network), self.preconditioner, self.image_shape, self.reference)
                    for name, network in (("network", self.network), ("average", self.average))}
    self._kernel = registries.KERNELS.load(sampler.sampler)

  def feature_shapes(self):
    """Shapes of the feature maps that the Gram term reads."""
    return self.network.output_shape[1:] if isinstance(self.network.output_shape, list) else []

  def energy(self, network):
    """f_w of one of the networks, with the Gram term where it has a weight."""
    return energies.ClassEnergy(lambda images: build.logits_and_features(network, images), self.class_grams,
                                self.config.walk.gram_weight)

  def energy_of_logits(self, logits, class_weights):
    """What real images are to have more of than fakes: [B, K], [B, K] -> [B]."""
    return energies.weighted_logit(logits, class_weights)

  def make_preconditioner(self):
    return preconditioners.build(self.config.sampler.preconditioner, self.image_shape)

  def _make_reference(self) -> Optional[base_preconditioner.Preconditioner]:
    """What has q0's mean and covariance, those of the images, whatever the chains are preconditioned by."""
    if self.config.walk.reference == "flat":
      return None
    return self.preconditioner if self.preconditioner.of_images else preconditioners.build("gram", self.image_shape)

  def logits(self, images):
    return build.logits_and_features(self.average, images)[0]

  def log_density(self, images, class_weights, temperature):
    target = self.targets["average"]
    if class_weights is None:
      energy = tf.reduce_logsumexp(self.logits(images) / temperature[:, tf.newaxis], axis=1)
    else:
      energy = target.energy(images, target.energy.condition(class_weights))[0] / temperature
    return energy + target.log_reference(target.to_whitened(images))

  def drawer(self, config):
    return WholeImages(self, config)

  def fake_drawer(self):
    # In whole-image steps, as its training takes; guided drawings are of another density than the one that is learnt.
    return WholeImages(self, self.config.replace(guidance=0.0))

  def own_variables(self):
    own = {"class_grams": self.class_grams.named_variables()}
    if self.reference not in (None, self.preconditioner):
      own["reference"] = self.reference.named_variables()
    return own

  # --- training ---

  def logged(self):
    names = ["loss_classification", "loss_mixup"] + ["loss_noisy"] * bool(self.config.walk.noisy_weight)
    names += ["loss_denoising"] * bool(self.config.walk.denoising_weight)
    if self.config.training.fakes:
      names += ["loss_generative", "energy_real", "energy_fake"]
    return names + ["acceptance_rate"] * self.moves_chains

  def on_statistics(self):
    self.set_noise_level(self.config.walk.noise_start)

  def on_pass(self, number):
    self.set_noise_level(passes.noise_schedule(self.config.walk, max(self.num_passes, number + 1))[number])

  def set_noise_level(self, noise_level: float) -> None:
    """Smooths the density that is walked in by another s."""
    self.noise_level.assign(float(noise_level))
    for fitted in (self.preconditioner, self.reference):
      if fitted is not None:
        fitted.fit(self.statistics, float(noise_level))

  def make_fakes(self, streams, randomness):
    """The real images in the smoothing noise, and fakes in it: chains that move, or the drawings of the last pass."""
    training, walk = self.config.training, self.config.walk
    made, moved, logs = {}, None, {}
    if training.fakes or walk.noisy_weight or walk.denoising_weight:
      made["clean_images"] = streams["generative_images"]
      made["generative_images"] = streams["generative_images"] + self._smoothing(
          streams["generative_images"], randomness, randomness_lib.SMOOTHING)
      if walk.gram_weight > 0:
        self._update_grams(made["generative_images"], streams["generative_labels"])
    if not training.fakes:
      return made, moved, logs
    rows = randomness.rows(randomness_lib.ROWS, training.batch_size, training.chains)
    mine = randomness_lib.replica_rows(rows)
    weights = self.chains.class_weights(mine, self.num_classes)
    if self.moves_chains:
      images, logs["acceptance_rate"] = self._move(rows, mine, weights, randomness)
      moved = (rows, images)
    else:
      images = tf.gather(self.chains.images, mine)
    images, weights, is_past = self.with_past(images, weights, randomness)
    # What was drawn and rendered gets the noise of today: that of its own day would give it away.
    noise = self._smoothing(images, randomness, randomness_lib.FAKE_NOISE)
    images = metropolis.choose(is_past, images + noise, images) if self.moves_chains else images + noise
    return {**made, "fake_images": images, "fake_weights": weights}, moved, logs

  def _smoothing(self, images, randomness, use: int) -> tf.Tensor:
    """Noise of standard deviation s for a replica's images [B, H, W, C], of their shape."""
    shape = tf.concat([[tf.shape(images)[0] * self.num_replicas], self.image_shape], 0)
    return self.noise_level * randomness_lib.replica_rows(randomness.normal(use, shape))

  def _move(self, rows, mine, class_weights, randomness):
    """Moves a batch of chains by `training_steps`; some begin anew on a blank canvas. Images and acceptance."""
    count, walk = self.config.training.batch_size, self.config.walk
    restart = randomness.uniform(randomness_lib.RESTART, [count]) < (
        1.0 if self.fakes_from == "canvas" else walk.restart_probability)
    restart = tf.logical_or(restart, tf.logical_not(tf.gather(self.chains.begun, rows)))
    advance = tf.function(self._advance, jit_compile=True) if self.config.training.jit else self._advance
    return advance(tf.gather(self.chains.images, mine), class_weights, self._chain_seeds(mine),
                   randomness_lib.replica_rows(restart))

  def _advance(self, images, class_weights, seeds, restart):
    """`training_steps` of some chains: images [B, H, W, C] and their mean acceptance."""
    target, sampler = self.targets["network"], self.config.sampler
    temperature = tf.fill([tf.shape(seeds)[0]], tf.constant(sampler.temperature, tf.float32))
    kernel = self._kernel(target.whitened(class_weights, temperature), self.preconditioner.size)
    position = tf.where(restart[:, tf.newaxis], target.blank(kernel.blank(seeds)), target.to_whitened(images))
    result = run_lib.run(kernel, position, seeds, self.config.walk.training_steps, self.step_size)
    return target.to_images(result.state.position), tf.reduce_mean(result.acceptance_rate)

  def rendered_chains(self):
    """As the jump renders them: what the pool keeps must not carry the noise of its pass."""
    if not self.moves_chains:
      return super().rendered_chains()
    count = self.chains.capacity
    parts = [self._render_batch(np.arange(start, start + _RENDERED_AT_ONCE, dtype=np.int32) % count)
             for start in range(0, count, _RENDERED_AT_ONCE)]
    return tf.concat(parts, 0)[:count]

  @functools.cached_property
  def _render_batch(self):
    return tf.function(self._render, autograph=False)

  def _render(self, rows):
    target, temperature = self.targets["network"], tf.fill([tf.shape(rows)[0]], self.config.sampler.temperature)
    position = target.to_whitened(tf.gather(self.chains.images, rows))
    _, gradient = target.whitened(self.chains.class_weights(rows, self.num_classes), temperature)(position)
    return tf.clip_by_value(target.jump(position, gradient, self.noise_level, temperature), -1.0, 1.0)

  def _chain_seeds(self, rows: tf.Tensor) -> tf.Tensor:
    """A seed pair per chain and update: int64 [B, 2]."""
    second = seed_pairs.second_word(seed_pairs.CHAINS, tf.cast(rows, tf.int64), self.updates_done + 0, self.attempt + 0)
    return tf.stack([tf.fill(tf.shape(second), tf.constant(self.seed, tf.int64)), second], axis=1)

  def _update_grams(self, images, labels):
    """Moves the class statistics by the whole batch, outside the replicas."""

    def update(strategy, images, labels):
      _, features = build.logits_and_features(self.network, strategy.gather(images, axis=0))
      self.class_grams.update(features, tf.argmax(strategy.gather(labels, axis=0), axis=1, output_type=tf.int32))

    tf.distribute.get_replica_context().merge_call(update, args=(images, labels))

  def learn(self, streams, randomness):
    """Cross-entropy on real and mixup images; real noisy images pulled up and denoised, and fakes pushed down."""
    training, walk = self.config.training, self.config.walk
    apart = walk.denoising_weight > 0  # the generative stream, whose images its gradient is taken by
    names = ["real", "mixup"] + ["generative"] * bool((training.fakes or walk.noisy_weight) and not apart)
    names += ["fake"] * training.fakes
    # What all classes share tells no class from another.
    parts = [(self._classes, names[:2]), (self.network, names[2:])] if self._classes else [(self.network, names)]
    with tf.GradientTape() as tape:
      logits = {name: of_stream for network, some in parts for name, of_stream in self._logits(network, streams, some)}
      logs = {"loss_classification": losses.soft_cross_entropy(streams["real_labels"], logits["real"]),
              "loss_mixup": losses.soft_cross_entropy(streams["mixup_labels"], logits["mixup"])}
      loss = logs["loss_classification"] + logs["loss_mixup"]
      if apart:
        logs["loss_denoising"], logits["generative"] = self._denoising(streams)
        loss += walk.denoising_weight * logs["loss_denoising"]
      if walk.noisy_weight:
        logs["loss_noisy"] = losses.soft_cross_entropy(streams["generative_labels"], logits["generative"])
        loss += walk.noisy_weight * logs["loss_noisy"]
      if training.fakes:
        real = self.energy_of_logits(logits["generative"], streams["generative_labels"])
        fake = self.energy_of_logits(logits["fake"], streams["fake_weights"])
        generative = losses.BY_NAME[walk.loss](real, fake, walk.energy_decay)
        if not self.moves_chains:  # there is nothing drawn before the second pass
          generative = tf.where(self.passes_done > 0, generative, 0.0)
        loss += training.fake_weight * generative
        logs.update(loss_generative=generative, energy_real=tf.reduce_mean(real), energy_fake=tf.reduce_mean(fake))
      loss *= self.replica_share
    variables = self.network.trainable_variables
    # A classifier alone has a decoder that no loss depends on.
    self.apply_gradients(tape.gradient(loss, variables, unconnected_gradients="zero"), variables)
    logs[base.LARGEST] = tf.reduce_max(tf.abs(tf.concat(list(logits.values()), axis=0)))
    return logs

  @staticmethod
  def _logits(network, streams, names):
    """(name, logits [B, K]) of some of the streams, computed together."""
    if not names:
      return ()
    images = [streams[f"{name}_images"] for name in names]
    outputs = tf.nest.flatten(network(tf.concat(images, axis=0), training=True))
    return zip(names, tf.split(tf.cast(outputs[0], tf.float32), [tf.shape(of_stream)[0] for of_stream in images]))

  def _denoising(self, streams):
    """The error of the jump from real images in the smoothing noise, over that of the reference alone; their logits.

    The jump is x + s² ∇(f_y + log q0): score matching (Saremi & Hyvärinen 2019), which needs no chains.
    """
    noisy, labels, target = streams["generative_images"], streams["generative_labels"], self.targets["network"]
    variance = tf.square(self.noise_level)

    def energy_of(images):
      logits = tf.cast(tf.nest.flatten(self.network(images, training=True))[0], tf.float32)
      return energies.weighted_logit(logits, labels), logits

    _, logits, score = gradient_lib.energy_and_gradient(energy_of, noisy)
    of_reference = gradient_lib.denoise(noisy, target.reference_score(noisy), variance)
    denoised = gradient_lib.denoise(of_reference, score, variance)
    unlearnt = tf.reduce_mean(tf.square(of_reference - streams["clean_images"]))
    if self.num_replicas > 1:  # of the whole batch
      unlearnt = tf.distribute.get_replica_context().all_reduce("mean", unlearnt)
    return losses.denoising(denoised, streams["clean_images"], unlearnt), logits

  def after_update(self, strategy, logs):
    if self.moves_chains:
      self.network_evaluations.assign_add(self.config.training.batch_size * (self.config.walk.training_steps + 1))
      if self.kernel_is_exact:
        self.adapt_step_size(logs["acceptance_rate"], _ADAPTATION_GAIN)


class WholeImages(drawer.Drawer):
  """Draws in whole-image steps: burn-in, the chain, one jump.

  Args:
    system: whose averaged network draws.
    config: settings of the drawing.
  """

  def __init__(self, system: STIC, config: config_lib.RunConfig):
    self.system, self.config, self.walks = system, config, system.is_exact(config)
    self.target = system.targets["average"]
    self.guidance = config.sampler.guidance or None  # without any a step need not read all classes

  def network_evaluations(self, num_steps):
    return num_steps + 1

  def draw(self, request):
    request = drawer.with_own_numbers(request)
    kernel, position, render = self.chain(request)
    recorder = (recording.Recorder(render, request.num_frames, self.target.image_shape) if request.num_frames else None)
    return self.drawing(self.run(kernel, position, request, recorder), render)

  def drawing(self, result: run_lib.ChainResult, render) -> drawing_lib.Drawing:
    """What has come of the chains."""
    state = result.state
    return drawing_lib.Drawing(render(state), self.walk(state.position), state.log_density, result.acceptance_rate,
                               result.step_size, recording.batch_first(result.frames))

  def walk(self, position: tf.Tensor) -> tf.Tensor:
    """Positions of chains as images: float32 [B, H, W, C]."""
    return self.target.to_images(position)

  def trace(self, request, num_steps):
    kernel, position, _ = self.chain(request)
    return self.run(kernel, position, request, recording.Trace(num_steps)).frames[self.burn_in(num_steps):, 0]

  def chain(self, request: drawing_lib.Request):
    """(kernel, where its chains begin [B, D], state -> rendered images uint8 [B, H, W, C])."""
    kernel = registries.KERNELS.load(self.config.sampler.sampler)(
        self.target.whitened(request.class_weights, request.temperature, self.guidance_of(request)),
        self.target.preconditioner.size)
    noise_level = tf.convert_to_tensor(self.system.noise_level)

    def render(state):
      return pixel_range.to_uint8(self.target.jump(state.position, state.gradient, noise_level, request.temperature))

    return kernel, self.start(kernel, request), render

  def guidance_of(self, request: drawing_lib.Request) -> Optional[tf.Tensor]:
    """γ of each image of a request, float32 [B]; None where it draws without."""
    if self.guidance is None or request.guidance is not None:
      return request.guidance
    return tf.fill([tf.shape(request.seeds)[0]], tf.constant(self.guidance, tf.float32))

  def start(self, kernel, request: drawing_lib.Request) -> tf.Tensor:
    """Where the chains begin, whitened [B, D]: a draw from the reference measure, never a data image; or a canvas.

    A canvas has the smoothing noise of the density that is walked in added.
    """
    if request.canvas is None:
      return self.target.blank(kernel.blank(request.seeds))
    noise = random_lib.normals(request.seeds, random_lib.CANVAS_STREAM, self.target.preconditioner.size)
    images = pixel_range.from_uint8(request.canvas)
    return self.target.to_whitened(images + self.system.noise_level * tf.reshape(noise, tf.shape(images)))

  def run(self, kernel, position, request: drawing_lib.Request, recorder) -> run_lib.ChainResult:
    """The chain, with h adapted in the first share of its steps."""
    return run_lib.run(kernel, position, request.seeds, request.num_steps, request.step_size,
                       self.burn_in(request.num_steps), self.config.sampler.target_acceptance, recorder=recorder)

  def burn_in(self, num_steps) -> tf.Tensor:
    """How many of so many steps."""
    return tf.cast(tf.cast(num_steps, tf.float32) * self.config.walk.burn_in_fraction, tf.int32)
