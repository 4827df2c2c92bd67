"""Every part that is chosen by name: one line a part, and one file where it lives. No TensorFlow here.

A part from elsewhere is added the same way: `registries.KERNELS["mine"] = Entry("my_package.my_module:MyKernel")`.
"""

import dataclasses
import importlib
from typing import Any, Callable, Tuple, Union


@dataclasses.dataclass(frozen=True)
class Entry:
  """A part: where it is defined, and the settings that it reads and others of its kind may not.

  Attributes:
    target: "module:name", imported when first asked for, or the object itself.
    reads: names of the settings that it reads.
    network: of a system, the name that --network=auto stands for; "" where the image's size decides.
    suffix: of a system, what the default name of its run folder adds to that of the data set.
    sampler_names: of a system, the kernels that it draws with; none named: all.
  """

  target: Union[str, Callable]
  reads: Tuple[str, ...] = ()
  network: str = ""
  suffix: str = ""
  sampler_names: Tuple[str, ...] = ()


class Registry(dict):
  """Entries by name; a name is what a flag's value names."""

  def load(self, name: str) -> Any:
    """The object called `name`. Raises KeyError where there is none."""
    target = self[name].target
    if not isinstance(target, str):
      return target
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


# (config, image_shape, num_classes, seed, conditioned) -> keras.Model; see networks/build.py.
NETWORKS = Registry(
    small=Entry("stic_tf.networks.convolutional:small", ("width",)),
    wide_resnet=Entry("stic_tf.networks.convolutional:wide", ("depth", "widen")),
    attentive=Entry("stic_tf.networks.attentive:attentive", ("width", "tile_grid", "view_size")),
    energy=Entry("stic_tf.networks.energy:energy", ("width", "blocks", "attention_side")),
    unet=Entry("stic_tf.networks.unet:unet", ("width", "blocks", "attention_side")),
    attentive_unet=Entry("stic_tf.networks.attentive_unet:attentive_unet",
                         ("width", "blocks", "attention_side", "tile_grid")))

# image_shape -> preconditioners.base.Preconditioner, fitted to one noise level, or knowing every level.
PRECONDITIONERS = Registry(
    dense=Entry("stic_tf.preconditioners.dense:Dense"),
    low_rank=Entry("stic_tf.preconditioners.low_rank:LowRank"),
    spectral=Entry("stic_tf.preconditioners.spectral:Spectral"),
    identity=Entry("stic_tf.preconditioners.identity:Identity"),
    pixels=Entry("stic_tf.preconditioners.identity:Pixels"))
LEVEL_PRECONDITIONERS = Registry(
    dense=Entry("stic_tf.preconditioners.dense:DenseLevels"),
    spectral=Entry("stic_tf.preconditioners.spectral:SpectralLevels"),
    identity=Entry("stic_tf.preconditioners.identity:IdentityLevels"))

# image_shape -> networks.gaussians.Isotropic: what energies at noise levels have in common.
GAUSSIANS = Registry(
    isotropic=Entry("stic_tf.networks.gaussians:Isotropic"),
    cosine=Entry("stic_tf.networks.gaussians:Cosine"),
    point=Entry("stic_tf.networks.gaussians:Point"))

# (evaluate, size) -> mcmc.kernel.Kernel.
KERNELS = Registry(
    grmala=Entry("stic_tf.mcmc.mala:Mala"),
    unadjusted=Entry("stic_tf.mcmc.mala:unadjusted"),
    jem_sgld=Entry("stic_tf.mcmc.sgld:Sgld"))

# () -> diffusion.solver.Solver.
SOLVERS = Registry(
    heun=Entry("stic_tf.diffusion.heun:Heun"),
    dpm_solver_pp=Entry("stic_tf.diffusion.dpm_solver_pp:DpmSolverPP"),
    none=Entry("stic_tf.diffusion.solver:Stay"))

# (network, num_classes, config, class_names, seed, average, image_shape) -> systems.base.System.
SYSTEMS = Registry(
    stic=Entry("stic_tf.systems.stic:STIC", ("walk",)),
    attentive=Entry("stic_tf.systems.attentive:AttentiveSTIC", ("walk", "strokes"), "attentive", "_attentive"),
    score=Entry("stic_tf.systems.score:ScoreSTIC", ("score", "strokes"), "energy", "_score",
                ("grmala", "unadjusted")))
