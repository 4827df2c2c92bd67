"""benchmarks/playground.py where there is no browser: its keys, and the least that its figures must be."""

import json
import os
import subprocess
import sys

from tests.playground import page_models
from tests.serving import running_server


def test_it_writes_its_keys(tmp_path):
  page_models.save_named("m", str(tmp_path), ["a", "b", "c"])
  out = tmp_path / "playground.json"
  finished = subprocess.run(
      [sys.executable, "benchmarks/playground.py", f"--digits_score={tmp_path / 'm'}", f"--out={out}", "--events=3",
       "--seconds=1"], cwd=running_server.ROOT, capture_output=True, text=True, check=False,
      env={**os.environ, "PATH": str(tmp_path)})
  assert finished.returncode == 0, finished.stderr
  report = json.loads(out.read_text())
  assert report["p50_ms"]["mnist_score"] is None and report["p50_ms"]["digits_score"] > 0
  assert report["browser"] is None and 0 < report["events_a_second"] < 21
  one = report["models"]["digits_score"]
  assert one["last_drawn"] and one["most_waiting"] <= 2 and one["drawn_a_second"] > 0
  assert {"device", "threads", "versions"} < set(report)
