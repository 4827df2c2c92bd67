"""What a number or an exported model was made with: the code's commit and the versions under it."""

import importlib.metadata
import os
import subprocess
from typing import Dict

import keras
import numpy as np
import tensorflow as tf

from stic_tf import __version__


def versions() -> Dict[str, str]:
  """Versions that a number in the summary may depend on."""
  return {"stic_tf": __version__, "tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__,
          "absl": importlib.metadata.version("absl-py")}


def git_commit() -> str:
  """The commit of the code that runs, "-dirty" where files differ from it, or "unknown" outside a checkout."""
  folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
  if not os.path.exists(os.path.join(folder, ".git")):  # git would find the repository that an environment lies in
    return "unknown"
  try:
    return subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], cwd=folder,
                          capture_output=True, text=True, check=True, timeout=10).stdout.strip()
  except (OSError, subprocess.SubprocessError):
    return "unknown"
