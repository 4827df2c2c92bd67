"""The wide residual network of `stic_tf.networks.convolutional` in PyTorch, with the same weights.

Imported only in the child process that `benchmarks/torch_sgld.py` is.
"""

from typing import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class WideResnet(nn.Module):
  """WRN-depth-widen with swish and one learnt number a branch; images [B, C, H, W] -> logits [B, K].

  Args:
    weights: arrays by "layer/variable", as Keras names and shapes them.
    depth: 6n + 4.
  """

  def __init__(self, weights: Mapping[str, np.ndarray], depth: int):
    super().__init__()
    self.blocks_per_group = (depth - 4) // 6
    self.layers = nn.ModuleDict()
    self.scales = {}
    for name, array in weights.items():
      layer, variable = name.split("/")
      if variable == "kernel":
        bias = torch.from_numpy(weights[f"{layer}/bias"])
        self.layers[layer] = self._dense(array, bias) if array.ndim == 2 else self._convolution(layer, array, bias)
      elif variable == "scale":
        self.scales[layer] = nn.Parameter(torch.from_numpy(array))
    # JEM asks for the input's gradient alone; without this a layer might still prepare for its weights'.
    self.requires_grad_(False)

  @staticmethod
  def _dense(kernel, bias):
    layer = nn.Linear(*kernel.shape)
    layer.weight.data, layer.bias.data = torch.from_numpy(kernel.T.copy()), bias
    return layer

  def _convolution(self, name, kernel, bias):
    height, _, inputs, outputs = kernel.shape
    stride = 2 if "group0" not in name and "_block0" in name and not name.endswith("_conv2") else 1
    # TensorFlow's "same" for kernels of 1, 3 and, with stride 2 on an even number of pixels, 4.
    layer = nn.Conv2d(inputs, outputs, height, stride, padding=(height - 1) // 2)
    layer.weight.data, layer.bias.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), bias
    return layer

  def forward(self, images):
    hidden = self.layers["stem"](images)
    for group in range(3):
      for block in range(self.blocks_per_group):
        name = f"group{group}_block{block}"
        active = functional.silu(hidden)
        branch = self.layers[f"{name}_conv1"](active)
        branch = self.layers[f"{name}_conv2"](functional.silu(branch)) * self.scales[f"{name}_scale"]
        if f"{name}_skip" in self.layers:
          hidden = self.layers[f"{name}_skip"](active)
        hidden = hidden + branch
    return self.layers["logits"](functional.silu(hidden).mean((2, 3)))
