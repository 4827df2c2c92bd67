"""Where a training that diverged goes back to."""

import os

import numpy as np
import tensorflow as tf

from trainers import checkpointing


class _System:
  """What a Checkpointer asks of a system."""

  def __init__(self, updates):
    self.passes_done, self.pass_updates = tf.Variable(0), tf.Variable(updates)

  def state(self):
    return {"updates": self.pass_updates.numpy()}

  def load_state(self, arrays):
    self.pass_updates.assign(arrays["updates"])


def _after(checkpointer, system):
  checkpointer.fall_back(system)
  return int(system.pass_updates.numpy())


def test_a_checkpoint_that_diverges_twice_gives_way_to_the_one_before(tmp_path):
  """As the update before it may be what went wrong; a new one has its chance too, and the last one stays."""
  checkpointer, system = checkpointing.Checkpointer(str(tmp_path), {}), _System(5)
  for updates in (5, 9):
    system.pass_updates.assign(updates)
    checkpointer.save(system, [], 0.0)
  assert [_after(checkpointer, system) for _ in range(2)] == [9, 5]
  system.pass_updates.assign(8)
  checkpointer.save(system, [], 0.0)
  assert [_after(checkpointer, system) for _ in range(4)] == [8, 5, 5, 5]
  assert os.listdir(tmp_path) == ["pass_0000_update_000005.npz"]


def test_a_new_process_begins_with_the_newest(tmp_path):
  system = _System(5)
  first = checkpointing.Checkpointer(str(tmp_path), {})
  for updates in (5, 9):
    system.pass_updates.assign(np.int32(updates))
    first.save(system, [], 0.0)
  assert _after(first, system) == 9
  again = checkpointing.Checkpointer(str(tmp_path), {})
  assert again.restore(system) == ([], 0.0) and int(system.pass_updates.numpy()) == 9
  assert [_after(again, system) for _ in range(2)] == [9, 5]
