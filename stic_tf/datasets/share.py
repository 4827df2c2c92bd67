"""Which rows of every batch a worker reads: random numbers are made for whole batches, images are read for its rows."""

from typing import NamedTuple

import tensorflow as tf


class Rows(NamedTuple):
  """`count` rows of a batch of `of`, from `first` on, round its end where they pass it."""

  first: int
  count: int
  of: int

  def numbers(self) -> list:
    """Their numbers in the batch."""
    return [(self.first + place) % self.of for place in range(self.count)]

  def of_batch(self, values: tf.Tensor) -> tf.Tensor:
    """These rows of a whole batch's values [of, …]."""
    return values if (self.first, self.count) == (0, self.of) else tf.gather(values, self.numbers())


class Share(NamedTuple):
  """Part `number` of `of` equal parts of every batch."""

  number: int = 0
  of: int = 1

  def rows(self, batch_size: int, with_neighbour: bool = False) -> Rows:
    """Its rows of a batch that the parts divide; `with_neighbour` with the one before them, unless it is whole."""
    count = batch_size // self.of
    before = int(with_neighbour and self.of > 1)
    return Rows((self.number * count - before) % batch_size, count + before, batch_size)


WHOLE = Share()
