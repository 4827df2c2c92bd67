"""Records the README's animation: a drag from class to class in the playground's Mix, as a headless Chromium shows it.

    python tools/record_playground.py --run_dir=zoo/mnist_score --out=docs/images/playground.gif --classes=4,9,7
"""

import argparse
import importlib
import io
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import PIL.Image  # noqa: E402

from benchmarks import playground  # noqa: E402
from benchmarks import served  # noqa: E402

_SHARES = 12  # drawings from one class to the next
_WIDTH, _COLOURS, _MILLISECONDS = 620, 64, 120
_DRAG = """
const [weights, done] = arguments;
const image = document.getElementById("mixImage");
if (!image.dataset.drawn) return done(false);
for (const [label, value] of Object.entries(weights)) {
  const slider = document.getElementById("class-" + label);
  slider.value = value;
  slider.dispatchEvent(new Event("input", {bubbles: true}));
}
const wait = () => requestAnimationFrame(image.dataset.drawn === mixKey() ? () => done(true) : wait);
wait();
"""


def frames(driver, classes):
  """A picture a step of the drag, each once its drawing is shown."""
  for first, second in zip(classes, classes[1:] + classes[:1]):
    for number in range(_SHARES):
      share = round(100 * number / _SHARES)
      weights = {**dict.fromkeys(classes, 0), first: 100 - share, second: share}
      while not driver.execute_async_script(_DRAG, weights):  # the page shows its first drawing yet
        time.sleep(0.2)
      picture = PIL.Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
      picture = picture.resize((_WIDTH, round(picture.height * _WIDTH / picture.width)), PIL.Image.LANCZOS)
      yield picture.quantize(_COLOURS)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--run_dir", required=True, help="run folder, or name of a model of the zoo")
  parser.add_argument("--classes", default="4,9,7", help="numbers")
  parser.add_argument("--seed", type=int, default=3)
  parser.add_argument("--guidance", type=float, default=2.0)
  parser.add_argument("--out", required=True, help="FILE.gif")
  arguments = parser.parse_args()
  classes = arguments.classes.split(",")
  with tempfile.TemporaryDirectory() as aside, playground.browser(os.path.join(aside, "profile")) as driver:
    if driver is None:
      parser.error("chromium, chromedriver and selenium must be there")
    with served.started(playground.exported(arguments.run_dir, aside), ["--playground"]) as server:
      driver.set_window_size(1180, 1160)
      driver.set_script_timeout(60)
      driver.get(f"http://127.0.0.1:{server.rest_port}/#model={served.MODEL}&tool=mix&seed={arguments.seed}"
                 f"&g={arguments.guidance}&w={classes[0]}:100")
      first, *rest = list(frames(driver, classes))
  first.save(arguments.out, save_all=True, append_images=rest, duration=_MILLISECONDS, loop=0, optimize=True)
  print(f"{arguments.out}: {len(rest) + 1} frames, {os.path.getsize(arguments.out)} bytes")


if __name__ == "__main__":
  main()
