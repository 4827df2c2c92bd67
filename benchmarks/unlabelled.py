"""Drawings without their labels, for a person to name, and how many names were right.

    python benchmarks/unlabelled.py --run_dir=zoo/cifar10_score --num_images=100 --out=unlabelled
    python benchmarks/unlabelled.py --names=names.txt --out=unlabelled

The first command draws as many of each class, each from a seed that nobody has seen, shuffles them, and writes sheets
of 25 (sheet_1.png, … row by row) and the key, key.json, which is not to be opened before all are named. names.txt has a
name a line in the order of the sheets; the second command compares.
"""

import argparse
import collections
import importlib
import json
import os
import pathlib
import secrets
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

from benchmarks import measure  # noqa: E402
from stic_tf import grid  # noqa: E402
from stic_tf import loading  # noqa: E402
from stic_tf import seed_pairs  # noqa: E402
from stic_tf.config import ConfigError  # noqa: E402
from stic_tf.config import require  # noqa: E402

_COLUMNS, _ON_A_SHEET = 5, 25
_SIDE = 128  # pixels of a drawing on a sheet


def sheets(images: np.ndarray) -> list:
  """Pictures of 25 drawings each: uint8 [N, H, W, C] -> a list of uint8 [height, width, C]."""
  channels = images.shape[-1]
  large = [Image.fromarray(image[..., 0] if channels == 1 else image).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
           for image in images]
  tiles = np.stack([np.asarray(image).reshape(_SIDE, _SIDE, channels) for image in large])
  return [grid.make_grid(tiles[start:start + _ON_A_SHEET], _COLUMNS, 1) for start in range(0, len(tiles), _ON_A_SHEET)]


def draw(run_dir: str, count: int, folder: pathlib.Path) -> None:
  """Writes the sheets and the key of drawings of a run folder or a model of the zoo.

  Raises:
    ConfigError: the folder has a key already, or the number of drawings is no multiple of that of the classes.
  """
  require(not (folder / "key.json").exists(), "out", folder, "has a key already")
  classifier = loading.load(run_dir)
  classes = len(classifier.class_names)
  require(count > 0 and count % classes == 0, "num_images", count, f"must be a multiple of the {classes} classes")
  chance = np.random.default_rng(secrets.randbits(128))
  labels = chance.permutation(np.repeat(np.arange(classes), count // classes))
  seeds = seed_pairs.of(secrets.randbits(62), count)
  images = classifier.draw(labels, seeds).images
  folder.mkdir(parents=True, exist_ok=True)
  for number, sheet in enumerate(sheets(images), 1):
    grid.write_png(str(folder / f"sheet_{number}.png"), sheet)
  measure.write_json(str(folder / "key.json"), {
      "run_dir": run_dir, "classes": list(classifier.class_names),
      "asked": [classifier.class_names[label] for label in labels], "seeds": seeds.tolist(),
      **measure.circumstances(os.cpu_count())})


def compare(names: list, key: dict) -> dict:
  """How many of the names are of the class asked for, by class, and what was taken for what.

  Raises:
    ConfigError: a name that is no class, or another number of them.
  """
  asked = key["asked"]
  require(len(names) == len(asked), "names", f"{len(names)} names", f"must be {len(asked)}")
  unknown = sorted(set(names) - set(key["classes"]))
  require(not unknown, "names", ", ".join(unknown), "must be among " + ", ".join(key["classes"]))
  pairs = collections.Counter(zip(asked, names))
  return {"right": sum(pairs[name, name] for name in key["classes"]), "of": len(asked),
          "by_class": {name: f"{pairs[name, name]} of {asked.count(name)}" for name in key["classes"]},
          "taken": {f"{wanted} for {name}": count for (wanted, name), count in pairs.most_common() if wanted != name}}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--run_dir", help="run folder, or name of the zoo, to draw with")
  parser.add_argument("--num_images", type=int, default=100)
  parser.add_argument("--names", help="a file of names, a line each, to compare with the key")
  parser.add_argument("--out", required=True, help="folder of the sheets and the key")
  arguments = parser.parse_args()
  folder = pathlib.Path(arguments.out)
  try:
    require(bool(arguments.run_dir) != bool(arguments.names), "run_dir", arguments.run_dir or "",
            "must be given, or --names, and not both")
    if arguments.run_dir:
      draw(arguments.run_dir, arguments.num_images, folder)
      return
    try:
      names = [line.strip() for line in pathlib.Path(arguments.names).read_text("utf-8").strip().splitlines()]
      key = json.loads((folder / "key.json").read_text("utf-8"))
    except (OSError, ValueError) as problem:
      raise ConfigError(f"--names={arguments.names}: {problem}") from problem
    found = compare(names, key)
    measure.write_json(str(folder / "found.json"), {**found, "names": names, "key": key})
    print(json.dumps(found, indent=1))
  except ConfigError as problem:
    sys.exit(f"error: {problem.as_flags}")


if __name__ == "__main__":
  main()
