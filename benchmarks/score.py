"""What an update of Score-STIC costs against one of plain classification on the same network, and a drawing.

    python benchmarks/score.py --out=score.json [--side=32] [--width=48]

Peak memory is the process's own after each contestant's rounds, so the first one's holds what it needs, a later one's
what any needed before.
"""

import argparse
import importlib
import os
import resource
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from benchmarks import measure  # noqa: E402
from stic_tf import config as config_lib  # noqa: E402
from stic_tf.systems import build  # noqa: E402
from stic_tf.training import losses  # noqa: E402
from stic_tf.training import randomness as randomness_lib  # noqa: E402

_CLASSES = 10
_BFLOAT16 = "auto_mixed_precision_onednn_bfloat16"


def _system(shape, width, blocks):
  config = config_lib.RunConfig().replace(model="score", width=width, blocks=blocks)
  system = build.build(config, shape, [str(label) for label in range(_CLASSES)], 0, tf.distribute.get_strategy())
  system.compile(keras.optimizers.Adam(1e-4, jit_compile=False))
  system.optimizer.build(system.network.trainable_variables)
  return system


def _batch(shape, count):
  rng = np.random.default_rng(0)
  data = {"fake_levels": np.exp(rng.normal(-1.2, 1.2, count)),
          "fake_weights": np.eye(_CLASSES)[np.arange(count) % _CLASSES]}
  for name in ("generative", "mixup", "fake"):
    data[f"{name}_images"] = rng.normal(size=(count, *shape))
    data[f"{name}_labels"] = np.eye(_CLASSES)[np.arange(count) % _CLASSES]
  return {name: tf.constant(value, tf.float32) for name, value in data.items()}


def _contestants(system, plain, data):
  """Functions that return a small tensor, the leanest first; `plain` is a system that reads no fakes."""
  network, images = system.network, data["generative_images"]
  levels = tf.fill([len(images)], 0.2)
  randomness = randomness_lib.Randomness(0, tf.constant(0, tf.int64), tf.constant(0, tf.int64))

  def classify():
    """Plain classification: cross-entropy of the network at one noise level."""
    with tf.GradientTape() as tape:
      loss = losses.soft_cross_entropy(data["generative_labels"], network.level_energies(images, levels)[0])
    gradients = tape.gradient(loss, network.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    system.optimizer.apply_gradients(zip(gradients, network.trainable_variables))
    return loss

  def score():
    """One network evaluation of the sampler."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(images)
      energy = tf.reduce_sum(network.level_energies(images, levels)[0][:, 0])
    return tape.gradient(energy, images)[0, 0, 0]

  steps = {"score": score, "classification": classify,
           "update_without_fakes": lambda: plain.learn(data, randomness)["loss_denoising"],
           "update": lambda: system.learn(data, randomness)["loss_denoising"]}
  functions = {name: tf.function(step, autograph=False) for name, step in steps.items()}
  functions["without_fakes_bfloat16"] = _in_bfloat16(tf.function(steps["update_without_fakes"], autograph=False))
  return functions


def _in_bfloat16(function):
  """`function` where oneDNN takes bfloat16: an option of the graph's optimizer, so it is set around each call."""
  def run():
    tf.config.optimizer.set_experimental_options({_BFLOAT16: True})
    try:
      return function()
    finally:
      tf.config.optimizer.set_experimental_options({_BFLOAT16: False})
  return run


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--side", type=int, default=8, help="pixels a side")
  parser.add_argument("--channels", type=int, default=1)
  parser.add_argument("--width", type=int, default=48)
  parser.add_argument("--blocks", type=int, default=2)
  parser.add_argument("--batch_size", type=int, default=128)
  parser.add_argument("--repetitions", type=int, default=8)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--out", required=True, help="FILE.json")
  arguments = parser.parse_args()
  measure.pin_threads(arguments.threads)
  shape = (arguments.side, arguments.side, arguments.channels)
  system, plain = (_system(shape, arguments.width, arguments.blocks) for _ in range(2))
  plain.config = plain.config.replace(fakes_from="none")
  functions = _contestants(system, plain, _batch(shape, arguments.batch_size))
  peak = {}
  for name, function in functions.items():
    for _ in range(2):
      function().numpy()
    peak[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  times = measure.in_turns({name: measure.timed(function) for name, function in functions.items()},
                           arguments.repetitions)
  base = times["classification"]
  report = {"settings": vars(arguments), **measure.circumstances(arguments.threads),
            "parameters": int(sum(np.prod(variable.shape) for variable in system.network.trainable_variables)),
            "ms": {name: measure.spread(1000 * rows[:, 0]) for name, rows in times.items()},
            "cpu_ms": {name: measure.spread(1000 * rows[:, 1]) for name, rows in times.items()},
            "over_classification": {name: measure.spread(rows[:, 1] / base[:, 1]) for name, rows in times.items()},
            "peak_mib": peak}
  print(f"{report['parameters']} parameters, {shape}, batch {arguments.batch_size}")
  for name in functions:
    print(f"  {name:22s} {report['ms'][name]['median']:8.1f} ms, processor time "
          f"{report['over_classification'][name]['median']:5.2f} × classification, peak {peak[name]:6.0f} MiB")
  measure.write_json(arguments.out, report)


if __name__ == "__main__":
  main()
