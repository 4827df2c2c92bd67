"""Draws and classifies over gRPC, from TF Serving or serving/server.py.

    python serving/client.py --server=localhost:8500 --classes=3,7 --num_images=64 --seed=1 --out=grid.png
    python serving/client.py --server=localhost:8500 --soft=3:0.5,8:0.5 --out=between.npz
    python serving/client.py --server=localhost:8500 --classify=photo.jpg

It needs grpcio, protobuf, NumPy and Pillow, and no TensorFlow.

The same from Python: `Client` of drawing_client.py.
"""

import argparse
import os
import pathlib
import sys
from typing import Optional, Sequence

if not __package__:  # run as a file of a checkout, which then takes the place of this file's folder
  sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

import numpy as np  # noqa: E402

from serving import drawing_client  # noqa: E402
from stic_tf import class_choice  # noqa: E402
from stic_tf import command  # noqa: E402
from stic_tf import config as config_lib  # noqa: E402
from stic_tf import drawing_file  # noqa: E402
from stic_tf import picture_file  # noqa: E402

_SHOWN_CLASSES = 3


class _Parser(argparse.ArgumentParser):

  def error(self, message):
    command.fail(message)


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(prog="serving/client.py", allow_abbrev=False,
                   description="Draws and classifies over gRPC, from TF Serving or serving/server.py.")
  add = parser.add_argument
  add("--server", default="localhost:8500", help="HOST:PORT of the server")
  add("--model_name", default="stic", help="the model, as the server knows it")
  add("--model_version", type=int, help="a version to keep to; the server's newest if not given")
  add("--classes", help="classes to draw, by number or name, separated by commas; all in turn if not given")
  add("--soft", help="a soft class to draw, as 3:0.5,8:0.5")
  add("--canvas", help="a picture to draw on from, instead of a blank canvas")
  add("--classify", help="a picture to classify; nothing is drawn")
  add("--no_resize", action="store_true", help="refuse a picture of another size than the model's")
  add("--scale", type=int, default=0, help="pixels of the PNG a side of a drawing's pixel; 0 for as many as show it")
  add("--num_images", type=int, default=16, help="how many drawings")
  add("--seed", type=int, default=0, help="drawing i has the seed pair (--seed, i)")
  add("--num_steps", type=int, help="steps of a drawing; the run's own if not given")
  add("--temperature", type=float, help="T; the run's own if not given")
  add("--guidance", type=float, help="guidance, of a model that has it; the run's own if not given")
  add("--canvas_noise", type=float, help="noise in which --canvas is drowned; the run's own if not given")
  add("--batch_size", type=int, default=16, help="drawings a request")
  add("--out", help="FILE.png or FILE.npz")
  add("--timeout", type=float, default=60.0, help="deadline of a request in seconds, its retries included")
  add("--retries", type=int, default=4, help="how often a request is sent again while nobody answers it, 0 to 4")
  add("--tls_ca", help="file of the certificates to trust (PEM): connects by TLS")
  add("--tls_cert", help="file of the client's own certificate (PEM), for a server that asks for one")
  add("--tls_key", help="file of its key (PEM)")
  return parser


def _show_progress(done: int, count: int) -> None:
  if sys.stderr.isatty():
    print(f"\r{done} of {count} drawings", end="\n" * (done == count), file=sys.stderr, flush=True)


def _draw(client, values) -> None:
  model = client.describe()
  weights = class_choice.requested(values.num_images, model.class_names, values.classes, values.soft, "soft")
  canvas = None
  if values.canvas:
    canvas = np.stack([_read(values.canvas, model, "canvas", values.no_resize)] * values.num_images)
  drawings = client.draw(weights, values.seed, values.num_steps, values.temperature, canvas, values.batch_size,
                         lambda done: _show_progress(done, len(weights)), model, values.guidance, values.canvas_noise)
  drawing_file.write(values.out, drawings, values.scale)
  print(f"{len(weights)} drawings, acceptance {drawings.acceptance_rate.mean():.3f}: {os.path.abspath(values.out)}")


def _read(path: str, model: drawing_client.ServedModel, flag: str, no_resize: bool) -> np.ndarray:
  """A picture file as uint8 [H, W, C]; says what was done to it."""
  pixels, change = picture_file.read(path, model.image_shape, flag, no_resize)
  if change:
    print(f"--{flag}={path}: {change}", file=sys.stderr)
  return pixels


def _classify(client, path: str, no_resize: bool) -> None:
  model = client.describe()
  probabilities = client.classify(_read(path, model, "classify", no_resize)[np.newaxis], model=model)[0]
  for label in np.argsort(-probabilities)[:_SHOWN_CLASSES]:
    print(f"{model.class_names[label]}  {probabilities[label]:.4f}")


def _pem(path: Optional[str], flag: str) -> Optional[bytes]:
  try:
    return pathlib.Path(path).read_bytes() if path else None
  except OSError as problem:
    raise config_lib.ConfigError(f"--{flag}={path}: cannot be read ({problem})") from problem


def run(values) -> None:
  """Does what the flags say.

  Raises:
    ConfigError: wrong input.
    ServingError: a request failed.
    OSError: --out cannot be written.
  """
  config_lib.require(0 <= values.seed < 2 ** 31, "seed", values.seed, "must lie in [0, 2^31)")
  if not values.classify:
    drawing_file.check_request(values.out or "", values.num_images, values.scale)
  config_lib.require(bool(values.tls_cert) == bool(values.tls_key), "tls_key", values.tls_key or "",
                     "must be given with --tls_cert, and only with it")
  config_lib.require(bool(values.tls_ca) or not values.tls_cert, "tls_cert", values.tls_cert, "goes with --tls_ca")
  certificates = [_pem(getattr(values, name), name) for name in ("tls_ca", "tls_cert", "tls_key")]
  with drawing_client.Client(values.server, values.model_name, values.model_version, values.timeout, values.retries,
                             0.5, *certificates) as client:
    try:
      if values.classify:
        _classify(client, values.classify, values.no_resize)
      else:
        _draw(client, values)
    except drawing_client.ServingError as problem:
      command.fail(f"--server={values.server}: {problem}", code=1)


def main(arguments: Optional[Sequence[str]] = None) -> None:
  """The command; `arguments` are the process's own if not given."""
  values, others = _parser().parse_known_args(arguments)
  unknown = [argument for argument in others if argument.startswith("-")]
  if unknown:
    command.fail("unrecognized arguments: " + " ".join(unknown))
  try:
    with command.answering(["serving/client.py", *others], lambda: "--out"):
      run(values)
  except KeyboardInterrupt:
    command.fail("interrupted, nothing was written", code=1)


if __name__ == "__main__":
  main()
