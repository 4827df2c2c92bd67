"""The README's "Your own network" is run as it stands there."""

import pathlib
import re

import numpy as np
import tensorflow as tf

# resolve(): under Bazel this file is a link into the checkout.
README = pathlib.Path(__file__).resolve().parents[1] / "README.md"
LINES_AT_MOST = 15


def _block(heading: str) -> str:
  """The one Python block of a section."""
  section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
  (block,) = re.findall(r"^```python\n(.*?)^```$", section.group(1), re.DOTALL | re.MULTILINE)
  return block


def test_your_own_network(tmp_path, monkeypatch):
  block, names = _block("Your own network"), {}
  assert len(block.splitlines()) <= LINES_AT_MOST
  monkeypatch.chdir(tmp_path)
  exec(compile(block, str(README), "exec"), names)
  drawings = names["drawings"]
  assert drawings.images.shape == (3, 8, 8, 1) and drawings.images.dtype == np.uint8
  assert (drawings.images[1] != drawings.images[2]).any() and np.isfinite(drawings.log_density).all()
  assert int(names["model"].passes_done) == 2
  exported = tf.saved_model.load(str(tmp_path / "models" / "own" / "1"))
  assert {"classify", "synthesize"} <= set(exported.signatures)
