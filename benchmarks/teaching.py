"""What a fresh classifier learns from drawings, and what from the real images that the drawing model has learnt from.

    python benchmarks/teaching.py --run_dir=runs/claims/E9/none/seed0 --run_dir=runs/claims/E9/none/seed1 \
        --out=teaching.json

Runs of the same settings, each of its own seed. For each, classifiers of the judge's architecture, as CAS trains them,
are trained anew and tested on the real test images:

- real: on the run's real training images, as many epochs as the judge has;
- real_long: on them, as many updates as the next two;
- drawings: on --drawings fresh, unfiltered drawings;
- both: on these and the real images, the fewer of the two repeated until they are as many.

Accuracies are means over --classifiers trainings a run, of seeds of their own. Claims are of paired differences over
runs, as in claims.py; of one run there are none. How it draws is chosen with --split=validation, --arms=drawings,
--set=guidance=1 and the like, and then tested. With --labels=answered a drawing is an example of the class that the
run, which is a classifier, takes it for; otherwise of the class that it was asked to be. What is in --out is not
trained again.
"""

import argparse
import dataclasses
import importlib
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import numpy as np  # noqa: E402

from benchmarks import claims_page  # noqa: E402
from benchmarks import measure  # noqa: E402
from benchmarks import training_runs  # noqa: E402
from benchmarks import verdicts  # noqa: E402
from benchmarks.claims_systems import register_systems  # noqa: E402
from stic_tf import config as config_lib  # noqa: E402
from stic_tf import loading  # noqa: E402
from stic_tf import provenance  # noqa: E402
from stic_tf import run_folder  # noqa: E402
from stic_tf import seed_pairs  # noqa: E402
from stic_tf import zoo  # noqa: E402
from stic_tf.config import ConfigError  # noqa: E402
from stic_tf.config import require  # noqa: E402
from stic_tf.datasets import dataset as dataset_lib  # noqa: E402
from stic_tf.metrics import judge_model  # noqa: E402
from stic_tf.metrics.classification import classification_accuracy_score  # noqa: E402

ARMS = ("real", "real_long", "drawings", "both")
LABELS = ("asked", "answered")
_WHAT = {"real": "the run's real training images, as the judge is taught",
         "real_long": "the run's real training images, by as many updates as the drawings",
         "drawings": "drawings and nothing else", "both": "drawings beside the real images"}
_CLAIMS = tuple(verdicts.Claim(f"A classifier learns more of {_WHAT[better]} than of {_WHAT[than]}", "accuracy",
                               better, than, 1)
                for better in ("drawings", "both") for than in ("real", "real_long"))
_SEED = 1 << 42  # apart from those of evaluation


def _learnt(settings: dict, data_dir, split: str):
  """(the images and labels a run has learnt from, those of a split to test on)."""
  dataset = dataset_lib.load(settings["dataset"], data_dir)
  return dataset.learnt(settings.get("train_images", 0), settings["seed"]).arrays("train"), dataset.arrays(split)


def _arms(real, drawings, settings: judge_model.JudgeSettings) -> dict:
  """(images, labels, epochs) of each arm; all but the first have as many updates."""
  epochs = min(settings.max_epochs, settings.pixel_budget / drawings[0][..., 0].size)
  count, own = len(drawings[1]), len(real[1])
  most = np.arange(max(count, own))
  both = tuple(np.concatenate([one[most % count], other[most % own]]) for one, other in zip(drawings, real))
  return {"real": (*real, min(settings.max_epochs, settings.pixel_budget / real[0][..., 0].size)),
          "real_long": (*real, epochs * count / own), "drawings": (*drawings, epochs),
          "both": (*both, epochs * count / len(both[1]))}


def teach(run_dir: str, arguments) -> dict:
  """Accuracies of each arm's classifiers, {arm: [accuracy, …]}, and what the run is."""
  classifier, settings = loading.load(run_dir).with_settings(**arguments.settings), _json(run_dir, "settings.json")
  real, test = _learnt(settings, arguments.data_dir, arguments.split)
  labels = (np.arange(arguments.drawings) % classifier.num_classes).astype(np.int32)
  images = classifier.draw(labels, seed_pairs.of(_SEED + settings["seed"], len(labels))).images
  answers = classifier.classify(images).argmax(axis=1).astype(np.int32)
  result = {"seed": settings["seed"], "real_images": len(real[1]),
            "answered_as_asked": float(np.mean(answers == labels)), "accuracy": {}}
  judge = judge_model.settings_of(classifier.image_shape)
  lessons = _arms(real, (images, answers if arguments.labels == "answered" else labels), judge)
  for arm in arguments.arms:
    images, its_labels, epochs = lessons[arm]
    # Whole passes over few pixels more than the judge's own budget allows.
    own = dataclasses.replace(judge, max_epochs=epochs, pixel_budget=np.inf)
    first = settings["seed"] * arguments.classifiers
    found = [classification_accuracy_score(images, its_labels, *test, classifier.num_classes, seed, own)
             for seed in range(first, first + arguments.classifiers)]
    result["accuracy"][arm] = found
    print(run_dir, arm, found, flush=True)
  return result


def _json(run_dir: str, name: str) -> dict:
  return run_folder.RunFolder(zoo.find(run_dir)).json(name) or {}


def _setting(text: str):
  """"guidance=1" -> ("guidance", 1.0), of the setting's type."""
  name, given, value = text.partition("=")
  own = config_lib.RunConfig().flat()
  require(given and name in own and type(own[name]) in (int, float, str), "set", text, "must be NAME=VALUE, of a flag")
  try:
    return name, type(own[name])(value)
  except ValueError:
    raise ConfigError(f"--set={text}: must be a {type(own[name]).__name__}") from None


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--run_dir", action="append", required=True, dest="run_dirs", help="of several, claims too")
  parser.add_argument("--data_dir", default=None)
  parser.add_argument("--drawings", type=int, default=10000)
  parser.add_argument("--labels", default="asked", choices=LABELS, help="of a drawing: asked for, or the run's answer")
  parser.add_argument("--split", default="test", choices=("test", "validation"), help="the real images to test on")
  parser.add_argument("--arms", default=",".join(ARMS), help="some of these, with commas between")
  parser.add_argument("--set", action="append", default=[], dest="settings", help="NAME=VALUE, of a drawing")
  parser.add_argument("--classifiers", type=int, default=3, help="trainings a run and arm")
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--out", required=True, help="FILE.json")
  claims_page.add_flags(parser)
  arguments = parser.parse_args()
  require(len(set(arguments.run_dirs)) == len(arguments.run_dirs), "run_dir", ",".join(arguments.run_dirs),
          "must be different runs")
  claims_page.check(arguments)
  asked = arguments.arms.split(",")
  require(asked == [arm for arm in ARMS if arm in asked], "arms", arguments.arms,
          f"must be some of {','.join(ARMS)}, in this order")
  arguments.arms, arguments.settings = asked, dict(map(_setting, arguments.settings))
  require(arguments.drawings >= 100, "drawings", arguments.drawings, "must be at least 100")
  require(arguments.classifiers >= 1, "classifiers", arguments.classifiers, "must be at least 1")
  arguments.commit, arguments.run_seeds = training_runs.same_but_for_seeds(arguments.run_dirs)
  return arguments


def main() -> None:
  try:
    register_systems()
    _compare(_parse())
  except ConfigError as problem:
    sys.exit(f"error: {problem.as_flags}")


def _compare(arguments) -> None:
  measure.pin_threads(arguments.threads)
  out = pathlib.Path(arguments.out)
  asked = {"drawings": arguments.drawings, "classifiers": arguments.classifiers, "runs_commit": arguments.commit,
           "split": arguments.split, "settings": arguments.settings, "arms": arguments.arms,
           "labels": arguments.labels}
  before = json.loads(out.read_text("utf-8")) if out.exists() else {"asked": asked, "runs": {}}
  require({"arms": list(ARMS), "labels": "asked", **before.get("asked", {})} == asked, "out", arguments.out,
          "holds answers to another question; name another file")
  runs = before["runs"]
  for run_dir in arguments.run_dirs:
    if run_dir not in runs:
      runs[run_dir] = {**teach(run_dir, arguments), "measured_at": provenance.git_commit()}
    done = [runs[name] for name in arguments.run_dirs if name in runs]
    arms = {arm: {"accuracy": [float(np.mean(one["accuracy"][arm])) for one in done]} for arm in arguments.arms}
    found = verdicts.judged([claim for claim in _CLAIMS if {claim.better, claim.than} <= set(arms)],
                            arms) if len(done) > 1 else []
    measure.write_json(arguments.out, {"asked": asked, "runs": runs, "claims": found, "means": {
        arm: figures["accuracy"] for arm, figures in arms.items()}, **measure.circumstances(arguments.threads)})
  for arm, figures in arms.items():
    values = figures["accuracy"]
    print(f"{arm}: {np.mean(values):.4f} ({min(values):.4f} – {max(values):.4f})")
  for one in found:
    print(verdicts.told(one))
  if arguments.page:
    commits = training_runs.each_of(runs[name].get("measured_at") for name in arguments.run_dirs)
    require(commits == {provenance.git_commit()}, "out", arguments.out,
            f"holds what code of other commits measured ({', '.join(sorted(commits))}); name another file")
    claims_page.add_of_runs(arguments, _WHAT, arms, found)


if __name__ == "__main__":
  main()
