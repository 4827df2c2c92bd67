"""A run of seconds, as a user would start it, and how two runs are compared."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np

MAIN = str(pathlib.Path(__file__).parents[1] / "trainers" / "main.py")
NUM_PASSES, UPDATES_PER_PASS = 2, 15
FLAGS = (
    "--dataset=digits", f"--num_passes={NUM_PASSES}", f"--updates_per_pass={UPDATES_PER_PASS}", "--batch_size=16",
    "--width=8", "--chains=32", "--pool_capacity=40", "--num_steps=6", "--pass_steps=4",
    # 100 is also the batch of the interpolation: one trace for all drawings.
    "--num_samples=100", "--pass_samples=100")
_WALK = ("--training_steps=3",)  # Score-STIC does not read it
# What may differ between two equal runs: clocks, and the commit while someone works on the checkout.
_CLOCKS = {"seconds", "seconds_training", "images_per_second_sampling", "git_commit"}


def flags(*others: str) -> tuple:
  """The flags of a tiny run, `others` last."""
  return (*FLAGS, *(() if "--model=score" in others else _WALK), *others)


def train(run_dir: str, judge_cache: str, *others: str) -> None:
  """Runs `trainers/main.py` in a process of its own and waits for it."""
  command = [sys.executable, MAIN, *flags(*others), f"--run_dir={run_dir}", f"--cache_dir={judge_cache}"]
  finished = subprocess.run(command, capture_output=True, text=True, check=False)
  assert finished.returncode == 0, finished.stderr


def metrics(run_dir: str) -> list:
  """The rows of metrics.jsonl."""
  with open(os.path.join(run_dir, "metrics.jsonl"), encoding="utf-8") as file:
    return [json.loads(line) for line in file]


def summary(run_dir: str) -> dict:
  """summary.json."""
  with open(os.path.join(run_dir, "summary.json"), encoding="utf-8") as file:
    return json.load(file)


def without_clocks(row: dict) -> dict:
  """A row of metrics.jsonl or a summary without what a clock gave."""
  return {name: value for name, value in row.items() if name not in _CLOCKS}


def assert_same_run(run_dir: str, other: str) -> None:
  """Two finished runs have the same numbers, bit by bit: log, summary and all of the last checkpoint's arrays."""
  assert [without_clocks(row) for row in metrics(run_dir)] == [without_clocks(row) for row in metrics(other)]
  assert without_clocks(summary(run_dir)) == without_clocks(summary(other))
  name = os.path.join("checkpoints", f"pass_{NUM_PASSES:04d}.npz")
  with np.load(os.path.join(run_dir, name)) as arrays, np.load(os.path.join(other, name)) as other_arrays:
    assert arrays.files == other_arrays.files
    differing = [entry for entry in arrays.files
                 if entry != "description" and not np.array_equal(arrays[entry], other_arrays[entry])]
  assert not differing
