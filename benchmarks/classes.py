"""What a thousand classes cost: the time of one stroke, and the memory of the class statistics.

    python benchmarks/classes.py --data_dir=DIR --out=classes.json

Strokes on the 64×64 canvases of imagenet_resized/64x64, with its images' preconditioner and the Gram term on. The
networks for 10, 1000 and 10,000 classes differ in their class embedding table alone and take turns; a ratio is the
median over the rounds of the ratio within a round.
"""

import argparse
import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from benchmarks import measure  # noqa: E402
from stic_tf import config as config_lib  # noqa: E402
from stic_tf import drawing as drawing_lib  # noqa: E402
from stic_tf import seed_pairs  # noqa: E402
from stic_tf.datasets import dataset as dataset_lib  # noqa: E402
from stic_tf.datasets import pixel_range  # noqa: E402
from stic_tf.networks import build as networks  # noqa: E402
from stic_tf.systems import build  # noqa: E402

CLASSES = (10, 1000, 10000)
_DATASET = "imagenet_resized/64x64"
_NOISE_LEVEL, _STEP_SIZE = 0.3, 0.05
_LIMIT_GIB = 2.0


class Easel:
  """A canvas for K classes: a network, its class statistics and its strokes."""

  def __init__(self, config: config_lib.RunConfig, num_classes: int, images, batch_size: int, strokes: int):
    system = build.build(config, images.shape[1:], [str(label) for label in range(num_classes)], 0,
                         tf.distribute.get_strategy(), for_training=False)
    system.adapt(images)
    system.set_noise_level(_NOISE_LEVEL)
    self.class_grams = system.class_grams
    # As after training on the real images, one a class as far as they reach.
    labels = tf.constant(np.arange(len(images[:batch_size])) % num_classes, tf.int32)
    self.class_grams.update(networks.logits_and_features(system.average, images[:batch_size])[1], labels)
    drawer = system.drawer(config)
    request = drawing_lib.normalise(tf.one_hot(labels, num_classes), seed_pairs.of(0, batch_size),
                                    strokes, 1.0, _STEP_SIZE)

    @tf.function(autograph=False)
    def draw():
      return tf.reduce_sum(drawer.draw(request).log_density)

    self.contestant = measure.timed(draw)


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--out", required=True, help="FILE.json")
  parser.add_argument("--data_dir", help=f"folder of prepared TFDS datasets that holds {_DATASET}")
  parser.add_argument("--batch_size", type=int, default=16)
  parser.add_argument("--width", type=int, default=64)
  parser.add_argument("--tile_grid", type=int, default=8)
  parser.add_argument("--gram_rank", type=int, default=32)
  parser.add_argument("--strokes", type=int, default=10, help="strokes a repetition")
  parser.add_argument("--repetitions", type=int, default=15)
  parser.add_argument("--threads", type=int, default=2)
  arguments = parser.parse_args()
  for name in ("batch_size", "width", "tile_grid", "strokes", "repetitions", "threads"):
    if getattr(arguments, name) < 1:
      parser.error(f"--{name}={getattr(arguments, name)}: must be at least 1")
  return arguments


def _measure(arguments) -> dict:
  """The entries of the JSON. Raises ConfigError where the images are absent or a setting is out of range."""
  config = config_lib.RunConfig().replace(model="attentive", width=arguments.width, tile_grid=arguments.tile_grid,
                                          gram_weight=1.0, gram_rank=arguments.gram_rank)
  measure.pin_threads(arguments.threads)
  dataset = dataset_lib.load(_DATASET, arguments.data_dir)
  images = pixel_range.from_uint8(dataset.arrays("train", limit=1000)[0]).numpy()
  circumstances = measure.circumstances(arguments.threads)
  easels = {count: Easel(config, count, images, arguments.batch_size, arguments.strokes) for count in CLASSES}
  times = measure.in_turns({str(count): easel.contestant for count, easel in easels.items()}, arguments.repetitions)
  wall = {count: values[:, 0] / arguments.strokes for count, values in times.items()}
  ratios = {f"stroke_k{count}_over_k10": measure.spread(wall[str(count)] / wall["10"]) for count in CLASSES[1:]}
  return {**{name: value["median"] for name, value in ratios.items()}, "ratio_spreads": ratios,
          "ms_per_stroke": {count: measure.spread(1e3 * values) for count, values in wall.items()},
          "class_statistics_bytes": {str(count): easels[count].class_grams.num_bytes() for count in CLASSES[1:]},
          "images": len(images), "batch_size": arguments.batch_size, "width": arguments.width,
          "tile_grid": arguments.tile_grid, "gram_rank": arguments.gram_rank, "strokes": arguments.strokes,
          "repetitions": arguments.repetitions, **circumstances}


def _print_table(report: dict) -> None:
  print(f"{report['device']}, {report['threads']} threads, batch {report['batch_size']}, 64x64x3, "
        f"{report['tile_grid'] ** 2} tiles")
  print(f"{'classes':>8s} {'ms a stroke':>12s} {'over 10 classes':>16s} {'class statistics':>18s}")
  for count, value in report["ms_per_stroke"].items():
    ratio = report.get(f"stroke_k{count}_over_k10", 1.0)
    size = report["class_statistics_bytes"].get(count)
    text = "" if size is None else f"{size / 2 ** 20:.1f} MiB" + (" (!)" if size > _LIMIT_GIB * 2 ** 30 else "")
    print(f"{count:>8s} {value['median']:12.2f} {ratio:16.3f} {text:>18s}")


def main() -> None:
  arguments = _parse()
  try:
    report = _measure(arguments)
  except config_lib.ConfigError as problem:
    print(f"error: {problem.as_flags}", file=sys.stderr)
    sys.exit(2)
  _print_table(report)
  measure.write_json(arguments.out, report)


if __name__ == "__main__":
  main()
