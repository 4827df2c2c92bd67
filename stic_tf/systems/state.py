"""A system's variables by name: what a checkpoint holds, and how it comes back."""

from typing import Dict

import numpy as np
import tensorflow as tf

from stic_tf import checkpoint

_POOL_ROWS = tuple(f"pool/{name}" for name in ("images", "labels", "shares", "passes"))


class Stateful:
  """The part of a System that knows its variables by name."""

  def own_variables(self) -> Dict[str, Dict[str, tf.Variable]]:
    """Groups of further variables that drawing needs."""
    return {}

  def drawing_variables(self) -> Dict[str, tf.Variable]:
    """What a classifier that only draws must hold, by name."""
    groups = {"average": _by_name(self.average.variables), "preconditioner": self.preconditioner.named_variables(),
              "scalars": {"step_size": self.step_size, "noise_level": self.noise_level}, **self.own_variables()}
    return _flat(groups)

  def training_variables(self) -> Dict[str, tf.Variable]:
    """Everything a continued training needs, by name."""
    self.prepare_training()
    scalars = (self.updates_done, self.pass_updates, self.passes_done, self.attempt, self.learning_rate_scale,
               self.network_evaluations, self.log_sums)
    return {**self.drawing_variables(), **_flat({
        "network": _by_name(self.network.variables), "optimizer": _by_name(self.optimizer.variables),
        "chains": self.chains.named_variables(), "pool": self.pool.named_variables(),
        "scalars": _by_name(scalars)})}

  def state(self) -> Dict[str, np.ndarray]:
    """Everything a continued training needs, as arrays by name; of the pool only the rows that hold a fake."""
    arrays = checkpoint.collect(self.training_variables())
    return {name: array[:len(self.pool)] if name in _POOL_ROWS else array for name, array in arrays.items()}

  def load_state(self, arrays: Dict[str, np.ndarray]) -> None:
    """Takes back what `state` gave.

    Raises:
      ValueError: an array is missing or of another shape.
    """
    variables = self.training_variables()
    missing = {name: variables[name].shape[0] - len(arrays[name]) for name in _POOL_ROWS if name in arrays}
    checkpoint.assign({**arrays, **{name: np.pad(arrays[name], [(0, rows)] + [(0, 0)] * (arrays[name].ndim - 1))
                                    for name, rows in missing.items() if rows >= 0}}, variables)

  def begin_with(self, arrays: Dict[str, np.ndarray]) -> None:
    """Takes the average weights in another training's `state` as those that this one begins with, and no more of it.

    Raises:
      ValueError: they are not of such a network; nothing has changed then.
    """
    learnt = _by_name(self.network.trainable_variables)
    averages = _by_name(self.average.variables)
    theirs = {name[len("average/"):]: array for name, array in arrays.items() if name.startswith("average/")}
    in_one = sorted(set(theirs) ^ set(averages))
    if in_one:
      raise ValueError(f"only one of them has {in_one[0]}")
    for variables in (learnt, {name: averages[name] for name in learnt}):
      checkpoint.assign(theirs, variables)

  def load_drawing_state(self, arrays: Dict[str, np.ndarray]) -> None:
    """Of what `state` gave takes what drawing needs. Raises ValueError as `load_state`."""
    checkpoint.assign(arrays, self.drawing_variables())


def _by_name(variables) -> Dict[str, tf.Variable]:
  named = {}
  for variable in variables:
    name = variable.name.split(":")[0]
    if name in named:
      raise ValueError(f"two variables are called {name}")
    named[name] = variable
  return named


def _flat(groups: Dict[str, Dict[str, tf.Variable]]) -> Dict[str, tf.Variable]:
  return {f"{group}/{name}": variable for group, named in groups.items() for name, variable in named.items()}
