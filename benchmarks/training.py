"""What the whole training loop costs beside the compiled update that it calls, in updates a second.

    python benchmarks/training.py --out=training.json

`fit` runs as the trainers run it, with their streams, checks, progress and learning rates, without evaluation; the bare
step is the same update, compiled alone, on one batch that is there already. Both take turns in one run.
"""

import argparse
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from benchmarks import measure  # noqa: E402
from stic_tf import config as config_lib  # noqa: E402
from stic_tf.systems import build  # noqa: E402
from trainers import callbacks  # noqa: E402

_IMAGES = 2000
# name: image shape, settings
CONTESTS = {"digits": ((8, 8, 1), {"width": 64, "training_steps": 20}),
            "colour": ((32, 32, 3), {"network": "wide_resnet", "training_steps": 5, "batch_size": 32, "chains": 100,
                                     "pool_capacity": 100})}


class Loop:
  """A system, its `fit` and its bare update.

  Args:
    shape: (H, W, C).
    settings: those of its RunConfig.
    updates: of a round.
    per_call: updates a call.
  """

  def __init__(self, shape, settings, updates: int, per_call: int):
    self.updates = updates
    config = config_lib.RunConfig().replace(**settings)
    self.system = build.build(config, shape, [str(label) for label in range(10)], 0, tf.distribute.get_strategy())
    self.system.compile(self.system.make_optimizer(), steps_per_execution=per_call)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (_IMAGES, *shape), np.uint8), rng.integers(0, 10, _IMAGES).astype(np.int32)
    self.system.adapt(images)
    self.dataset = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(_IMAGES, seed=0).repeat().batch(
        config.training.batch_size, drop_remainder=True).prefetch(4)
    self._batch = next(iter(self.dataset))
    self._step = tf.function(self.system.train_step, autograph=False)
    self.fit()
    self.bare()

  def _timed(self, function) -> measure.Elapsed:
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return measure.Elapsed(time.perf_counter() - wall, time.process_time() - cpu)

  def fit(self) -> measure.Elapsed:
    """A round of `fit`, from its first update to its last: what goes before and after a pass is not the loop's."""
    clock = Clock()
    self.system.fit(self.dataset, epochs=1, steps_per_epoch=self.updates + 1, verbose=0, num_passes=10,
                    callbacks=[callbacks.LearningRate(self.system), clock])
    return clock.elapsed

  def bare(self) -> measure.Elapsed:
    """A round of bare updates; the logs of each are fetched."""

    def run():
      for _ in range(self.updates):
        tf.nest.map_structure(lambda value: value.numpy(), self._step(self._batch))

    return self._timed(run)


class Clock(keras.callbacks.Callback):
  """Time from the end of an epoch's first call to the end of its last."""

  def on_epoch_begin(self, epoch, logs=None):
    self._began = None

  def on_train_batch_end(self, batch, logs=None):
    now = time.perf_counter(), time.process_time()
    if self._began is None:
      self._began = now
    self.elapsed = measure.Elapsed(*(end - begin for end, begin in zip(now, self._began)))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--updates", type=int, default=20, help="updates a round")
  parser.add_argument("--repetitions", type=int, default=9)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--out", required=True, help="FILE.json")
  arguments = parser.parse_args()
  measure.pin_threads(arguments.threads)
  report = {"settings": vars(arguments), **measure.circumstances(arguments.threads)}
  for name, (shape, settings) in CONTESTS.items():
    loop = Loop(shape, settings, arguments.updates, 1)
    times = measure.in_turns({"fit": loop.fit, "bare": loop.bare}, arguments.repetitions)
    report[name] = {"fit_over_bare": measure.spread(times["bare"][:, 0] / times["fit"][:, 0]),
                    "processor": measure.spread(times["bare"][:, 1] / times["fit"][:, 1]),
                    "updates_per_second": {which: measure.spread(arguments.updates / values[:, 0])
                                           for which, values in times.items()}}
    ratio = report[name]["fit_over_bare"]
    print(f"{name}: updates a second of fit over the bare step {ratio['median']:.3f} "
          f"({ratio['quartile_1']:.3f} to {ratio['quartile_3']:.3f}), processor time "
          f"{report[name]['processor']['median']:.3f}", flush=True)
  measure.write_json(arguments.out, report)


if __name__ == "__main__":
  main()
