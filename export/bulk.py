"""Entry point: many drawings, answers or densities, over Apache Beam; the folder is a TFDS data set.

    python export/bulk.py --export_dir=models/stic --num_images=100000 --seed=1 --out=drawn --processes=2
    python export/bulk.py --run_dir=zoo/mnist_score --task=classify --dataset=mnist --split=test --out=answers

The same command again makes what is missing and no more. What follows a "--" is passed on to Beam.
"""

import logging
import pathlib
import re
import sys

if not __package__:  # run as a file of a checkout, which then comes first
  sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from absl import app  # noqa: E402
from absl import flags  # noqa: E402

from export import bulk_request  # noqa: E402
from stic_tf import command  # noqa: E402
from stic_tf.config import ConfigError  # noqa: E402
from stic_tf.config import require  # noqa: E402

flags.DEFINE_string("export_dir", "", "Folder of an exported model, whose highest version is taken.")
flags.DEFINE_string("run_dir", "", "Folder of a run, or a name of the zoo, in its place.")
flags.DEFINE_string("task", "draw", "draw, classify or log_density.")
flags.DEFINE_string("out", "", "Folder that is made or completed.")
flags.DEFINE_integer("num_images", 0, "draw: how many.")
flags.DEFINE_integer("seed", 0, "draw: drawing i has the seed pair (seed, i).")
flags.DEFINE_string("classes", None, "draw: classes by number or name, separated by commas, in turn; none: all.")
flags.DEFINE_string("class_weights", None, "draw: a soft class, as 0:0.5,8:0.5.")
flags.DEFINE_integer("num_steps", None, "draw: steps; none: the model's own.")
flags.DEFINE_float("temperature", None, "draw: temperature; none: the model's own.")
flags.DEFINE_float("guidance", None, "draw: guidance, of a model that has it; none: the model's own.")
flags.DEFINE_string("dataset", None, "classify, log_density: the data set whose images are taken.")
flags.DEFINE_string("split", "test", "classify, log_density: its split.")
flags.DEFINE_string("data_dir", None, "Folder of prepared TFDS datasets; TFDS' own default if not given.")
flags.DEFINE_string("images", None, "classify, log_density: a folder of picture files, in place of --dataset.")
flags.DEFINE_string("name", "drawings", "Name of the data set that is written.")
flags.DEFINE_integer("images_per_shard", 1000, "Images a shard.")
flags.DEFINE_integer("rows_at_once", 64, "Images of one call of the model, and the most that a kill loses a process.")
flags.DEFINE_string("runner", "DirectRunner", "Beam's runner.")
flags.DEFINE_integer("processes", 1, "Processes of the DirectRunner.")
flags.DEFINE_integer("threads", 1, "Threads of TensorFlow in each, 0 for its own choice; bits may depend on them, on "
                                "--processes never.")


def _work(values):
  """What is to be made; everything that can be wrong with the flags alone is refused here."""
  from export import bulk_images
  from export import bulk_model
  from export import bulk_shard
  require(bool(values.out), "out", values.out, "must name a folder")
  for name, least in (("rows_at_once", 1), ("processes", 1), ("threads", 0)):
    require(getattr(values, name) >= least, name, getattr(values, name), f"must be at least {least}")
  require(bool(re.fullmatch("[a-z][a-z0-9_]*", values.name)), "name", values.name,
          "must be lower-case letters, digits and underscores, a letter first")
  require(values.task in bulk_request.TASKS, "task", values.task, "must be one of " + ", ".join(bulk_request.TASKS))
  drawing, given = values.task == "draw", {}
  own = ("num_images", "seed", "classes", "class_weights", "num_steps", "temperature", "guidance")
  for name in ("dataset", "images", "split") if drawing else own:
    require(not values[name].present, name, getattr(values, name), f"is not read by --task={values.task}")
  folder = bulk_model.folder_of(values.export_dir, values.run_dir)
  if drawing:
    given = {name: getattr(values, name) for name in own[1:]}
    count = values.num_images
  elif values.images:
    require(not values.dataset, "images", values.images, "cannot be given together with --dataset")
    count, given = len(bulk_images.files(values.images)), {"source": bulk_images.source(values.images)}
  else:
    require(bool(values.dataset), "dataset", values.dataset or "", "must name a data set, or --images a folder")
    bulk_model.limit_threads(values.threads)  # a data set is read by TensorFlow
    count = len(bulk_images.of_dataset(values.dataset, values.split, values.data_dir)[0])
    given = {"source": f"{values.dataset}/{values.split}"}
  request = bulk_request.Request(task=values.task, model=bulk_model.fingerprint(folder), name=values.name,
                                 num_rows=count, rows_a_shard=values.images_per_shard, **given)
  return bulk_shard.Work(
      request=request, out=values.out, export_dir=values.export_dir or None, run_dir=values.run_dir or None,
      rows_at_once=values.rows_at_once, threads=values.threads, dataset=values.dataset, split=values.split,
      data_dir=values.data_dir, images=values.images)


def main(argv) -> None:
  values = flags.FLAGS
  others = argv[1:]
  passed_on = [argument for argument in others if argument.startswith("--")]
  with command.answering([argv[0], *(set(others) - set(passed_on))], lambda: f"--out={values.out}"):
    logging.getLogger().setLevel(logging.ERROR)  # Beam tells of every channel that it opens
    logging.getLogger("apache_beam.options").setLevel(logging.WARNING)  # and of options that nothing reads
    try:
      from export import bulk_pipeline
    except ImportError as problem:
      raise ConfigError("Apache Beam is not installed: pip install -r requirements-beam.txt, on Python 3.10 or 3.11 "
                        f"({problem})") from problem
    work = _work(values)
    options = bulk_pipeline.options(values.runner, values.processes, passed_on)
    model = work.model()
    if work.request.task == "draw":
      work.request.weights([0], model.class_names)
      model.check(work.request.num_steps, work.request.temperature, work.request.guidance)
    elif work.dataset:
      from export import bulk_images
      shape = bulk_images.of_dataset(work.dataset, work.split, work.data_dir)[0].shape[1:]
      require(tuple(shape) == model.image_shape, "dataset", work.dataset,
              f"has images {list(shape)}, the model takes {list(model.image_shape)}")
    work.folder.claim()
    done = bulk_pipeline.run(work, options)
    print(f"{done['made']} made, {done['found']} found, {done['seconds']:.1f} s: {done['manifest']}")


def command_line() -> None:
  """The command `stic-bulk`."""
  try:
    app.run(main, flags_parser=command.parser(flags.FLAGS, flags.Error))
  except KeyboardInterrupt:
    command.fail("interrupted; the same command goes on", code=1)


if __name__ == "__main__":
  command_line()
