"""A run becomes the folder BASE/NAME/N of a version: written aside, passed through the gate, then renamed."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import tempfile
from typing import Iterator, Optional

import tensorflow as tf

from export import gate
from export import serving_module
from export import warmup
from stic_tf import atomic_file
from stic_tf import config as config_lib
from stic_tf import drawing_classifier as drawing_lib
from stic_tf import loading
from stic_tf import provenance
from stic_tf import run_folder
from stic_tf import zoo

# What a server takes for a version: an int64, by its digits.
_VERSION = re.compile(r"\d{1,18}")


def next_version(export_dir: str) -> int:
  """One more than the highest version in `export_dir`, 1 where there is none."""
  names = os.listdir(export_dir) if os.path.isdir(export_dir) else []
  return 1 + max((int(name) for name in names if _VERSION.fullmatch(name)), default=0)


def export_run(run_dir: str, export_dir: str, max_steps: int = 0, png: bool = True) -> str:
  """Exports the newest checkpoint of a run as the next version.

  Args:
    run_dir: folder of the run.
    export_dir: folder of the model, made if need be.
    max_steps: the most steps a request gets; 0 for four times the run's own.
    png: whether there are the playground's signatures, drawings as PNG bytes.

  Returns:
    The path of the version folder.

  Raises:
    ConfigError: no such run, a limit below the run's own steps, or a version folder that is suddenly there.
    GateError: the export is not fit to serve.
    OSError: it cannot be written. In each case nothing is left behind.
  """
  run_dir = os.path.expanduser(zoo.find(run_dir))
  classifier, folder = loading.load(run_dir), run_folder.RunFolder(run_dir)
  record = {"run_dir": os.path.abspath(run_dir), "checkpoint": os.path.basename(classifier.checkpoint),
            "settings": folder.json("settings.json"), "flags": folder.text("flags.txt"),
            "summary": folder.json("summary.json"), "last_pass": (folder.rows() or [None])[-1]}
  return export_classifier(classifier, export_dir, max_steps, record, png)


def export_classifier(classifier: drawing_lib.DrawingClassifier, export_dir: str, max_steps: int = 0,
                      record: Optional[dict] = None, png: bool = True) -> str:
  """`export_run` of a classifier in memory; `record` (JSON-ready) is kept in assets.extra/export.json."""
  export_dir = os.path.abspath(os.path.expanduser(export_dir))
  own_steps = classifier.config.sampler.num_steps
  max_steps = max_steps or serving_module.default_max_steps(own_steps)
  config_lib.require(own_steps <= max_steps < 2 ** 31, "max_steps", max_steps,
                     f"must lie between the run's own {own_steps} steps and 2^31")
  module = serving_module.ServingModule(classifier, max_steps, png)
  with _aside(export_dir) as folder:
    extra = os.path.join(folder, "assets.extra")
    try:
      tf.saved_model.save(module, folder, signatures=module.functions)
      os.mkdir(extra)
      warmup.write(folder, os.path.basename(export_dir), module, classifier.image_shape)
    except tf.errors.OpError as problem:  # a full disk has several names among TensorFlow's errors
      raise config_lib.ConfigError(f"--export_dir={export_dir}: cannot be written ({problem.message})") from problem
    record = {**(record or {}), "serving": dataclasses.asdict(module.settings),
              "step_size": classifier.step_size, "noise_level": classifier.noise_level,
              "image_shape": classifier.image_shape, "versions": provenance.versions(),
              "git_commit": provenance.git_commit()}
    atomic_file.write_text(os.path.join(extra, "export.json"), json.dumps(record, indent=1) + "\n")
    gate.check_graph(folder)
    gate.check_images(folder, classifier, module.settings)
    version = os.path.join(export_dir, str(next_version(export_dir)))
    config_lib.require(not os.path.lexists(version), "export_dir", export_dir, f"{version} is already there")
    os.rename(folder, version)
  return version


@contextlib.contextmanager
def _aside(export_dir: str) -> Iterator[str]:
  """A folder beside the versions, which no server takes for one. Where the block fails it and new parents are removed.

  A process that is killed leaves it behind, under a name in .tmp; it is safe to delete.
  """
  made = []
  parent = export_dir
  while not os.path.lexists(parent):
    made.append(parent)
    parent = os.path.dirname(parent)
  folder = None
  try:
    os.makedirs(export_dir, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="export.", suffix=".tmp", dir=export_dir)
    os.chmod(folder, 0o755)  # mkdtemp's folders are for their owner only; a server often is another user
    yield folder
  except BaseException:
    if folder:
      shutil.rmtree(folder, ignore_errors=True)
    for new in made:
      with contextlib.suppress(OSError):  # not empty: someone else has exported meanwhile
        os.rmdir(new)
    raise
