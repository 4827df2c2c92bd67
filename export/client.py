"""Draws and classifies over gRPC, from TF Serving or export/server.py.

    python export/client.py --server=localhost:8500 --classes=3,7 --num_images=64 --seed=1 --out=grid.png
    python export/client.py --server=localhost:8500 --soft=3:0.5,8:0.5 --out=between.npz
    python export/client.py --server=localhost:8500 --classify=image.png

The same from Python: `Client` of serving_client.py.
"""

import os
import pathlib
import sys
import warnings
from typing import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow Addons announces the end of its maintenance at every import.
warnings.filterwarnings("ignore", category=UserWarning, module="tensorflow_addons")

import numpy as np  # noqa: E402
import PIL.Image  # noqa: E402
import tqdm  # noqa: E402
from absl import app  # noqa: E402
from absl import flags  # noqa: E402

from stic_tf import class_choice  # noqa: E402
from stic_tf import command  # noqa: E402
from stic_tf import config as config_lib  # noqa: E402
from stic_tf import drawing_file  # noqa: E402

_SHOWN_CLASSES = 3


def _define_flags() -> None:
  flags.DEFINE_string("server", "localhost:8500", "HOST:PORT of the server.")
  flags.DEFINE_string("model_name", "stic", "The model, as the server knows it.")
  flags.DEFINE_integer("model_version", None, "A version to keep to; the server's newest if not given.")
  flags.DEFINE_string("classes", None, "Classes to draw, by number or name, separated by commas; all in turn if not "
                                       "given.")
  flags.DEFINE_string("soft", None, "A soft class to draw, as 3:0.5,8:0.5.")
  flags.DEFINE_string("canvas", None, "A picture to draw on from, instead of a blank canvas.")
  flags.DEFINE_string("classify", None, "A picture to classify; nothing is drawn.")
  flags.DEFINE_integer("num_images", 16, "How many drawings.")
  flags.DEFINE_integer("seed", 0, "Drawing i has the seed pair (--seed, i).")
  flags.DEFINE_integer("num_steps", None, "Steps of a drawing; the run's own if not given.")
  flags.DEFINE_float("temperature", None, "T; the run's own if not given.")
  flags.DEFINE_integer("batch_size", 16, "Drawings a request.")
  flags.DEFINE_string("out", None, "FILE.png or FILE.npz.")
  flags.DEFINE_float("timeout", 60.0, "Deadline of a request in seconds, its retries included.")
  flags.DEFINE_integer("retries", 4, "How often a request is sent again while the server is unavailable, 0 to 4.")
  flags.DEFINE_string("tls_ca", None, "File of the certificates to trust (PEM): connects by TLS.")


def read_image(path: str, image_shape: Sequence[int], flag: str) -> np.ndarray:
  """A picture file as uint8 [H, W, C].

  Raises:
    ConfigError: it cannot be read, or has another size.
  """
  try:
    with PIL.Image.open(path) as file:
      pixels = np.asarray(file.convert("L" if image_shape[2] == 1 else "RGB"))
  except (OSError, ValueError) as problem:
    raise config_lib.ConfigError(f"--{flag}={path}: cannot be read as an image ({problem})") from problem
  pixels = pixels.reshape(*pixels.shape[:2], image_shape[2])
  size = "{}×{}".format(*pixels.shape[1::-1])
  config_lib.require(pixels.shape == tuple(image_shape), flag, path,
                     f"is {size} pixels, must be {image_shape[1]}×{image_shape[0]}")
  return pixels


def _draw(client, values) -> None:
  model = client.describe()
  weights = class_choice.requested(values.num_images, model.class_names, values.classes, values.soft, "soft")
  canvas = None
  if values.canvas:
    canvas = np.stack([read_image(values.canvas, model.image_shape, "canvas")] * values.num_images)
  with tqdm.tqdm(total=len(weights), unit="image", disable=not sys.stderr.isatty()) as bar:
    drawings = client.draw(weights, values.seed, values.num_steps, values.temperature, canvas, values.batch_size,
                           on_batch=lambda done: bar.update(done - bar.n), model=model)
  drawing_file.write(values.out, drawings)
  print(f"{len(weights)} drawings, acceptance {drawings.acceptance_rate.mean():.3f}: {os.path.abspath(values.out)}")


def _classify(client, path: str) -> None:
  model = client.describe()
  probabilities = client.classify(read_image(path, model.image_shape, "classify")[np.newaxis], model=model)[0]
  for label in np.argsort(-probabilities)[:_SHOWN_CLASSES]:
    print(f"{model.class_names[label]}  {probabilities[label]:.4f}")


def run(values) -> None:
  """Does what the flags say.

  Raises:
    ConfigError: wrong input.
    ServingError: a request failed.
    OSError: --out cannot be written.
  """
  config_lib.require(0 <= values.seed < 2 ** 31, "seed", values.seed, "must lie in [0, 2^31)")
  if not values.classify:
    drawing_file.check_request(values.out or "", values.num_images)
  certificates = None
  if values.tls_ca:
    try:
      certificates = pathlib.Path(values.tls_ca).read_bytes()
    except OSError as problem:
      raise config_lib.ConfigError(f"--tls_ca={values.tls_ca}: cannot be read ({problem})") from problem
  # Imported only now: a wrong flag is answered before TensorFlow has loaded.
  from export import serving_client
  with serving_client.Client(values.server, values.model_name, values.model_version, values.timeout, values.retries,
                             certificates=certificates) as client:
    try:
      if values.classify:
        _classify(client, values.classify)
      else:
        _draw(client, values)
    except serving_client.ServingError as problem:
      command.fail(f"--server={values.server}: {problem}", code=1)


def main(argv) -> None:
  with command.answering(argv, lambda: "--out"):
    run(flags.FLAGS)


if __name__ == "__main__":
  _define_flags()
  app.run(main, flags_parser=command.parser(flags.FLAGS, flags.Error))
