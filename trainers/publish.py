"""A finished run becomes a folder of the zoo: weights in half precision, measured anew, with a card and checksums.

    python trainers/publish.py --run_dir=runs/mnist_score --zoo_dir=zoo/mnist_score --about="…" --num_steps=10
"""

import json
import os
import pathlib
import shutil
import sys
import tempfile

if not __package__:  # run as a file of a checkout, which then comes first
  sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
from absl import app  # noqa: E402
from absl import flags  # noqa: E402

from stic_tf import checkpoint  # noqa: E402
from stic_tf import command  # noqa: E402
from stic_tf import config as config_lib  # noqa: E402
from stic_tf import run_folder  # noqa: E402
from stic_tf import zoo  # noqa: E402
from stic_tf.datasets import catalog  # noqa: E402
from stic_tf.metrics import frechet  # noqa: E402
from trainers import flags as trainer_flags  # noqa: E402

flags.DEFINE_string("zoo_dir", "", "Folder to make, zoo/NAME; it must not exist.")
flags.DEFINE_string("about", "", "A sentence for the card: what the model is good and bad at.")
flags.adopt_module_key_flags(trainer_flags)
MOST_BYTES = 8_000_000
_CARD = """# {name}

{about}

![Drawings, a row a class, none left out](samples/final.png)

| | |
|---|---|
| system | {model}, {parameters:,} weights that draw, in half precision |
| data | {origin} |
| trained | seed {seed}, {minutes:.0f} minutes, [flags.txt](flags.txt), at commit {trained_commit} |
| test accuracy | {test_accuracy:.4f}, expected calibration error {ece:.4f} |
| FID | {ratio} × the floor (real training against real test images), {num_samples} fresh drawings, {judge} |
| CAS | {cas}; the judge reads the class asked for in {judge_agreement} of the drawings |
| a drawing | {network_evaluations_per_image} evaluations of the network, {drawing_steps} steps |

All figures are of these files as they are, [summary.json](summary.json); one seed. The drawings are samples of what the
model learnt, right or wrong, and say nothing about the world.
"""


def publish(values) -> str:
  """Makes --zoo_dir of the newest checkpoint of --run_dir; returns its path.

  Raises:
    ConfigError: no such run, a folder that is there already, or a model of more than 8 MB.
  """
  config_lib.require(bool(values.zoo_dir), "zoo_dir", values.zoo_dir, "must name the folder to make")
  config_lib.require(not os.path.lexists(values.zoo_dir), "zoo_dir", values.zoo_dir, "is there already")
  from stic_tf import loading  # as the next, it imports TensorFlow
  from trainers import evaluate
  run = run_folder.RunFolder(values.run_dir)
  trained = evaluate.load_classifier(values)
  settings, summary = run.settings(), run.json("summary.json")
  config_lib.require(bool(settings and summary) and run.is_finished(), "run_dir", values.run_dir,
                     "must hold a finished run")
  for name in ("inception_weights", "seed"):
    config_lib.require(not values[name].present, name, getattr(values, name), "is not read: figures are the run's own")
  given = trainer_flags.overrides(values, settings, config_lib.DRAWING_SETTINGS)
  config_lib.require("sampler" not in given, "sampler", values.sampler, "is not what the run was trained with")
  measured = trainer_flags.overrides(values, settings, ("num_samples",))
  settings = {**settings, **given, **measured}
  parent = os.path.dirname(os.path.abspath(values.zoo_dir))
  os.makedirs(parent, exist_ok=True)
  aside = tempfile.mkdtemp(prefix=".publish-", suffix=".tmp", dir=parent)
  try:
    folder = run_folder.RunFolder(aside)
    weights = _halved(checkpoint.collect(trained.system.drawing_variables()))
    weights["scalars/step_size"] = np.float32(trained.step_size)  # that of the run, or --step_size
    path = os.path.join(folder.checkpoints, os.path.basename(trained.checkpoint))
    checkpoint.write(path, weights, {"config": settings, "dataset": settings["dataset"],
                                     "image_shape": trained.image_shape, "class_names": trained.class_names})
    config_lib.require(os.path.getsize(path) <= MOST_BYTES, "run_dir", values.run_dir,
                       f"its weights are {os.path.getsize(path)} bytes, and a model of the zoo at most {MOST_BYTES}")
    folder.claim(settings, trainer_flags.flagfile_lines(settings, None))
    own, evaluator = evaluate.evaluator_of(settings, values.data_dir, values.cache_dir)
    # What is measured are the files as they are.
    figures = evaluate.finish(folder, own, evaluator, loading.load(aside), summary["seconds_training"],
                              git_commit=summary["git_commit"], drawn_with=given, passes=settings["num_passes"])
    ratio = frechet.over_floor(figures["fid"], figures["fid_floor"])
    parameters = sum(array.size for name, array in weights.items() if name.startswith("average/"))
    figures.update({name: _shown(figures[name], 4) for name in ("cas", "judge_agreement")})
    card = _CARD.format(**figures, name=os.path.basename(os.path.normpath(values.zoo_dir)), about=values.about,
                        parameters=parameters, origin=catalog.lookup(settings["dataset"]).origin,
                        minutes=figures["seconds_training"] / 60, ratio=_shown(ratio, 2),
                        trained_commit=figures["git_commit"])
    pathlib.Path(folder.file("card.md")).write_text(card, encoding="utf-8")
    zoo.write_sums(aside)
    os.chmod(aside, 0o755)
    os.rename(aside, values.zoo_dir)
  finally:
    shutil.rmtree(aside, ignore_errors=True)
  return values.zoo_dir


def _shown(figure, digits: int) -> str:
  return "–" if figure is None else f"{figure:.{digits}f}"


def _halved(arrays):
  """The network's weights in half precision; what is few and delicate (moments, the preconditioner) as it is."""
  return {name: array.astype("float16") if name.startswith("average/") and array.ndim > 1 and array.dtype == "float32"
          else array for name, array in arrays.items()}


def main(argv) -> None:
  values = flags.FLAGS
  with command.answering(argv, lambda: f"--zoo_dir={values.zoo_dir}"):
    print(json.dumps({"published": publish(values)}))


if __name__ == "__main__":
  try:
    app.run(main, flags_parser=command.parser(flags.FLAGS, flags.Error))
  except KeyboardInterrupt:
    command.fail("interrupted, nothing was published", code=1)
