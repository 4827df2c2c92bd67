"""The PyTorch process that benchmarks/sampler.py measures itself against."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from typing import Iterator, Mapping

import numpy as np

from benchmarks import measure

LAYOUTS = ("contiguous", "channels_last")


def is_installed() -> bool:
  """Whether PyTorch can be imported by this interpreter."""
  return importlib.util.find_spec("torch") is not None


class TorchChild:
  """A running benchmarks/torch_sgld.py."""

  def __init__(self, process: subprocess.Popen, folder: str):
    self._process = process
    self._folder = folder
    self.version = self._answer()["torch"]

  def _answer(self) -> dict:
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError("the PyTorch process ended; its error is above")
    return json.loads(line)

  def _ask(self, request: dict) -> dict:
    self._process.stdin.write(json.dumps(request) + "\n")
    self._process.stdin.flush()
    return self._answer()

  def logits_and_gradient(self, images: np.ndarray, labels: np.ndarray):
    """What the port says: logits [B, K] and the gradient of each image's own class's logit [B, H, W, C]."""
    path = os.path.join(self._folder, "check.npz")
    np.savez(path, images=images, labels=labels)
    self._ask({"check": path})
    with np.load(path + ".answer.npz") as answer:
      return answer["logits"], answer["gradient"]

  def contestant(self, layout: str, steps: int) -> measure.Contestant:
    """So many SGLD steps in one of LAYOUTS."""
    return lambda: measure.Elapsed(**self._ask({"layout": layout, "steps": steps}))


@contextlib.contextmanager
def start(weights: Mapping[str, np.ndarray], threads: int, depth: int, batch_size: int,
          image_size: int) -> Iterator[TorchChild]:
  """Starts the process on these weights, and ends it."""
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "weights.npz")
    np.savez(path, **weights)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch_sgld.py")
    process = subprocess.Popen(
        [sys.executable, script, f"--weights={path}", f"--threads={threads}", f"--depth={depth}",
         f"--batch_size={batch_size}", f"--image_size={image_size}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
      yield TorchChild(process, folder)
    finally:
      process.stdin.close()
      try:
        process.wait(30)
      except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
