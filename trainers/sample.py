"""--mode=sample: draws from a run folder into a PNG grid or an npz."""

import os
import sys

import tqdm

from stic_tf import class_choice
from stic_tf import config as config_lib
from stic_tf import drawing_file
from stic_tf import run_folder
from stic_tf import zoo
from trainers import evaluate
from trainers import flags as trainer_flags

_MAX_IMAGES_RECORDED = 1000


def run(values) -> None:
  """Draws --num_images images; image i has the seed pair (--seed, i).

  Raises:
    ConfigError: no such run, class or file ending.
  """
  out = values.out or ""
  drawing_file.check_request(out, values.num_images, values.scale)
  gif = values.record_drawing
  config_lib.require(gif is None or gif.endswith(".gif"), "record_drawing", gif, "must end in .gif")
  config_lib.require(gif is None or values.num_images <= _MAX_IMAGES_RECORDED, "num_images", values.num_images,
                     f"must be at most {_MAX_IMAGES_RECORDED} with --record_drawing")
  if gif:
    drawing_file.check_folder("record_drawing", gif)
  classifier = evaluate.load_classifier(values)
  settings = run_folder.RunFolder(zoo.find(values.run_dir)).settings()
  for name, value in trainer_flags.overrides(values, settings, ("num_samples", "inception_weights")).items():
    print(f"warning: --{name}={value} changes nothing here: it is of figures; drawings are --num_images",
          file=sys.stderr)
  weights = class_choice.requested(values.num_images, classifier.class_names, values.classes, values.class_weights,
                                   "class_weights")
  with tqdm.tqdm(total=len(weights), unit="image", disable=not sys.stderr.isatty()) as bar:
    drawings = classifier.draw(weights, values.seed, on_batch=lambda done: bar.update(done - bar.n),
                               num_frames=evaluate.FRAMES if gif else 0)
  drawing_file.write(out, drawings, values.scale)
  if gif:
    drawing_file.write_frames(gif, drawings, values.scale)
  print(f"{len(weights)} drawings, acceptance {drawings.acceptance_rate.mean():.3f}: {os.path.abspath(out)}")
