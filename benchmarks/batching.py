"""Batching settings against latency: drawings a second, median and 99th percentile, by how many clients ask at a time.

    python benchmarks/batching.py --export_dir=M/stic --out=batching.json

Each client asks for one drawing over gRPC, and for the next when it has it. A setting is rows of a batch and how long
a free thread waits for clients to come back (milliseconds), "none" is no batching. One server a setting, in turns.
"""

import argparse
import importlib
import os
import pathlib
import sys
import tempfile
import threading
import time
from concurrent import futures

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

from benchmarks import measure  # noqa: E402
from benchmarks import served  # noqa: E402
from serving import drawing_client  # noqa: E402

_WARM_SECONDS = 2.0


def _flags(setting: str, folder: str):
  if setting == "none":
    return []
  rows, milliseconds = setting.split(":")
  path = os.path.join(folder, f"{rows}_{milliseconds}.txt")
  with open(path, "w", encoding="utf-8") as file:
    file.write(f"max_batch_size {{ value: {rows} }}\n"
               f"batch_timeout_micros {{ value: {round(1000 * float(milliseconds))} }}\n"
               "num_batch_threads { value: 1 }\nmax_enqueued_batches { value: 100 }\n")
  return ["--enable_batching", f"--batching_parameters_file={path}"]


def _load(server: served.Server, clients: int, seconds: float) -> dict:
  """Drawings a second and latencies of so many clients at a time."""
  times, stop, timing = [], threading.Event(), threading.Event()

  def ask(number: int) -> None:
    client = drawing_client.Client(f"127.0.0.1:{server.port}", served.MODEL, retries=0)
    model, seed = client.describe(), 0
    while not stop.is_set():
      began, seed = time.perf_counter(), seed + 1
      client.draw([number % len(model.class_names)], [[number, seed]], model=model)
      if timing.is_set():
        times.append(time.perf_counter() - began)

  with futures.ThreadPoolExecutor(clients) as pool:
    asking = [pool.submit(ask, number) for number in range(clients)]
    time.sleep(_WARM_SECONDS)
    timing.set()
    time.sleep(seconds)
    counted = len(times)
    stop.set()
    for one in asking:
      one.result()  # a client that failed is not left out in silence
  times = times[:counted]
  return {"drawings_a_second": counted / seconds, "p50_ms": 1000 * float(np.median(times)),
          "p99_ms": 1000 * float(np.quantile(times, 0.99))}


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--export_dir", required=True, help="folder with the numbered folders of an export")
  parser.add_argument("--settings", default="none,16:0,16:5,64:0,64:20", help="rows:milliseconds, or none")
  parser.add_argument("--clients", default="1,8,32")
  parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
  parser.add_argument("--out", required=True, help="FILE.json")
  return parser.parse_args()


def main() -> None:
  arguments = _parse()
  report = {"settings": vars(arguments), **measure.circumstances(0), "loads": {}}
  with tempfile.TemporaryDirectory() as folder:
    for setting in arguments.settings.split(","):
      with served.started(os.path.abspath(arguments.export_dir), _flags(setting, folder)) as server:
        report["loads"][setting] = {clients: _load(server, int(clients), arguments.seconds)
                                    for clients in arguments.clients.split(",")}
      print(setting, report["loads"][setting], flush=True)
      measure.write_json(arguments.out, report)


if __name__ == "__main__":
  main()
