"""Ways of drawing from a finished run: evaluations of the network against quality, on validation images.

    python benchmarks/solvers.py --run_dir=runs/digits_score --out=solvers.json \
        --way="heun 35: --num_steps=18 --corrector_steps=0" --way="2M 10: --predictor=dpm_solver_pp --num_steps=10"

A way is a name and flags of a drawing. Each draws --num_images for each of --seeds; Fréchet distances to the validation
images are given over the floor (as many training images), beside the share in which the judge reads the class asked
for.
"""

import argparse
import copy
import os
import pathlib
import sys
import time
import types

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

from benchmarks import measure  # noqa: E402
from stic_tf import loading  # noqa: E402
from stic_tf import run_folder  # noqa: E402
from stic_tf import seed_pairs  # noqa: E402
from stic_tf import zoo  # noqa: E402
from stic_tf.datasets import dataset as dataset_lib  # noqa: E402
from trainers import evaluate  # noqa: E402
from trainers import flags as trainer_flags  # noqa: E402

_SEED = 1 << 41  # apart from those of evaluation


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--run_dir", required=True)
  parser.add_argument("--way", action="append", required=True, help='"NAME: FLAGS"; several')
  parser.add_argument("--data_dir", default=None)
  parser.add_argument("--cache_dir", default="~/.cache/stic_tf")
  parser.add_argument("--num_images", type=int, default=1000, help="a way and seed")
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--out", required=True, help="FILE.json")
  return parser.parse_args()


def _settings(its_flags, settings) -> dict:
  values = copy.deepcopy(flags.FLAGS)
  values(["solvers.py", *its_flags])
  return trainer_flags.overrides(values, settings, trainer_flags.DRAWING_FLAGS)


def main() -> None:
  arguments = _parse()
  measure.pin_threads(arguments.threads)
  classifier = loading.load(arguments.run_dir)
  settings = run_folder.RunFolder(zoo.find(arguments.run_dir)).json("settings.json")
  own = types.SimpleNamespace(**{**settings, "inception_weights": None}, data_dir=arguments.data_dir,
                              cache_dir=arguments.cache_dir)
  dataset = dataset_lib.load(own.dataset, own.data_dir)
  evaluator = evaluate.Evaluator(own, dataset)
  judge = evaluator.judge("validation")
  labels = np.arange(arguments.num_images) % dataset.spec.num_classes
  rows = {}
  for way in arguments.way:
    name, _, its_flags = way.partition(":")
    drawing = classifier.with_settings(**_settings(its_flags.split(), settings))
    figures = {"flags": its_flags.strip(), "evaluations": drawing.network_evaluations(), "fid_over_floor": [],
               "agreement": [], "seconds": []}
    drawing.draw(labels[:16], 0)
    for seed in range(arguments.seeds):
      began = time.perf_counter()
      drawn = drawing.draw(labels, seed_pairs.of(_SEED + seed, len(labels)))
      figures["seconds"].append(time.perf_counter() - began)
      scores = judge.score(drawn.images, labels, with_cas=False)
      figures["fid_over_floor"].append(scores["fid"] / scores["fid_floor"])
      figures["agreement"].append(scores["judge_agreement"])
    rows[name] = figures
    ratio = figures["fid_over_floor"]
    print(f"{name}: {figures['evaluations']} evaluations, FID over floor {np.mean(ratio):.3f} "
          f"({min(ratio):.3f}-{max(ratio):.3f}), judge reads {np.mean(figures['agreement']):.4f}, "
          f"{np.median(figures['seconds']):.1f} s", flush=True)
    measure.write_json(arguments.out, {"settings": vars(arguments), **measure.circumstances(arguments.threads),
                                       "ways": rows})


if __name__ == "__main__":
  main()
