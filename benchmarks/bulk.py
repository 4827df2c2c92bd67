"""Bulk drawing (export/bulk.py): one manifest however many processes, kills, memory, and what the pipeline costs.

    python benchmarks/bulk.py --run_dir=zoo/digits_score --num_images=100000 --out=bulk.json

The same request is drawn by 1, 2 and 4 processes, each killed (-9, with all its children) a few times on the way and
started again. The manifests must be equal. What a kill cost is counted twice: rows that were drawn to their end and
had to be drawn again, as every process notes when a block is drawn; and, as a bound of the work lost, those of blocks
in the making, at most one a process. Beside it the bare compiled drawing of as many rows in one process of one thread,
before and after a whole unbroken run of one process.
"""

import argparse
import importlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import List, Optional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import numpy as np  # noqa: E402
import psutil  # noqa: E402

from benchmarks import measure  # noqa: E402
from export import bulk_model  # noqa: E402
from export import bulk_pipeline  # noqa: E402
from export import bulk_request  # noqa: E402
from export import bulk_shard  # noqa: E402

_BULK = str(pathlib.Path(__file__).resolve().parent.parent / "export" / "bulk.py")
# Read by every Python that starts, Beam's workers too: notes the rows of each block once it is drawn.
_NOTES = """
import os
from export import bulk_model
_draw = bulk_model.Model.draw
def draw(self, class_weights, *args):
  drawn = _draw(self, class_weights, *args)
  with open(os.environ["DRAWN_ROWS"], "ab", buffering=0) as file:
    file.write(b"%d\\n" % len(class_weights))
  return drawn
bulk_model.Model.draw = draw
"""
_DONE = re.compile(r"(\d+) made, (\d+) found, ([\d.]+) s")


class Drawing:
  """One request, in a folder of its own.

  Args:
    arguments: of the command line.
    out: the folder.
    processes: how many draw.
  """

  def __init__(self, arguments, out: str, processes: int):
    self._command = [sys.executable, _BULK, f"--run_dir={arguments.run_dir}", f"--num_images={arguments.num_images}",
                     f"--images_per_shard={arguments.images_per_shard}", f"--rows_at_once={arguments.rows_at_once}",
                     f"--out={out}", f"--processes={processes}"]
    request = bulk_request.Request(
        "draw", bulk_model.fingerprint(bulk_model.folder_of(None, arguments.run_dir)), "drawings",
        arguments.num_images, arguments.images_per_shard)
    self.work = bulk_shard.Work(request, out, run_dir=arguments.run_dir, rows_at_once=arguments.rows_at_once)
    self.memory = []
    self._notes = pathlib.Path(f"{out}.notes")
    self._notes.mkdir()
    (self._notes / "sitecustomize.py").write_text(_NOTES, encoding="utf-8")

  def drawn(self) -> int:
    """Rows that were drawn to their end, in all runs together."""
    return sum(map(int, (self._notes / "rows").read_text(encoding="utf-8").split()))

  def run(self, kill_at: Optional[int] = None) -> Optional[dict]:
    """Runs to the end, or until the folder holds `kill_at` rows; returns what the command said, None where killed."""
    with tempfile.TemporaryFile("w+") as log:
      environment = {**os.environ, "DRAWN_ROWS": str(self._notes / "rows"),
                     "PYTHONPATH": os.pathsep.join([str(self._notes), str(pathlib.Path(_BULK).parent.parent)])}
      process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                                 env=environment)
      over = threading.Event()
      watcher = threading.Thread(target=self._watch, args=(process.pid, over), daemon=True)
      watcher.start()
      try:
        while process.poll() is None:
          if kill_at is not None and bulk_pipeline.rows_done(self.work) >= kill_at:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
          time.sleep(0.2 if kill_at is None else 0.05)
      finally:
        over.set()
        watcher.join()
      log.seek(0)
      text = log.read()
    found = _DONE.search(text)
    if process.returncode or not found:
      raise RuntimeError(f"the command failed:\n{text[-2000:]}")
    return {"made": int(found[1]), "found": int(found[2]), "seconds": float(found[3])}

  def _watch(self, pid: int, over: threading.Event) -> None:
    """The largest process's memory, twice a second, in MiB."""
    while not over.wait(0.5):
      try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        self.memory.append(max(member.memory_info().rss for member in family) / 2 ** 20)
      except psutil.Error:
        continue

  def shards(self) -> List[dict]:
    """Of the manifest."""
    with open(os.path.join(self.work.folder.path, "manifest.json"), encoding="utf-8") as file:
      return json.load(file)["shards"]


def _bare(arguments, rows: int) -> float:
  """Seconds a row of the compiled drawing alone."""
  model = bulk_model.load(None, arguments.run_dir, 1)
  request = bulk_request.Request("draw", "", "drawings", arguments.num_images, rows)
  blocks = [range(start, start + arguments.rows_at_once) for start in range(0, rows, arguments.rows_at_once)]
  inputs = [(request.weights(block, model.class_names), request.seeds(block)) for block in blocks]
  model.draw(*inputs[0])
  began = time.perf_counter()
  for weights, seeds in inputs:
    model.draw(weights, seeds)
  return (time.perf_counter() - began) / (len(blocks) * arguments.rows_at_once)


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--run_dir", default="zoo/digits_score")
  parser.add_argument("--num_images", type=int, default=100000)
  parser.add_argument("--images_per_shard", type=int, default=2500)
  parser.add_argument("--rows_at_once", type=int, default=48)
  parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
  parser.add_argument("--kills", type=int, default=5)
  parser.add_argument("--out", required=True, help="FILE.json")
  return parser.parse_args()


def main() -> None:
  arguments = _parse()
  report = {"settings": vars(arguments), **measure.circumstances(1), "runs": {}}
  rng, hashes = np.random.default_rng(0), {}
  sample = min(arguments.num_images, max(1, 2000 // arguments.rows_at_once) * arguments.rows_at_once)
  with tempfile.TemporaryDirectory() as folder:
    bare = [_bare(arguments, sample)]
    whole = Drawing(arguments, os.path.join(folder, "whole"), 1)
    seconds = whole.run()["seconds"]
    hashes["unbroken"] = whole.shards()
    bare.append(_bare(arguments, sample))
    third = max(1, len(whole.memory) // 3)
    report.update(
        pipeline_over_bare=seconds / (arguments.num_images * float(np.mean(bare))),
        bare_seconds_a_row=bare, unbroken_seconds=seconds,
        memory_mib={"middle": float(np.median(whole.memory[third:2 * third])),
                    "end": float(np.median(whole.memory[-third:]))})
    print(f"pipeline over bare {report['pipeline_over_bare']:.3f}, memory {report['memory_mib']}", flush=True)
    for processes in arguments.processes:
      out = os.path.join(folder, str(processes))
      drawing, kills = Drawing(arguments, out, processes), np.sort(rng.uniform(0.02, 0.95, arguments.kills))
      killed = sum(drawing.run(int(share * arguments.num_images)) is None for share in kills)
      last = drawing.run()
      hashes[processes] = drawing.shards()
      lost = killed * processes * arguments.rows_at_once
      redrawn = drawing.drawn() / arguments.num_images - 1
      report["runs"][str(processes)] = {"kills": killed, **last, "redrawn": redrawn,
                                        "lost_at_most": lost / arguments.num_images}
      print(f"{processes} processes: {killed} kills, redrawn {redrawn:.2%}, at most "
            f"{lost / arguments.num_images:.2%} in the making", flush=True)
      shutil.rmtree(out)
  report["equal_manifests"] = all(shards == hashes["unbroken"] for shards in hashes.values())
  print("equal manifests:", report["equal_manifests"])
  measure.write_json(arguments.out, report)


if __name__ == "__main__":
  main()
