"""Optimizers of --optimizer: Adam, and Muon, whose steps are of equal size in all directions of a kernel."""

import keras
import tensorflow as tf

from stic_tf import config as config_lib

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic, which drives singular values to about 1 in few rounds
_ROUNDS = 5
_MOMENTUM = 0.95
_ROOT_MEAN_SQUARE = 0.2  # of a step over the learning rate, about that of Adam's (Liu et al. 2025)


def orthogonalised(matrix: tf.Tensor) -> tf.Tensor:
  """About U Vᵀ of a matrix U Σ Vᵀ, by a Newton-Schulz iteration of matrix products; float32 [M, N] -> [M, N].

  Singular values come to lie between .7 and 1.2, those of less than about 1e-3 of the Frobenius norm lower.
  """
  tall = matrix.shape[0] > matrix.shape[1]
  x = tf.transpose(matrix) if tall else matrix
  x /= tf.norm(x) + 1e-12
  a, b, c = _COEFFICIENTS
  for _ in range(_ROUNDS):
    square = tf.matmul(x, x, transpose_b=True)
    x = a * x + tf.matmul(b * square + c * tf.matmul(square, square), x)
  return tf.transpose(x) if tall else x


class Muon(keras.optimizers.Adam):
  """Muon (Jordan et al. 2024) for kernels of convolutions [H, W, C, C'], as matrices [H·W·C, C']; Adam for the rest.

  Takes the arguments of Adam; `beta_1`, `beta_2` and `epsilon` are those of what is not a kernel.
  """

  def add_variable_from_reference(self, model_variable, variable_name, shape=None, initial_value=None):
    if variable_name == "v" and model_variable.shape.rank == 4:
      shape = ()  # a kernel has no use for Adam's mean square
    return super().add_variable_from_reference(model_variable, variable_name, shape, initial_value)

  def update_step(self, gradient, variable):
    if variable.shape.rank != 4:
      super().update_step(gradient, variable)
      return
    momentum = self._momentums[self._index_dict[self._var_key(variable)]]
    momentum.assign(_MOMENTUM * momentum + gradient)
    matrix = tf.reshape(gradient + _MOMENTUM * momentum, [-1, variable.shape[-1]])  # Nesterov's
    scale = _ROOT_MEAN_SQUARE * max(matrix.shape) ** 0.5 * tf.cast(self.learning_rate, variable.dtype)
    variable.assign_sub(tf.reshape(scale * orthogonalised(matrix), variable.shape))


BY_NAME = {"adam": keras.optimizers.Adam, "muon": Muon}


def build(training: config_lib.TrainingConfig, variables, **more) -> keras.optimizers.Optimizer:
  """The optimizer of --optimizer, --learning_rate and --weight_decay for trainable variables; `more` is of Adam's."""
  # A smaller beta_2 than Keras' forgets the gradients of an earlier noise level sooner.
  optimizer = BY_NAME[training.optimizer](training.learning_rate, beta_2=0.99, jit_compile=False,
                                          weight_decay=training.weight_decay or None, **more)
  # A shift, or how far a branch opens, has no norm that should fall.
  optimizer.exclude_from_weight_decay([value for value in variables
                                       if value.shape.rank < 2 or "bias" in value.name])
  return optimizer
