"""Keeps something of a chain as it goes: the canvas at some steps, to be watched, or a number at every step."""

from typing import Callable, Sequence

import tensorflow as tf


class Recorder:
  """Renders the state at n checkpoints: after ⌈num_steps·(j/n)²⌉ steps, j = 1 … n, of each image's own number of steps.

  They are dense at the start, where most happens; the last is the finished drawing. Recording never feeds back into
  the chain.

  Args:
    render: chain state -> canvas, a uint8 tensor [B, *canvas_shape].
    num_frames: n, at least 1. An image of fewer steps has the same canvas in several frames.
    canvas_shape: (H, W, C).
  """

  def __init__(self, render: Callable, num_frames: int, canvas_shape: Sequence[int]):
    self._render, self._num_frames, self._canvas_shape = render, num_frames, tuple(canvas_shape)
    self.shape = tf.TensorShape([num_frames, None, *canvas_shape])

  def begin(self, batch: tf.Tensor) -> tf.Tensor:
    """Frames of `batch` images before the first step: uint8 [n, B, H, W, C]."""
    return tf.zeros(tf.concat([[self._num_frames, batch], self._canvas_shape], axis=0), tf.uint8)

  def update(self, frames: tf.Tensor, state, steps_done: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
    """Frames after `steps_done` (int32 scalar) of `num_steps` (int32 [B]) steps; rendered only where one is due."""
    squares = tf.square(tf.range(1, self._num_frames + 1, dtype=tf.int64))[:, tf.newaxis]
    all_squares = self._num_frames ** 2
    checkpoints = (squares * tf.cast(num_steps, tf.int64) + all_squares - 1) // all_squares
    due = tf.equal(tf.cast(steps_done, tf.int64), checkpoints)
    rows = due[:, :, tf.newaxis, tf.newaxis, tf.newaxis]
    return tf.cond(tf.reduce_any(due), lambda: tf.where(rows, self._render(state), frames), lambda: frames)


class Trace:
  """Keeps numbers of each chain after every step: log π, for what `metrics.sampler_health` makes of it, or others.

  Args:
    num_steps: n, of the longest chain.
    names: of the numbers, attributes of a state.
  """

  def __init__(self, num_steps: int, names: Sequence[str] = ("log_density",)):
    self._num_steps, self._names = num_steps, tuple(names)
    self.shape = tf.TensorShape([num_steps, len(self._names), None])

  def begin(self, batch: tf.Tensor) -> tf.Tensor:
    """Before the first step: float32 [n, names, B]."""
    return tf.zeros([self._num_steps, len(self._names), batch])

  def update(self, trace: tf.Tensor, state, steps_done: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
    """The trace after `steps_done` (int32 scalar) steps; within a step, 0, it is as it was."""
    del num_steps
    row = tf.stack([getattr(state, name) for name in self._names])
    return tf.cond(steps_done > 0, lambda: tf.tensor_scatter_nd_update(trace, [[steps_done - 1]], row[tf.newaxis]),
                   lambda: trace)


def batch_first(frames):
  """Frames [n, B, …] -> [B, n, …]; () stays ()."""
  return tf.transpose(frames, [1, 0, 2, 3, 4]) if isinstance(frames, tf.Tensor) else frames
