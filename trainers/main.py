"""Entry point: trains, evaluates or samples. Flags become a configuration; the work is in the modules beside this one.

    python trainers/main.py --flagfile=trainers/flagfiles/digits.flags
    python trainers/main.py --mode=sample --run_dir=runs/digits --classes=3,7 --num_images=16 --out=drawings.png
"""

import pathlib
import sys

if not __package__:  # run as a file of a checkout, which then comes first
  sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from absl import app  # noqa: E402
from absl import flags  # noqa: E402

from stic_tf import command  # noqa: E402
from trainers import flags as trainer_flags  # noqa: E402

flags.adopt_module_key_flags(trainer_flags)
_INTERRUPTED = {"train": "interrupted; the same command resumes from the last checkpoint",
                "evaluate": "interrupted; the same command starts over",
                "sample": "interrupted; nothing was written"}


def main(argv) -> None:
  values = flags.FLAGS
  try:
    with command.answering(argv, lambda: "--out" if values.mode == "sample" else "--run_dir"):
      config = trainer_flags.to_config(values)
      # Imported only now: a wrong flag is answered before TensorFlow has loaded.
      if values.mode == "sample":
        from trainers import sample
        sample.run(values)
      elif values.mode == "evaluate":
        from trainers import evaluate
        evaluate.run(values)
      else:
        from stic_tf import workers
        from stic_tf.training import passes
        from trainers import train
        try:
          train.run(values, config)
        except (workers.LostWorkerError, passes.DivergenceError) as problem:
          command.fail(problem, code=1)
  except KeyboardInterrupt:
    command.fail(_INTERRUPTED[values.mode], code=1)


def command_line() -> None:
  """The command `stic-train`."""
  app.run(main, flags_parser=command.parser(flags.FLAGS, flags.Error))


if __name__ == "__main__":
  command_line()
