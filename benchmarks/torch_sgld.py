"""JEM's SGLD step (github wgrathwohl/JEM, train_wrn_ebm.py, sample_q) in PyTorch, as a child of benchmarks/sampler.py.

A process of its own, so that two libraries do not share one pool of threads. It reads a JSON line and answers with one:
    {"check": FILE.npz}          logits and input gradients of the images in the file, written to FILE.npz.answer.npz
    {"layout": NAME, "steps": N}   seconds of N steps, "contiguous" or "channels_last"
"""

import argparse
import json
import sys
import time

import numpy as np
import torch
from torch_wide_resnet import WideResnet

_STEP, _NOISE = 1.0, 0.01
_LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def _check(weights, depth: int, path: str) -> None:
  network = WideResnet(weights, depth).eval()
  with np.load(path) as given:
    images = torch.from_numpy(given["images"].transpose(0, 3, 1, 2).copy()).requires_grad_()
    labels = torch.from_numpy(given["labels"])
  logits = network(images)
  gradient = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), [images])[0]
  np.savez(path + ".answer.npz", logits=logits.detach().numpy(), gradient=gradient.numpy().transpose(0, 2, 3, 1))


class _Sampler:
  """JEM's loop on one memory layout."""

  def __init__(self, weights, depth: int, layout: str, batch_size: int, image_size: int):
    self._format = _LAYOUTS[layout]
    self._network = WideResnet(weights, depth).eval().to(memory_format=self._format)
    images = torch.empty(batch_size, 3, image_size, image_size).uniform_(-1, 1)
    self._images = images.to(memory_format=self._format).requires_grad_()
    self._labels = torch.arange(batch_size) % self._network.layers["logits"].out_features

  def run(self, steps: int) -> dict:
    wall, cpu = time.perf_counter(), time.process_time()
    images = self._images
    for _ in range(steps):
      energy = self._network(images).gather(1, self._labels[:, None]).sum()
      gradient = torch.autograd.grad(energy, [images], retain_graph=True)[0]
      images.data += _STEP * gradient + _NOISE * torch.randn_like(images)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--weights", required=True, help="FILE.npz")
  parser.add_argument("--threads", type=int, required=True)
  parser.add_argument("--depth", type=int, required=True)
  parser.add_argument("--batch_size", type=int, required=True)
  parser.add_argument("--image_size", type=int, required=True)
  arguments = parser.parse_args()
  torch.set_num_threads(arguments.threads)
  with np.load(arguments.weights) as file:
    weights = dict(file)
  samplers = {layout: _Sampler(weights, arguments.depth, layout, arguments.batch_size, arguments.image_size)
              for layout in _LAYOUTS}
  print(json.dumps({"torch": torch.__version__}), flush=True)
  for line in sys.stdin:
    request = json.loads(line)
    if "check" in request:
      _check(weights, arguments.depth, request["check"])
      print("{}", flush=True)
    else:
      print(json.dumps(samplers[request["layout"]].run(request["steps"])), flush=True)


if __name__ == "__main__":
  main()
