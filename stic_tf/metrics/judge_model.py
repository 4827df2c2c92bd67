"""The judge: a convolutional classifier whose features stand in for Inception's, and its seeded training.

A small plain one for line drawings, a residual one for photographs, which are harder. Also the classifier that the
classification accuracy score trains on drawings. It is never sampled from, so, unlike `stic_tf/networks`, it may use
batch normalisation and ReLU, which learn fastest in a small budget.
"""

import dataclasses
import functools
import math
from typing import Optional

import keras
import numpy as np
import tensorflow as tf

from stic_tf import replicas
from stic_tf.datasets import pixel_range


@dataclasses.dataclass(frozen=True)
class JudgeSettings:
  """Everything about the judge that is not data. Raise `version` when code or constants change what these values give.

  Training sees `pixel_budget` pixels (an image of H x W counts as H*W), but no image more than `max_epochs` times:
  small sets converge, large ones end in bounded time. A `residual` judge is the nine-layer residual network that
  David Page's DAWNBench entry made known ("How to train your ResNet", 2018), at half its width, and learns as that
  does: by Nesterov's momentum, and with weights that decay, without which it learns photographs by heart. Against that
  too a square of each image is hidden (DeVries & Taylor 2017), and labels are smoothed. `flip` shows it mirrored images
  too, and has it answer with both.
  """

  version: int = 1
  max_side: int = 64
  smallest_grid: int = 4
  first_width: int = 24
  largest_width: int = 128
  feature_width: int = 64
  pixel_budget: float = 160e6
  max_epochs: int = 40
  batch_size: int = 64
  learning_rate: float = 4e-3
  warmup_fraction: float = 0.2
  residual: bool = False
  flip: bool = False
  bfloat16: bool = False


SETTINGS = JudgeSettings()
_PREDICTION_BATCH = 256
_MOMENTUM = 0.9
_HIDDEN = 0.25  # of each side, by the square that is hidden
_SMOOTHING = 0.1  # of labels, shared among all classes
_WEIGHT_DECAY = 5e-3  # times the rate, an update: apart from the momentum, so ten times what a loss of squares has


def settings_of(image_shape) -> JudgeSettings:
  """Of colour images of 32 pixels a side and more those of the judge of photographs, of others `SETTINGS`."""
  if image_shape[-1] != 3 or min(image_shape[:2]) < 32:
    return SETTINGS
  return dataclasses.replace(SETTINGS, version=3, first_width=32, largest_width=256, pixel_budget=1.7e9, max_epochs=36,
                             batch_size=128, learning_rate=0.15, residual=True, flip=True,
                             bfloat16=replicas.computes_bfloat16())


def judge_input(images, settings: JudgeSettings = SETTINGS) -> tf.Tensor:
  """uint8 images [N,H,W,C] as the judge sees them: float32 in [-1, 1], sides above `max_side` reduced by area."""
  scaled = pixel_range.from_uint8(images)
  height, width = images.shape[1], images.shape[2]
  largest = max(height, width)
  if largest <= settings.max_side:
    return scaled
  size = (max(1, round(height * settings.max_side / largest)), max(1, round(width * settings.max_side / largest)))
  return tf.image.resize(scaled, size, method="area")


def build_judge_model(image_shape, num_classes: int, seed: int,
                      settings: Optional[JudgeSettings] = None) -> keras.Model:
  """The judge for `image_shape` = (H, W, C) as seen by `judge_input`.

  3x3 convolutions with normalisation, halving the grid and doubling the width until the shorter side is at most
  `smallest_grid`; the last grid is flattened (where a stroke lies matters to a digit) into the features. The residual
  one halves the grid after a convolution, not before it, adds two convolutions to what the second and the last grid
  hold, and takes the largest value of each channel.

  Returns:
    A model from float32 [N,H,W,C] in [-1, 1] to (features [N,feature_width], at least 0; logits [N,num_classes]).
    The same `seed` gives the same initial weights whatever the global seeds; every layer is named, so that building
    a judge leaves Keras's automatic names alone.
  """
  settings = settings or settings_of(image_shape)
  generator = np.random.default_rng([seed, 1])  # the order of training uses [seed]

  def initializer():
    return keras.initializers.HeNormal(seed=int(generator.integers(2**31)))

  dtype = "mixed_bfloat16" if settings.bfloat16 else "float32"

  def convolved(tensor, width, name):
    tensor = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, kernel_initializer=initializer(),
                                 name=f"{name}_conv", dtype=dtype)(tensor)
    return normalised(tensor, name)

  def normalised(tensor, name):
    # Momentum below Keras's 0.99: a digits judge makes only some hundred updates, the averages must keep up.
    tensor = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(tensor)
    return keras.layers.ReLU(name=f"{name}_relu")(tensor)

  def pooled(tensor, name):
    return keras.layers.MaxPool2D(2, padding="same", name=f"{name}_pool")(tensor)

  def is_last(tensor):
    return min(tensor.shape[1:3]) <= settings.smallest_grid

  images = keras.Input(image_shape, name="judge_images")
  width, block = settings.first_width, 0
  tensor = convolved(images, width, "judge_0")
  while not is_last(tensor):
    if not settings.residual:
      tensor = pooled(tensor, f"judge_{block}")
    width, block = min(2 * width, settings.largest_width), block + 1
    name = f"judge_{block}"
    tensor = convolved(tensor, width, name)
    if settings.residual:
      tensor = pooled(tensor, name)
      if block == 1 or is_last(tensor):
        branch = convolved(convolved(tensor, width, f"{name}_branch0"), width, f"{name}_branch1")
        tensor = keras.layers.Add(name=f"{name}_add")([tensor, branch])
  tensor = (keras.layers.GlobalMaxPooling2D(name="judge_largest") if settings.residual
            else keras.layers.Flatten(name="judge_flatten"))(tensor)
  tensor = keras.layers.Dense(
    settings.feature_width, use_bias=False, kernel_initializer=initializer(), name="judge_dense")(tensor)
  features = normalised(tensor, "judge_features")
  logits = keras.layers.Dense(num_classes, kernel_initializer=initializer(), name="judge_logits")(features)
  return keras.Model(images, [features, logits], name="judge")


def train_judge_model(images, labels, num_classes: int, seed: int, settings: Optional[JudgeSettings] = None
                      ) -> keras.Model:
  """Trains a fresh judge on uint8 images [N,H,W,C] and int labels [N] in 0..num_classes-1.

  Cross-entropy, Adam (a residual judge: momentum and decay, smoothed labels, a hidden square) under a one-cycle rate,
  shifts by up to an eighth of the side. `settings` are those that the images' shape asks for unless given. Every random
  number comes from `seed`; the global TensorFlow, NumPy and Python generators are neither read nor moved.

  Raises:
    ValueError: wrong shapes or types, no images, or a label out of range.
  """
  images, labels = check_labelled_images(images, labels, num_classes)
  if len(images) < 2:
    raise ValueError(f"a judge needs at least 2 training images, got {len(images)}")
  settings = settings or settings_of(images.shape[1:])
  epochs = min(settings.max_epochs, settings.pixel_budget / images[..., 0].size)
  batch_size = min(settings.batch_size, len(images))
  steps = max(1, math.ceil(epochs * len(images) / batch_size))
  input_shape = tuple(judge_input(images[:1], settings).shape[1:])
  model = build_judge_model(input_shape, num_classes, seed, settings)
  trained, optimizer, update = _trainer(input_shape, num_classes, settings)
  trained.set_weights(model.get_weights())
  for variable in optimizer.variables:
    variable.assign(tf.zeros_like(variable))
  warmup = max(1, int(settings.warmup_fraction * steps))
  rate = keras.optimizers.schedules.CosineDecay(
    0.05 * settings.learning_rate, max(1, steps - warmup), warmup_target=settings.learning_rate, warmup_steps=warmup)
  for step, batch in enumerate(_training_batches(images, labels, steps, batch_size, seed, settings)):
    update(*batch, rate(step))
  model.set_weights(trained.get_weights())
  return model


@functools.lru_cache(maxsize=2)
def _trainer(input_shape, num_classes: int, settings: JudgeSettings):
  """(a judge, its optimizer, the compiled update of both), to be set to a start: tracing is dearer than few updates."""
  model = build_judge_model(input_shape, num_classes, 0, settings)
  # Keras compiles an optimizer with XLA where it finds a GPU; for a net this small that only adds compile time.
  optimizer = (keras.optimizers.SGD(momentum=_MOMENTUM, nesterov=True, weight_decay=_WEIGHT_DECAY, jit_compile=False)
               if settings.residual else keras.optimizers.Adam(jit_compile=False))
  optimizer.build(model.trainable_variables)

  def losses_of(labels, logits):
    if not settings.residual:
      return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return keras.losses.categorical_crossentropy(tf.one_hot(labels, num_classes), logits, from_logits=True,
                                                 label_smoothing=_SMOOTHING)

  @functools.partial(tf.function, autograph=False)
  def update(images, labels, rate):
    with tf.GradientTape() as tape:
      loss = tf.reduce_mean(losses_of(labels, model(images, training=True)[1]))
    optimizer.learning_rate.assign(rate)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))

  return model, optimizer, update


def _training_batches(images, labels, steps, batch_size, seed, settings) -> tf.data.Dataset:
  """`steps` batches of (judge inputs, labels), each image once an epoch; all order and shifts derive from `seed`."""
  generator = np.random.default_rng(seed)
  epochs = math.ceil(steps * batch_size / len(images))
  # NumPy's generator, as Dataset.shuffle and tf.random would mix the caller's global seed into this one.
  order = np.concatenate([generator.permutation(len(images)) for _ in range(epochs)])[:steps * batch_size]
  height, width = images.shape[1:3]
  pad_height, pad_width = max(1, height // 8), max(1, width // 8)
  top = generator.integers(0, 2 * pad_height + 1, [steps, batch_size])
  left = generator.integers(0, 2 * pad_width + 1, [steps, batch_size])
  mirrored = generator.integers(0, 2, [steps, batch_size]) * settings.flip
  sides = judge_input(images[:1], settings).shape[1:3]
  centres = [generator.integers(0, side, [steps, batch_size]).astype(np.float32)
             for side in sides] if settings.residual else []
  with tf.device("/CPU:0"):
    all_images, all_labels = tf.constant(images), tf.constant(labels)

    @tf.autograph.experimental.do_not_convert
    def batch(indices, top, left, mirrored, *centres):
      chosen = tf.pad(tf.gather(all_images, indices), [[0, 0], [pad_height] * 2, [pad_width] * 2, [0, 0]])
      chosen = tf.gather(chosen, top[:, tf.newaxis] + np.arange(height), axis=1, batch_dims=1)
      chosen = tf.gather(chosen, left[:, tf.newaxis] + np.arange(width), axis=2, batch_dims=1)
      if settings.flip:
        chosen = tf.where(mirrored[:, tf.newaxis, tf.newaxis, tf.newaxis] > 0, tf.reverse(chosen, [2]), chosen)
      seen = judge_input(chosen, settings)
      if centres:
        rows, columns = (tf.abs(np.arange(0.5, side, dtype=np.float32) - centre[:, tf.newaxis]) < 0.5 * _HIDDEN * side
                         for side, centre in zip(sides, centres))
        hidden = tf.logical_and(rows[:, :, tf.newaxis], columns[:, tf.newaxis])
        seen = tf.where(hidden[..., tf.newaxis], 0.0, seen)
      return seen, tf.gather(all_labels, indices)

    dataset = tf.data.Dataset.from_tensor_slices((order.reshape(steps, batch_size), top, left, mirrored, *centres))
    return dataset.map(batch, num_parallel_calls=2, deterministic=True).prefetch(2)


def predict(model: keras.Model, images, settings: Optional[JudgeSettings] = None) -> tuple:
  """(features float64 [N,F], logits float32 [N,K]) of uint8 images [N,H,W,C], in batches; N may be 0.

  Where `settings` (those of the images' shape unless given) have `flip`, means of an image's and its mirror image's;
  of the logits, of their log probabilities.
  """
  images = np.asarray(images)
  settings = settings or settings_of(images.shape[1:])
  features, logits = [np.zeros((0, model.output[0].shape[-1]))], [np.zeros((0, model.output[1].shape[-1]), np.float32)]
  for start in range(0, len(images), _PREDICTION_BATCH):
    batch = judge_input(images[start:start + _PREDICTION_BATCH], settings)
    seen = model(batch, training=False)
    if settings.flip:
      mirrored = model(tf.reverse(batch, [2]), training=False)
      seen = [0.5 * (seen[0] + mirrored[0]), 0.5 * (tf.nn.log_softmax(seen[1]) + tf.nn.log_softmax(mirrored[1]))]
    features.append(seen[0].numpy().astype(np.float64))
    logits.append(seen[1].numpy())
  return np.concatenate(features), np.concatenate(logits)


def check_labelled_images(images, labels, num_classes: int) -> tuple:
  """(images, labels as int64), or ValueError unless uint8 [N,H,W,C] with N > 0, and int [N] in 0..num_classes-1."""
  images, labels = np.asarray(images), np.asarray(labels)
  if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
    raise ValueError(f"images must be uint8 [N,H,W,C] with N > 0, got {images.dtype} {list(images.shape)}")
  if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(f"labels must be integers [{len(images)}], got {labels.dtype} {list(labels.shape)}")
  if labels.min() < 0 or labels.max() >= num_classes:
    raise ValueError(f"labels must lie in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}")
  return images, labels.astype(np.int64)
