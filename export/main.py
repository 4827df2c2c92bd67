"""Entry point: a run folder becomes the next version of a servable model.

    python export/main.py --run_dir=runs/digits --export_dir=models/stic     # models/stic/1, then models/stic/2, …
"""

import pathlib
import sys

if not __package__:  # run as a file of a checkout, which then comes first
  sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from absl import app  # noqa: E402
from absl import flags  # noqa: E402
from absl import logging  # noqa: E402

from stic_tf import command  # noqa: E402
from stic_tf.config import require  # noqa: E402

flags.DEFINE_string("run_dir", "", "Folder of the run to export.")
flags.DEFINE_string("export_dir", "", "Folder of the model; its name is the one that clients ask for by default.")
flags.DEFINE_integer("max_steps", 0, "The most steps a request gets; 0 for four times the run's own --num_steps.")
flags.DEFINE_bool("png", True, "Whether there are the playground's signatures, drawings as PNG bytes.")


def main(argv) -> None:
  values = flags.FLAGS
  with command.answering(argv, lambda: f"--export_dir={values.export_dir}"):
    require(bool(values.run_dir), "run_dir", values.run_dir, "must name the folder of a run")
    require(bool(values.export_dir), "export_dir", values.export_dir, "must name the folder of the model")
    require(0 <= values.max_steps < 2 ** 31, "max_steps", values.max_steps, "must lie in [0, 2^31)")
    logging.set_verbosity(logging.ERROR)  # TensorFlow tells of every step of saving
    # Imported only now: a wrong flag is answered before TensorFlow has loaded.
    from export import exporter
    from export import gate
    try:
      print(exporter.export_run(values.run_dir, values.export_dir, values.max_steps, values.png))
    except gate.GateError as problem:
      command.fail(f"nothing was exported: {problem}", code=1)


def command_line() -> None:
  """The command `stic-export`."""
  try:
    app.run(main, flags_parser=command.parser(flags.FLAGS, flags.Error))
  except KeyboardInterrupt:
    command.fail("interrupted, nothing was exported", code=1)


if __name__ == "__main__":
  command_line()
