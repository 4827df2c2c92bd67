"""The Metropolis-adjusted Langevin kernel. With a Gram preconditioner it is GRMALA (docs/equations.md).

In coordinates that the preconditioner whitened a step is plain. In others it takes the factor A of its noise,
x' = x + h·A Aᵀ∇log π(x) + √(2h)·A ξ, and the ratio holds for any A, invertible or not.
"""

from typing import Callable, NamedTuple, Optional

import tensorflow as tf

from stic_tf.mcmc import kernel as kernel_lib
from stic_tf.mcmc import langevin
from stic_tf.mcmc import metropolis


class Factor(NamedTuple):
  """A and Aᵀ, functions on rows [B, D]."""

  color: Callable
  color_transpose: Callable


class Proposal(NamedTuple):
  """Where to, and the gradient that drove it there, Aᵀ∇log π: float32 [B, D] each."""

  position: tf.Tensor
  pulled: tf.Tensor


class Mala(kernel_lib.Kernel):
  """MALA (Roberts & Tweedie 1996).

  Args:
    evaluate, size: as for Kernel.
    factor: A; None for the unit matrix.
    adjust: False for the unadjusted sampler (ablation).
  """

  def __init__(self, evaluate: kernel_lib.Evaluate, size: int, factor: Optional[Factor] = None, adjust: bool = True):
    super().__init__(evaluate, size)
    self.factor, self.adjust, self.exact = factor, adjust, adjust

  def propose(self, state, inputs):
    if self.factor is None:
      move = langevin.move(state.gradient, inputs.noise, inputs.step_size)
      return Proposal(state.position + move, state.gradient)
    pulled = self.factor.color_transpose(state.gradient)
    return Proposal(state.position + self.factor.color(langevin.move(pulled, inputs.noise, inputs.step_size)), pulled)

  def finish(self, state, proposal, evaluation, inputs):
    log_density, gradient = evaluation
    pulled = gradient if self.factor is None else self.factor.color_transpose(gradient)
    log_ratio = (log_density - state.log_density
                 + langevin.log_proposal_ratio(inputs.noise, proposal.pulled, pulled, inputs.step_size))
    proposed = kernel_lib.ChainState(proposal.position, log_density, gradient)
    return metropolis.accept_or_reject(state, proposed, log_ratio, inputs, self.adjust)


def unadjusted(evaluate: kernel_lib.Evaluate, size: int, factor: Optional[Factor] = None) -> Mala:
  """Langevin without the correction: biased, to compare with."""
  return Mala(evaluate, size, factor, adjust=False)
