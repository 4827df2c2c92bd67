"""From a slider's event to the new drawing on the playground, and a minute of 20 events a second.

    python benchmarks/playground.py --digits_score=runs/digits_score --mnist_score=M/mnist_score --out=playground.json

Each model is a run folder, which is exported first, or the folder of an export; p50_ms of a model that is not given is
null. The server runs in its own process without batching, with a thread a drawing, as `make play` has it, the page in a
headless Chromium where chromium, chromedriver and selenium are there. Otherwise the requests that the page would send
are sent from here, one at a time, and `browser` is null. Figures:

- p50_ms: median from the event of a class slider of Mix to the frame that shows the drawing, one event at a time.
- events_a_second: events of the minute by its seconds, the least of the models; drawn_a_second: of them, those drawn.
- most_waiting: requests in flight or waiting at an event, at most; 2 is one of each, and a queue would grow.
- last_drawn: whether the minute's last event was drawn; last_ms: how long after it.
"""

import argparse
import base64
import contextlib
import importlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import urllib.request
from typing import Dict, Iterator, Optional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import numpy as np  # noqa: E402

from benchmarks import measure  # noqa: E402
from benchmarks import served  # noqa: E402

MODELS = ("mnist_score", "digits_score")
_BROWSER_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                  "--disable-background-networking", "--disable-component-update", "--disable-sync",
                  "--window-size=1280,900")
# Those of tools/play.sh.
_SERVER_FLAGS = ("--playground", "--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=-1")
# Slider 1 goes up and down; each event differs from the last.
_SCRIPT = """
const [mode, count, rate, done] = arguments;
const slider = document.getElementById("class-1"), image = document.getElementById("mixImage");
const frame = () => new Promise(resolve => requestAnimationFrame(resolve));
const pull = number => {
  slider.value = 1 + number % 99;
  slider.dispatchEvent(new Event("input", {bubbles: true}));
};
const shown = async () => { while (image.dataset.drawn !== mixKey()) await frame(); };
const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));
(async () => {
  await shown();
  if (mode === "single") {
    const times = [];
    for (let number = 0; number < count; number++) {
      const start = performance.now();
      pull(number);
      await shown();
      times.push(performance.now() - start);
      await sleep(20);
    }
    return done(times);
  }
  let most = 0, drawn = 0;
  const observer = new MutationObserver(() => { drawn += 1; });
  observer.observe(image, {attributeFilter: ["data-drawn"]});
  const begin = performance.now();
  for (let number = 0; number < count; number++) {
    await sleep(begin + 1000 * number / rate - performance.now());
    pull(number);
    most = Math.max(most, Number(drawing.running) + Number(drawing.next !== null));
  }
  const last = performance.now();
  const wasDrawn = await Promise.race([shown().then(() => true), sleep(10000).then(() => false)]);
  done({seconds: (last - begin) / 1000, drawn, most, wasDrawn, lastMs: performance.now() - last});
})();
"""


class BrowserPage:
  """The page in a browser."""

  def __init__(self, driver, server: served.Server):
    self._driver = driver
    driver.get("about:blank")
    driver.get(f"http://127.0.0.1:{server.rest_port}/#model={served.MODEL}&tool=mix&w=0:50")
    driver.set_script_timeout(600)
    end = time.monotonic() + 60
    while not driver.execute_script("return document.getElementById('mixImage').dataset.drawn"):
      if time.monotonic() > end:
        raise RuntimeError(driver.execute_script("return document.getElementById('noticeText').textContent"))
      time.sleep(0.05)

  def single(self, count: int):
    """Milliseconds of `count` events, one after the other."""
    return self._driver.execute_async_script(_SCRIPT, "single", count, 0)

  def stream(self, count: int, rate: float) -> Dict:
    """`count` events at `rate` a second."""
    answer = self._driver.execute_async_script(_SCRIPT, "stream", count, rate)
    return {"events_a_second": (count - 1) / answer["seconds"], "drawn_a_second": answer["drawn"] / answer["seconds"],
            "most_waiting": answer["most"], "last_drawn": answer["wasDrawn"], "last_ms": answer["lastMs"]}


class Requests:
  """What the page would send, from here: one request at a time, and of those that wait the newest."""

  def __init__(self, server: served.Server):
    self._url = f"http://127.0.0.1:{server.rest_port}/v1/models/{served.MODEL}"
    with urllib.request.urlopen(f"{self._url}/metadata") as response:
      signatures = json.load(response)["metadata"]["signature_def"]["signature_def"]
    dims = signatures["synthesize_png"]["inputs"]["class_weights"]["tensor_shape"]["dim"]
    self._num_classes = int(dims[1]["size"])

  def _ask(self, number: int) -> None:
    weights = np.zeros(self._num_classes)
    weights[:2] = np.array([50.0, 1 + number % 99]) / (51 + number % 99)
    body = {"signature_name": "synthesize_png", "inputs": {"class_weights": [weights.tolist()], "seed": [[0, 0]]}}
    with urllib.request.urlopen(f"{self._url}:predict", json.dumps(body).encode()) as response:
      base64.b64decode(json.load(response)["outputs"]["image_png_bytes"][0]["b64"])

  def single(self, count: int):
    times = []
    for number in range(count):
      start = time.perf_counter()
      self._ask(number)
      times.append(1000 * (time.perf_counter() - start))
    return times

  def stream(self, count: int, rate: float) -> Dict:
    changed, waiting, state = threading.Condition(), [], {"running": False, "drawn": 0, "last": None, "ended": False}

    def send() -> None:
      while True:
        with changed:
          changed.wait_for(lambda: waiting or state["ended"])
          if not waiting:
            return
          number = waiting.pop()
          state["running"] = True
        self._ask(number)
        state.update(running=False, drawn=state["drawn"] + 1, last=number)

    sender, most, begin = threading.Thread(target=send), 0, time.perf_counter()
    sender.start()
    for number in range(count):
      time.sleep(max(0.0, begin + number / rate - time.perf_counter()))
      with changed:
        waiting[:] = [number]
        most = max(most, len(waiting) + state["running"])
        changed.notify()
    last = time.perf_counter()
    with changed:
      state["ended"] = True
      changed.notify()
    sender.join()
    return {"events_a_second": (count - 1) / (last - begin), "drawn_a_second": state["drawn"] / (last - begin),
            "most_waiting": most, "last_drawn": state["last"] == count - 1,
            "last_ms": 1000 * (time.perf_counter() - last)}


@contextlib.contextmanager
def browser(folder: str) -> Iterator[Optional[object]]:
  """Selenium's driver of a headless Chromium, or None where there is none."""
  chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
  try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
  except ImportError:
    chromium = None
  if not (chromium and chromedriver):
    yield None
    return
  options = webdriver.ChromeOptions()
  options.binary_location = chromium
  for flag in (*_BROWSER_FLAGS, f"--user-data-dir={folder}"):
    options.add_argument(flag)
  driver = webdriver.Chrome(options=options, service=Service(chromedriver))
  try:
    yield driver
  finally:
    driver.quit()


def exported(folder: str, aside: str) -> str:
  """The folder of an export: the one given, or one made in `aside` of the run that was given."""
  if any(pathlib.Path(folder).glob("*/saved_model.pb")):
    return os.path.abspath(folder)
  from export import exporter
  return os.path.dirname(exporter.export_run(folder, os.path.join(aside, served.MODEL)))


def run(arguments) -> Dict:
  report = {"p50_ms": dict.fromkeys(MODELS), "events_a_second": None, "browser": None, "models": {}}
  for name in MODELS:
    if not getattr(arguments, name):
      continue
    with tempfile.TemporaryDirectory() as aside, browser(os.path.join(aside, "profile")) as driver:
      with served.started(exported(getattr(arguments, name), aside), _SERVER_FLAGS) as server:
        page = BrowserPage(driver, server) if driver else Requests(server)
        page.single(5)
        times = page.single(arguments.events)
        stream = page.stream(round(arguments.seconds * arguments.rate), arguments.rate)
      report["browser"] = driver and f"chromium {driver.capabilities['browserVersion']}"
    report["p50_ms"][name] = float(np.median(times))
    report["models"][name] = {"event_to_pixels_ms": measure.spread(times), **stream}
  report["events_a_second"] = min((one["events_a_second"] for one in report["models"].values()), default=None)
  return report


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  for name in MODELS:
    parser.add_argument(f"--{name}", help="run folder, or folder with the numbered folders of an export")
  parser.add_argument("--out", required=True, help="FILE.json")
  parser.add_argument("--events", type=int, default=100, help="one at a time")
  parser.add_argument("--rate", type=float, default=20.0, help="events a second of the minute")
  parser.add_argument("--seconds", type=float, default=60.0, help="of the minute")
  arguments = parser.parse_args()
  if not any(getattr(arguments, name) for name in MODELS):
    parser.error("give at least one of " + ", ".join(f"--{name}" for name in MODELS))
  report = run(arguments)
  print(json.dumps(report, indent=1))
  measure.write_json(arguments.out, {**report, **measure.circumstances(os.cpu_count()), "settings": vars(arguments)})


if __name__ == "__main__":
  main()
