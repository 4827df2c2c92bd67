"""What one GRMALA step costs beside the network it calls, and beside JEM's SGLD step here and in PyTorch.

    python benchmarks/sampler.py --out=sampler.json [--compare_torch]

All contestants take turns in one run. A chain evaluates the network once before its first step; that one evaluation, as
long as a bare one, is taken off. A ratio is the median over the rounds of the ratio within a round.
"""

import argparse
import contextlib
import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from benchmarks import measure  # noqa: E402
from benchmarks import torch_child  # noqa: E402
from stic_tf import config as config_lib  # noqa: E402
from stic_tf import registries  # noqa: E402
from stic_tf import seed_pairs  # noqa: E402
from stic_tf.mcmc import random as random_lib  # noqa: E402
from stic_tf.mcmc import run as run_lib  # noqa: E402
from stic_tf.networks import build  # noqa: E402
from stic_tf.preconditioners import build as preconditioners  # noqa: E402
from stic_tf.preconditioners import statistics as statistics_lib  # noqa: E402
from stic_tf.targets import density  # noqa: E402
from stic_tf.targets import energies  # noqa: E402

NUM_CLASSES = 10
_NOISE_LEVEL = 0.3
_STEP_SIZE = 0.05
_TORCH = {layout: f"torch_sgld_{layout}" for layout in torch_child.LAYOUTS}


def _smooth_images(count: int, size: int) -> np.ndarray:
  """Random images with the power spectrum of natural ones, 1 / frequency², in about [-1, 1]: float32 [N, H, W, 3]."""
  frequency = np.hypot(np.fft.fftfreq(size)[:, np.newaxis], np.fft.fftfreq(size))
  amplitude = 1.0 / np.maximum(frequency, 1.0 / size)
  noise = np.random.default_rng(0).standard_normal([count, size, size, 3])
  images = np.fft.ifft2(np.fft.fft2(noise, axes=(1, 2)) * amplitude[..., np.newaxis], axes=(1, 2)).real
  return (0.5 * images / images.std()).astype(np.float32)


class Contest:
  """The contestants of one network and batch, each a number of steps long."""

  def __init__(self, config: config_lib.RunConfig, batch_size: int, image_size: int, steps: int):
    self.shape = (image_size, image_size, 3)
    self.steps = steps
    self.network = build.build(config, self.shape, NUM_CLASSES, seed=0)
    for variable in self.network.weights:
      if variable.name.split("/")[-1].startswith("scale"):
        variable.assign(0.5)  # a branch that adds nothing would hide a wrong PyTorch port
    self.labels = np.arange(batch_size) % NUM_CLASSES
    self._class_weights = tf.one_hot(self.labels, NUM_CLASSES)
    self._seeds = tf.constant(seed_pairs.of(0, batch_size))
    self._statistics = statistics_lib.ImageStatistics.fit(_smooth_images(1000, image_size))
    self._start = tf.random.stateless_normal([batch_size, int(np.prod(self.shape))], seed=(0, 0))

  def _logits(self, images):
    return build.logits_and_features(self.network, images)[0]

  def _energy(self, images, class_weights):
    return energies.weighted_logit(self._logits(images), class_weights)

  def logits_and_gradient(self, images: np.ndarray):
    """Logits [B, K] and the gradient of each image's own class's logit [B, H, W, C]."""
    images = tf.constant(images)
    with tf.GradientTape() as tape:
      tape.watch(images)
      logits = self._logits(images)
      energy = energies.weighted_logit(logits, self._class_weights)
    return logits.numpy(), tape.gradient(energy, images).numpy()

  def _timed(self, function):
    compiled = tf.function(function, autograph=False)
    return measure.timed(lambda: compiled(self._start))

  def _loop(self, step):
    """A contestant that applies `step` (number, rows [B, D]) -> [B, D]."""

    def run(rows):
      _, rows = tf.while_loop(lambda i, _: i < self.steps, lambda i, rows: (i + 1, step(i, rows)),
                              [tf.constant(0), rows], parallel_iterations=1)
      return tf.reduce_sum(rows)

    return self._timed(run)

  def _preconditioner(self, name):
    preconditioner = preconditioners.build(name, self.shape)
    preconditioner.fit(self._statistics, _NOISE_LEVEL)
    return preconditioner

  def _chain(self, preconditioner, sampler="grmala", is_flat=False):
    energy = energies.ClassEnergy(lambda images: build.logits_and_features(self.network, images))
    target = density.Target(energy, preconditioner, self.shape, None if is_flat else preconditioner)

    def run(rows):
      evaluate = target.whitened(self._class_weights, tf.ones([len(self.labels)]))
      kernel = registries.KERNELS.load(sampler)(evaluate, preconditioner.size)
      result = run_lib.run(kernel, rows, self._seeds, self.steps, _STEP_SIZE)
      return tf.reduce_sum(result.state.position)

    return self._timed(run)

  def contestants(self):
    """Whole steps, by name: the bare network, GRMALA and SGLD."""

    def bare(_, rows):
      images = tf.reshape(rows, [-1, *self.shape])
      with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        energy = self._energy(images, self._class_weights)
      return rows + 1e-3 * tf.reshape(tape.gradient(energy, images), tf.shape(rows))

    return {"bare": self._loop(bare), "grmala": self._chain(self._preconditioner("gram")),
            "grmala_spectral": self._chain(self._preconditioner("spectral")),
            "sgld": self._chain(self._preconditioner("pixels"), "jem_sgld", is_flat=True)}

  def parts(self):
    """What a GRMALA step adds to the network, each alone: its random numbers, and L and Lᵀ of the preconditioner."""
    preconditioner = self._preconditioner("gram")
    keys = random_lib.image_keys(self._seeds, random_lib.CHAIN_STREAM)

    def random_numbers(number, rows):
      return rows + random_lib.normals_and_log_uniforms(keys, tf.reshape(number, [1]), rows.shape[1])[0][0]

    def precondition(_, rows):
      return preconditioner.color_transpose(preconditioner.color(rows))

    return {"random_numbers": self._loop(random_numbers), "preconditioner": self._loop(precondition)}

  def weights(self):
    """The network's weights by "layer/variable"."""
    return {f"{layer.name}/{variable.name.split('/')[-1].split(':')[0]}": variable.numpy()
            for layer in self.network.layers for variable in layer.weights}


def _check_port(contest: Contest, child: torch_child.TorchChild) -> None:
  """Raises RuntimeError unless the PyTorch network is the same function."""
  images = _smooth_images(len(contest.labels), contest.shape[0])
  for ours, theirs in zip(contest.logits_and_gradient(images), child.logits_and_gradient(images, contest.labels)):
    error = np.abs(ours - theirs).max() / np.abs(ours).max()
    if not error < 1e-3:
      raise RuntimeError(f"the PyTorch network differs from ours by {error:.1e}")


def _seconds_per_step(times, steps):
  """{name: float64 [rounds, 2]} of one step; chains without their first evaluation."""
  bare = times["bare"] / steps
  return {name: (values - bare if name.startswith(("grmala", "sgld")) else values) / steps
          for name, values in times.items()}


def _report(times, steps: int) -> dict:
  """The measured entries of the JSON."""
  seconds = _seconds_per_step(times, steps)
  wall = {name: measure.spread(1e3 * values[:, 0]) for name, values in seconds.items()}
  cpu = {name: measure.spread(1e3 * values[:, 1]) for name, values in seconds.items()}
  ratios = {f"{name}_over_bare": ("bare", name) for name in ("grmala", "grmala_spectral", "sgld")}
  torch_names = [name for name in _TORCH.values() if name in wall]
  if torch_names:
    # Against the better of PyTorch's memory layouts.
    best = min(torch_names, key=lambda name: wall[name]["median"])
    ratios["grmala_over_torch_sgld"] = (best, "grmala")
  spreads = {name: measure.spread(seconds[above][:, 0] / seconds[below][:, 0])
             for name, (below, above) in ratios.items()}
  cpu_ratios = {name: float(np.median(seconds[above][:, 1] / seconds[below][:, 1]))
                for name, (below, above) in ratios.items()}
  return {"grmala_over_bare": spreads["grmala_over_bare"]["median"],
          "sgld_over_bare": spreads["sgld_over_bare"]["median"],
          "grmala_over_torch_sgld": spreads["grmala_over_torch_sgld"]["median"] if torch_names else None,
          "ms_per_step": {name: value["median"] for name, value in wall.items()},
          "ratio_spreads": spreads, "ms_per_step_spreads": wall,
          "processor_ms_per_step": {name: value["median"] for name, value in cpu.items()},
          "processor_ratios": cpu_ratios}


def _print_table(report: dict) -> None:
  print(f"\n{report['network']} on {report['image_size']}x{report['image_size']}x3, batch {report['batch_size']}, "
        f"{report['device']}, {report['threads']} threads")
  print(f"{'one step':26s} {'ms':>9s}   {'quartiles':>17s} {'least':>9s} {'processor ms':>13s}")
  for name, value in report["ms_per_step_spreads"].items():
    print(f"{name:26s} {value['median']:9.2f}   {value['quartile_1']:8.2f} {value['quartile_3']:8.2f} "
          f"{value['least']:9.2f} {report['processor_ms_per_step'][name]:13.2f}")
  print(f"{'ratio':26s} {'by clock':>9s}   {'quartiles':>17s} {'':9s} {'processor':>13s}")
  for name, value in report["ratio_spreads"].items():
    print(f"{name:26s} {value['median']:9.3f}   {value['quartile_1']:8.3f} {value['quartile_3']:8.3f} {'':9s} "
          f"{report['processor_ratios'][name]:13.3f}")


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--out", required=True, help="FILE.json")
  parser.add_argument("--batch_size", type=int, default=64)
  parser.add_argument("--image_size", type=int, default=32, help="pixels a side")
  parser.add_argument("--network", choices=("wide_resnet", "small"), default="wide_resnet")
  parser.add_argument("--depth", type=int, default=config_lib.NetworkConfig.depth)
  parser.add_argument("--widen", type=int, default=config_lib.NetworkConfig.widen)
  parser.add_argument("--width", type=int, default=config_lib.NetworkConfig.width, help="of the small network")
  parser.add_argument("--steps", type=int, default=5, help="steps a repetition")
  parser.add_argument("--repetitions", type=int, default=20)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--compare_torch", action="store_true", help="measure JEM's SGLD step in PyTorch too")
  arguments = parser.parse_args()
  for name in ("batch_size", "image_size", "steps", "repetitions", "threads"):
    if getattr(arguments, name) < 1:
      parser.error(f"--{name}={getattr(arguments, name)}: must be at least 1")
  try:
    arguments.config = config_lib.RunConfig().replace(network=arguments.network, depth=arguments.depth,
                                                      widen=arguments.widen, width=arguments.width)
    config_lib.require(arguments.network == "wide_resnet" or not arguments.compare_torch, "compare_torch", True,
                       "goes with --network=wide_resnet")
  except config_lib.ConfigError as problem:
    parser.error(problem.as_flags)
  return arguments


def main() -> None:
  arguments = _parse()
  compare_torch = arguments.compare_torch
  if compare_torch and not torch_child.is_installed():
    print("PyTorch is not installed: grmala_over_torch_sgld will be null", file=sys.stderr)
    compare_torch = False
  measure.pin_threads(arguments.threads)
  contest = Contest(arguments.config, arguments.batch_size, arguments.image_size, arguments.steps)
  circumstances = measure.circumstances(arguments.threads)
  contestants = {**contest.contestants(), **contest.parts()}
  with contextlib.ExitStack() as stack:
    if compare_torch:
      child = stack.enter_context(torch_child.start(contest.weights(), arguments.threads, arguments.depth,
                                                    arguments.batch_size, arguments.image_size))
      _check_port(contest, child)
      circumstances["versions"]["torch"] = child.version
      contestants.update({_TORCH[layout]: child.contestant(layout, arguments.steps) for layout in torch_child.LAYOUTS})
    times = measure.in_turns(
        contestants, arguments.repetitions,
        lambda done: print(f"\rround {done} of {arguments.repetitions}", end="", file=sys.stderr, flush=True))
  report = {**_report(times, arguments.steps), **circumstances, "network": contest.network.name,
            "batch_size": arguments.batch_size, "image_size": arguments.image_size, "steps": arguments.steps,
            "repetitions": arguments.repetitions}
  _print_table(report)
  measure.write_json(arguments.out, report)


if __name__ == "__main__":
  main()
