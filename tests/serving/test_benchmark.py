"""benchmarks/serving.py runs on a model with the signature of an export, and writes its keys."""

import json
import subprocess
import sys
from concurrent import futures

import pytest
import tensorflow as tf

from benchmarks import serving
from tests.serving import running_server
from tests.serving import stand_in


def test_the_benchmark(tmp_path):
  stand_in.save(str(tmp_path / "export" / "1"))
  out = tmp_path / "serving.json"
  ended = subprocess.run(
      [sys.executable, "benchmarks/serving.py", f"--export_dir={tmp_path / 'export'}", f"--out={out}", "--num_steps=5",
       "--repetitions=2", "--calls=1", "--memory_requests=50", "--threads=1"],
      cwd=running_server.ROOT, capture_output=True, text=True, timeout=300)
  assert ended.returncode == 0, ended.stderr
  report = json.loads(out.read_text())
  assert report["p50_over_in_process"] > 0 and report["batched_throughput_over_in_process"] > 0
  assert abs(report["memory_growth_mib"]) < 200
  assert report["threads"] == 1 and report["versions"]["tensorflow"] == tf.__version__ and report["device"]


def test_rest_batching_and_the_soak(tmp_path):
  """Moments of each; the soak's versions come quicker than they load, and no honest request may notice."""
  stand_in.save(str(tmp_path / "export" / "1"))
  commands = [[sys.executable, f"benchmarks/{name}.py", f"--export_dir={tmp_path / 'export'}",
               f"--out={tmp_path / name}.json", *more]
              for name, more in (("rest", ("--repetitions=1", "--requests=16")), ("soak", ("--minutes=0.05",)),
                                  ("batching", ("--settings=none,16:5", "--clients=1,4", "--seconds=0.5")))]
  with futures.ThreadPoolExecutor(2) as pool:  # each waits for servers to start for most of its time
    for ended in pool.map(lambda command: subprocess.run(command, cwd=running_server.ROOT, capture_output=True,
                                                         text=True, timeout=300), commands):
      assert ended.returncode == 0, ended.stderr
  report = json.loads((tmp_path / "rest.json").read_text())
  assert not report["failures"] and report["rest_over_grpc"]["median"] > 0 and report["json_ms"] > 0
  report = json.loads((tmp_path / "soak.json").read_text())
  assert set(report["memory_mib"]) == {"start", "middle", "start again", "end"}
  assert min(report["requests"].values()) > 10 and report["failures"]["away"]
  assert not report["failures_not_asked_for"], report["failures"]
  loads = json.loads((tmp_path / "batching.json").read_text())["loads"]
  assert set(loads) == {"none", "16:5"}
  assert all(one["drawings_a_second"] > 0 and 0 < one["p50_ms"] <= one["p99_ms"]
             for load in loads.values() for one in load.values()) and set(loads["none"]) == {"1", "4"}


def test_an_empty_export_folder_is_named(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["serving.py", f"--export_dir={tmp_path}", "--out=x"])
  with pytest.raises(SystemExit) as caught:
    serving.main()
  assert caught.value.code == 2
  assert capsys.readouterr().err.endswith(f"--export_dir={tmp_path}: has no numbered folder\n")
