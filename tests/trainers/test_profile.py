"""--profile_steps and TensorBoard: read back as TensorBoard does."""

import glob
import os

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from tests import tiny_run


def test_the_trace_has_the_steps_asked_for(trained_run):
  (path,) = glob.glob(os.path.join(trained_run, "tensorboard", "plugins", "profile", "*", "*.xplane.pb"))
  space = xplane_pb2.XSpace()
  with open(path, "rb") as file:
    space.ParseFromString(file.read())
  (host,) = [plane for plane in space.planes if plane.name == "/host:CPU"]
  events = {number: data.name for number, data in host.event_metadata.items()}
  stats = {number: data.name for number, data in host.stat_metadata.items()}
  steps = [{stats[stat.metadata_id]: stat.int64_value for stat in event.stats}["step_num"]
           for line in host.lines for event in line.events if events[event.metadata_id] == "train"]
  assert sorted(steps) == [2, 3, 4, 5]  # Keras numbers the updates of a pass from 0


@pytest.fixture(scope="module")
def board(trained_run):
  accumulator = event_accumulator.EventAccumulator(
      os.path.join(trained_run, "tensorboard"), {"tensors": 0, "images": 0, "scalars": 0})
  return accumulator.Reload()


def test_the_scalars_of_each_pass(board, trained_run):
  rows = tiny_run.metrics(trained_run)
  for name in ("validation_accuracy", "fid", "fid_floor", "cas", "acceptance_rate", "loss_classification"):
    events = board.Tensors(name)
    assert [event.step for event in events] == [row["step"] for row in rows]
    values = [float(tf.make_ndarray(event.tensor_proto)) for event in events]
    assert values == pytest.approx([row[name] for row in rows], rel=1e-6)


def test_the_grids_and_the_flags(board, trained_run):
  # Width and height as text, then the pictures.
  assert [event.tensor_proto.string_val[:2] for event in board.Tensors("drawings")] == [[b"340", b"340"]] * 2
  (event,) = board.Tensors("flags")
  with open(os.path.join(trained_run, "flags.txt"), encoding="utf-8") as file:
    assert all(line.strip() in event.tensor_proto.string_val[0].decode() for line in file)
