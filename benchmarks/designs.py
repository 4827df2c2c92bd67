"""Designs of Score-STIC at equal processor time: held-out denoising loss and accuracy at each noise level.

    python benchmarks/designs.py --data_dir=… --out=designs.json --minutes=20 \
        --design="wide: --width=64 --blocks=1,2,1" --design="narrow: --width=32 --blocks=1"

A design is a name and flags of the trainers, after those of --flagfile. Each is trained for so many minutes of
processor time (two cores at work count double), the learning rate falling as a half cosine over them, without fakes,
from its own initial weights or those of its --init_from.
What is measured is the average of the weights on validation images: the loss of `training.losses.denoising` and the
accuracy, both at fixed levels and with fixed noise, alike for all designs.
"""

import argparse
import copy
import importlib
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from absl import flags  # noqa: E402

from benchmarks import measure  # noqa: E402
from stic_tf.datasets import dataset as dataset_lib  # noqa: E402
from stic_tf.datasets import pipeline  # noqa: E402
from stic_tf.datasets import pixel_range  # noqa: E402
from stic_tf.networks import gaussians  # noqa: E402
from stic_tf.systems import build  # noqa: E402
from stic_tf.targets import energies  # noqa: E402
from stic_tf.targets import gradient  # noqa: E402
from stic_tf.training import losses  # noqa: E402
from trainers import flags as trainer_flags  # noqa: E402
from trainers import train as training  # noqa: E402

LEVELS = (0.03, 0.06, 0.11, 0.2, 0.4, 0.8, 1.6, 4.0)
_BATCH = 128
_ENDLESS = 10 ** 9


class Deadline(keras.callbacks.Callback):
  """Lets the learning rate fall over some seconds by a clock, and stops there."""

  def __init__(self, seconds: float, rate: float, clock):
    super().__init__()
    self._seconds, self._rate, self._clock, self.updates = seconds, rate, clock, 0

  def on_train_begin(self, logs=None):
    self.began = None

  def on_train_batch_end(self, batch, logs=None):
    self.updates = batch + 1
    if self.began is None:  # what the first update takes is compilation
      self.began, self.compiled = self._clock(), self.updates
    share = (self._clock() - self.began) / self._seconds
    self.model.optimizer.learning_rate.assign(self._rate * 0.5 * (1.0 + np.cos(np.pi * min(share, 1.0))))
    if share >= 1.0:
      self.model.stop_training = True


def held_out(system, images: np.ndarray, labels: np.ndarray) -> dict:
  """Denoising loss and accuracy of the average at each level: images uint8 [N, H, W, C], labels int [N]."""
  network, num_classes = system.average, system.num_classes
  isotropic = gaussians.Isotropic(images.shape[1:])  # one measure for all
  isotropic.data_scale.assign(network.data_scale)

  @tf.function(autograph=False)
  def of_batch(clean, labels, levels, noise):
    clean, weights = pixel_range.from_uint8(clean), tf.one_hot(labels, num_classes)
    noisy = clean + levels[:, tf.newaxis, tf.newaxis, tf.newaxis] * noise

    def energy(rows):
      found = network.level_energies(rows, levels)[0]
      return energies.weighted_logit(found, weights), found

    _, found, score = gradient.energy_and_gradient(energy, noisy)
    denoised = gradient.denoise(noisy, score, tf.square(levels)[:, tf.newaxis, tf.newaxis, tf.newaxis])
    right = tf.argmax(found, axis=1, output_type=tf.int32) == labels
    loss = losses.denoising(denoised, clean, isotropic.denoising_error(levels))
    return loss, tf.reduce_mean(tf.cast(right, tf.float32))

  figures = {"denoising": {}, "accuracy": {}}
  for place, level in enumerate(LEVELS):
    rng, parts = np.random.default_rng(place), []
    for start in range(0, len(images) - _BATCH + 1, _BATCH):
      rows = slice(start, start + _BATCH)
      noise = rng.normal(size=(_BATCH, *images.shape[1:])).astype(np.float32)
      found = of_batch(images[rows], labels[rows].astype(np.int32), tf.fill([_BATCH], level), noise)
      parts.append([value.numpy() for value in found])
    loss, accuracy = np.mean(parts, axis=0)
    figures["denoising"][str(level)], figures["accuracy"][str(level)] = float(loss), float(accuracy)
  return figures


def train(arguments, its_flags, dataset: dataset_lib.Dataset) -> dict:
  """One design: its figures, size and speed."""
  values = copy.deepcopy(flags.FLAGS)
  values(["designs.py", f"--flagfile={arguments.flagfile}", "--fakes_from=none", *its_flags])
  config, spec = trainer_flags.to_config(values), dataset.spec
  system = build.build(config, spec.image_shape, spec.class_names, values.seed, tf.distribute.get_strategy())
  system.adapt(dataset.arrays("train", limit=10000)[0])
  training.begin_with(system, values.init_from)
  system.compile(system.make_optimizer(), steps_per_execution=arguments.updates_per_call)
  stream = pipeline.update_stream(dataset, config.training.batch_size, values.seed, values.augment,
                                  config.training.mixup_alpha, ratio=config.training.classification_ratio,
                                  cutout=values.cutout, cutmix=values.cutmix)
  clock = time.perf_counter if arguments.wall_clock else time.process_time
  deadline = Deadline(60.0 * arguments.minutes, config.training.learning_rate, clock)
  system.fit(stream, epochs=1, steps_per_epoch=_ENDLESS, verbose=0, callbacks=[deadline])
  seconds = clock() - deadline.began
  seen, timed = (count * config.training.batch_size for count in (
      deadline.updates, deadline.updates - deadline.compiled))
  return {"flags": its_flags, "parameters": int(sum(np.prod(value.shape) for value in
                                                    system.network.trainable_variables)),
          "images": seen, "ms_an_image": 1e3 * seconds / max(timed, 1),
          **held_out(system, *dataset.arrays("validation", limit=arguments.images))}


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--design", action="append", required=True, help='"NAME: FLAGS"; several')
  parser.add_argument("--flagfile", default="trainers/flagfiles/cifar10_score.flags")
  parser.add_argument("--data_dir", default=None)
  parser.add_argument("--minutes", type=float, default=20.0, help="of processor time, a design")
  parser.add_argument("--wall_clock", action="store_true", help="let --minutes be those of the clock: for a GPU")
  parser.add_argument("--images", type=int, default=1280, help="validation images")
  parser.add_argument("--updates_per_call", type=int, default=4)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--out", required=True, help="FILE.json")
  arguments = parser.parse_args()
  for design in arguments.design:
    if ":" not in design:
      parser.error(f'--design="{design}": must be "NAME: FLAGS"')
  if not arguments.minutes > 0 or arguments.images < _BATCH:
    parser.error(f"--minutes must be above 0 and --images at least {_BATCH}")
  return arguments


def main() -> None:
  arguments = _parse()
  measure.pin_threads(arguments.threads)
  report = {"settings": vars(arguments), **measure.circumstances(arguments.threads), "designs": {}}
  values = copy.deepcopy(flags.FLAGS)
  values(["designs.py", f"--flagfile={arguments.flagfile}"])
  dataset = dataset_lib.load(values.dataset, arguments.data_dir)
  for design in arguments.design:
    name, _, its_flags = design.partition(":")
    figures = report["designs"][name] = train(arguments, its_flags.split(), dataset)
    mean = np.mean([figures["denoising"][str(level)] for level in LEVELS])
    print(f"{name}: {figures['parameters']} parameters, {figures['images']} images, "
          f"{figures['ms_an_image']:.2f} ms an image, denoising {mean:.4f}, "
          f"accuracy {max(figures['accuracy'].values()):.3f}", flush=True)
    measure.write_json(arguments.out, report)


if __name__ == "__main__":
  main()
