"""What a device that has no bfloat16 makes of --mixed_precision, and a run that goes on in another precision."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import replicas
from trainers import checkpointing
from trainers import train


@pytest.mark.parametrize("has_it", [True, False])
def test_without_bfloat16_training_is_in_float32_and_says_so(monkeypatch, capsys, has_it):
  monkeypatch.setattr(replicas, "computes_bfloat16", lambda: has_it)
  config = train.precise(config_lib.RunConfig().replace(mixed_precision=True))
  assert config.training.mixed_precision == has_it
  said = capsys.readouterr().err
  assert said == ("" if has_it else "warning: --mixed_precision: this device does not compute in bfloat16; training in "
                  "float32\n")
  assert train.precise(config_lib.RunConfig()) == config_lib.RunConfig() and not capsys.readouterr().err


class _Stub:
  """What a Checkpointer asks of a system."""

  passes_done, pass_updates = tf.constant(1), tf.constant(0)

  def state(self):
    return {"weights": np.ones(2)}

  def load_state(self, arrays):
    self.loaded = arrays


@pytest.mark.parametrize("now, warns", [("bfloat16", False), ("float32", True)])
def test_a_run_that_goes_on_in_another_precision_says_so_in_one_line(tmp_path, capsys, now, warns):
  checkpointing.Checkpointer(str(tmp_path), {"precision": "bfloat16"}).save(_Stub(), [], 3.0)
  system = _Stub()
  assert checkpointing.Checkpointer(str(tmp_path), {"precision": now}).restore(system) == ([], 3.0)
  assert (system.loaded["weights"] == 1).all()
  said = capsys.readouterr().err
  assert said.count("\n") == warns
  assert not warns or said.startswith("warning: trained in bfloat16 so far, ") and "goes on in float32" in said
