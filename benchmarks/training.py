"""What the whole training loop costs beside the compiled update that it calls, in updates a second.

    python benchmarks/training.py --out=training.json

`fit` runs as the trainers run it, on their streams (shuffled, augmented, mixed) and under their callbacks (learning
rate, checks, progress, checkpoints that are not due), without the evaluation after a pass. The bare step is the same
update, compiled alone, again and again on one batch that is there already. Both take turns in one run; a ratio is the
median over the rounds of the ratio within a round.
"""

import argparse
import copy
import importlib
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from absl import flags  # noqa: E402

from benchmarks import measure  # noqa: E402
from stic_tf import run_folder as run_folder_lib  # noqa: E402
from stic_tf.datasets import catalog  # noqa: E402
from stic_tf.datasets import dataset as dataset_lib  # noqa: E402
from trainers import callbacks  # noqa: E402
from trainers import dashboard  # noqa: E402
from trainers import flags as trainer_flags  # noqa: E402
from trainers import train  # noqa: E402

_FLAGFILES = pathlib.Path(train.__file__).parent / "flagfiles"
# name: the flags of a training, the images it learns from
CONTESTS = {
    "digits": ([f"--flagfile={_FLAGFILES / 'digits.flags'}"], lambda: dataset_lib.load("digits")),
    "32x32x3": (["--dataset=cifar10", "--training_steps=5", "--batch_size=32", "--chains=100", "--pool_capacity=100"],
               lambda: _random_images("cifar10"))}


def _random_images(name: str) -> dataset_lib.Dataset:
  """2000 images of noise in the shape of a data set, which then need not be there."""
  spec, rng = catalog.lookup(name), np.random.default_rng(0)
  split = rng.integers(0, 256, (2000, *spec.image_shape), np.uint8), np.arange(2000) % spec.num_classes
  return dataset_lib.InMemoryDataset(spec, {"train": split, "validation": tuple(part[:20] for part in split)})


class Contest(train.Training):
  """A training of the trainers', its `fit` and its bare update.

  Args:
    arguments: its flags.
    dataset: what it learns from.
    folder: for TensorBoard's files.
    updates: of a round, a multiple of `per_call`.
    per_call: updates a call.
  """

  def __init__(self, arguments, dataset: dataset_lib.Dataset, folder: str, updates: int, per_call: int):
    values = copy.deepcopy(flags.FLAGS)
    values(["training.py", *arguments, f"--updates_per_call={per_call}"])
    super().__init__(values, trainer_flags.to_config(values), run_folder_lib.RunFolder(folder), dataset,
                     tf.distribute.get_strategy(), None)
    self.updates, self.per_call = updates, per_call
    self.clock = dashboard.Clock(0.0)
    self.dashboard = dashboard.Dashboard(self.folder.tensorboard, [], 10 ** 6, 0)
    self.system.prepare_training()
    batch = next(iter(self._stream()))
    self._call = tf.function(lambda: self._updates_on(batch), autograph=False)

  def _updates_on(self, batch):
    logs = self.system.train_step(batch)
    if self.per_call > 1:
      _, logs = tf.while_loop(lambda number, _: number < self.per_call,
                              lambda number, _: (number + 1, self.system.train_step(batch)),
                              [tf.constant(1), logs], parallel_iterations=1)
    return logs

  def fit(self) -> measure.Elapsed:
    """A round of `fit`, from its first call's end to its last's: what is before and after a pass is not the loop's."""
    clock = Clock()
    self.system.fit(
        self._stream(), epochs=1, steps_per_epoch=self.updates + self.per_call, verbose=0,
        num_passes=self.config.training.num_passes,
        callbacks=[callbacks.LearningRate(self.system), self.dashboard.progress(),
                   callbacks.Checkpoints(self, self.values.checkpoint_minutes), clock])
    return clock.elapsed

  def bare(self) -> measure.Elapsed:
    """A round of bare updates; every call's logs are waited for, as `fit` waits for them."""
    self.system.begin_pass(0)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(self.updates // self.per_call):
      tf.nest.map_structure(lambda value: value.numpy(), self._call())
    elapsed = measure.Elapsed(time.perf_counter() - wall, time.process_time() - cpu)
    self.system.end_pass()
    return elapsed


class Clock(keras.callbacks.Callback):
  """Time from the end of an epoch's first call to the end of its last."""

  def on_epoch_begin(self, epoch, logs=None):
    self._began = None

  def on_train_batch_end(self, batch, logs=None):
    now = time.perf_counter(), time.process_time()
    if self._began is None:
      self._began = now
    self.elapsed = measure.Elapsed(*(end - begin for end, begin in zip(now, self._began)))


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--updates", type=int, default=5, help="updates a round")
  parser.add_argument("--updates_per_call", type=int, default=1, help="updates that one call makes")
  parser.add_argument("--repetitions", type=int, default=25)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--out", required=True, help="FILE.json")
  arguments = parser.parse_args()
  for name in ("updates", "updates_per_call", "repetitions", "threads"):
    if getattr(arguments, name) < 1:
      parser.error(f"--{name}={getattr(arguments, name)}: must be at least 1")
  if arguments.updates % arguments.updates_per_call:
    parser.error(f"--updates={arguments.updates}: must be a multiple of --updates_per_call")
  return arguments


def main() -> None:
  arguments = _parse()
  measure.pin_threads(arguments.threads)
  report = {"settings": vars(arguments), **measure.circumstances(arguments.threads), "loop_over_step": {}}
  for name, (its_flags, images) in CONTESTS.items():
    with tempfile.TemporaryDirectory() as folder:
      contest = Contest(its_flags, images(), folder, arguments.updates, arguments.updates_per_call)
      times = measure.in_turns({"fit": contest.fit, "bare": contest.bare}, arguments.repetitions)
      contest.dashboard.close()
    report[name] = {"fit_over_bare": measure.spread(times["bare"][:, 0] / times["fit"][:, 0]),
                    "processor": measure.spread(times["bare"][:, 1] / times["fit"][:, 1]),
                    "updates_per_second": {which: measure.spread(arguments.updates / values[:, 0])
                                           for which, values in times.items()}}
    ratio = report[name]["fit_over_bare"]
    report["loop_over_step"][name] = ratio["median"]
    print(f"{name}: updates a second of fit over the bare step {ratio['median']:.3f} "
          f"({ratio['quartile_1']:.3f} to {ratio['quartile_3']:.3f}), processor time "
          f"{report[name]['processor']['median']:.3f}", flush=True)
  measure.write_json(arguments.out, report)


if __name__ == "__main__":
  main()
