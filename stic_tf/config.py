"""Settings of a run as frozen dataclasses: validated on construction, to and from JSON. No TensorFlow here.

The field names are the flag names of `trainers/flags.py`, so that an error about a field names the flag to change.
Parts of the settings belong to some systems or networks only: `registries` says to which, and `RunConfig.check_read`
refuses what the chosen ones do not read.
"""

import dataclasses
import difflib
import math
import re
from typing import Any, Dict, Iterable, Mapping, Sequence

from stic_tf import registries

LOSSES = ("contrastive", "logistic")
REFERENCES = ("gaussian", "flat")
DRAWINGS = ("auto", "whole", "strokes")
# As many chains as have seeds of their own.
MOST_CHAINS = 1 << 20
FAKES_FROM = ("auto", "previous_pass", "current", "canvas", "none")
OPTIMIZERS = ("adam", "muon")
# What a drawing can be asked to do otherwise than the run.
DRAWING_SETTINGS = ("sampler", "num_steps", "temperature", "step_size", "burn_in_fraction", "drawing", "sweep_every",
                    "sigma_min", "sigma_max", "rho", "predictor", "corrector_steps", "guidance", "guidance_from",
                    "guidance_to", "correction", "correction_from", "correction_to")
_FLAG = re.compile(r"(?<![^\s(])--(?=[a-z])")


class ConfigError(ValueError):
  """The user's input is wrong; the message is one line that names the setting and what is allowed.

  Attributes:
    as_flags: that line as a command says it, with settings as --flags; `str` has them as the arguments of Python.
  """

  @property
  def as_flags(self) -> str:
    return self.args[0]

  def __str__(self):
    return _FLAG.sub("", self.as_flags)


def require(condition: bool, flag: str, value: Any, allowed: str) -> None:
  """Raises ConfigError "--flag=value: allowed" unless `condition` holds."""
  if not condition:
    raise ConfigError(f"--{flag}={value}: {allowed}")


def _positive(flag: str, value: float) -> None:
  require(math.isfinite(value) and value > 0, flag, value, "must be a finite number above 0")


def _at_least(flag: str, value: float, least: float) -> None:
  require(math.isfinite(value) and value >= least, flag, value, f"must be a finite number of at least {least}")


def _fraction(flag: str, value: float) -> None:
  require(0.0 <= value <= 1.0, flag, value, "must lie in [0, 1]")


def _one_of(flag: str, value: str, allowed: tuple) -> None:
  require(value in allowed, flag, value, "must be one of " + ", ".join(allowed))


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """Which network, and its size. Raises ConfigError on a value out of range."""

  network: str = "auto"
  width: int = 64
  depth: int = 10
  widen: int = 2
  blocks: str = "2"
  attention_side: int = 8
  tile_grid: int = 4
  view_size: int = 0

  def __post_init__(self):
    _one_of("network", self.network, ("auto", *registries.NETWORKS))
    _at_least("width", self.width, 1)
    require(self.depth >= 10 and (self.depth - 4) % 6 == 0, "depth", self.depth, "must be 6n + 4 (10, 16, 22, 28, …)")
    _at_least("widen", self.widen, 1)
    numbers = str(self.blocks).split(",")
    require(all(number.isascii() and number.isdigit() and int(number) for number in numbers), "blocks", self.blocks,
            "must be a number of at least 1, or one for each resolution: 1,2,2")
    _at_least("attention_side", self.attention_side, 0)
    _at_least("tile_grid", self.tile_grid, 1)
    _at_least("view_size", self.view_size, 0)


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
  """The kernel that draws. Raises ConfigError on a value out of range.

  `num_steps` are those of a fresh drawing: steps of its chain, or noise levels.
  """

  sampler: str = "grmala"
  step_size: float = 0.1
  temperature: float = 1.0
  guidance: float = 0.0
  num_steps: int = 300
  preconditioner: str = "gram"
  target_acceptance: float = 0.574

  def __post_init__(self):
    _one_of("sampler", self.sampler, tuple(registries.KERNELS))
    _positive("step_size", self.step_size)
    _positive("temperature", self.temperature)
    _at_least("guidance", self.guidance, -1)
    _at_least("num_steps", self.num_steps, 1)
    _one_of("preconditioner", self.preconditioner, ("gram", *registries.PRECONDITIONERS))
    require((self.sampler == "jem_sgld") == (self.preconditioner == "pixels"), "preconditioner", self.preconditioner,
            "pixels goes with --sampler=jem_sgld, and that with pixels")
    require(0.0 < self.target_acceptance < 1.0, "target_acceptance", self.target_acceptance, "must lie in (0, 1)")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
  """Recurrent self-analysis, whatever the system. Raises ConfigError on a value out of range.

  `fakes_from` says which classifier draws the fakes of a pass: "previous_pass", the one that the pass before ended
  with, from blank canvases; "current", the one being trained, by chains that persist; "canvas", the same by chains that
  begin on a blank canvas at every update; "none"; or "auto", the system's own choice. An update classifies
  `classification_ratio` images for each whose density it learns, which costs several times as much.
  """

  num_passes: int = 10
  updates_per_pass: int = 400
  batch_size: int = 64
  classification_ratio: int = 1
  fakes_from: str = "auto"
  fake_weight: float = 1.0
  soft_fraction: float = 0.25
  past_fraction: float = 0.1
  pool_capacity: int = 10000
  chains: int = 1000
  optimizer: str = "adam"
  learning_rate: float = 1e-3
  learning_rate_end: float = 0.05
  weight_decay: float = 0.0
  ema_decay: float = 0.999
  mixup_alpha: float = 0.2
  divergence_bound: float = 1e4
  mixed_precision: bool = False
  jit: bool = False

  def __post_init__(self):
    _at_least("num_passes", self.num_passes, 1)
    _at_least("updates_per_pass", self.updates_per_pass, 1)
    _at_least("batch_size", self.batch_size, 1)
    _at_least("classification_ratio", self.classification_ratio, 1)
    _one_of("fakes_from", self.fakes_from, FAKES_FROM)
    _at_least("fake_weight", self.fake_weight, 0)
    _fraction("soft_fraction", self.soft_fraction)
    _fraction("past_fraction", self.past_fraction)
    _at_least("pool_capacity", self.pool_capacity, 1)
    _at_least("chains", self.chains, 1)
    require(self.chains <= MOST_CHAINS, "chains", self.chains, "must be at most 2^20: no more have seeds of their own")
    _one_of("optimizer", self.optimizer, OPTIMIZERS)
    _positive("learning_rate", self.learning_rate)
    _fraction("learning_rate_end", self.learning_rate_end)
    _at_least("weight_decay", self.weight_decay, 0)
    require(self.weight_decay * self.learning_rate < 1.0, "weight_decay", self.weight_decay,
            f"must be below 1 / --learning_rate={self.learning_rate:g}")
    require(0.0 <= self.ema_decay < 1.0, "ema_decay", self.ema_decay, "must lie in [0, 1)")
    _at_least("mixup_alpha", self.mixup_alpha, 0)
    _positive("divergence_bound", self.divergence_bound)

  @property
  def fakes(self) -> bool:
    """Whether anything is learnt from fakes."""
    return self.fakes_from != "none"


@dataclasses.dataclass(frozen=True)
class WalkConfig:
  """Chains that walk in a density smoothed by noise s. Raises ConfigError on a value out of range.

  The smoothing noise s (standard deviation in [-1, 1] pixel units) falls from `noise_start` in the first pass to
  `noise_end`, where it stays for the last `noise_hold` share of the passes. `burn_in_fraction` of a drawing's steps
  adapt h; `training_steps` are those of one training update.
  """

  burn_in_fraction: float = 0.5
  training_steps: int = 20
  restart_probability: float = 0.05
  noisy_weight: float = 0.0
  denoising_weight: float = 0.0
  gram_weight: float = 0.0
  gram_rank: int = 0
  reference: str = "gaussian"
  loss: str = "contrastive"
  energy_decay: float = 0.01
  noise_start: float = 0.5
  noise_end: float = 0.3
  noise_hold: float = 0.4

  def __post_init__(self):
    require(0.0 <= self.burn_in_fraction < 1.0, "burn_in_fraction", self.burn_in_fraction, "must lie in [0, 1)")
    _at_least("training_steps", self.training_steps, 1)
    _fraction("restart_probability", self.restart_probability)
    _at_least("noisy_weight", self.noisy_weight, 0)
    _at_least("denoising_weight", self.denoising_weight, 0)
    _at_least("gram_weight", self.gram_weight, 0)
    _at_least("gram_rank", self.gram_rank, 0)
    _one_of("reference", self.reference, REFERENCES)
    _one_of("loss", self.loss, LOSSES)
    _at_least("energy_decay", self.energy_decay, 0)
    _positive("noise_start", self.noise_start)
    _positive("noise_end", self.noise_end)
    _fraction("noise_hold", self.noise_hold)


@dataclasses.dataclass(frozen=True)
class StrokesConfig:
  """How a classifier draws that attends over tiles. Raises ConfigError on a value out of range."""

  drawing: str = "auto"
  sweep_every: int = 2

  def __post_init__(self):
    _one_of("drawing", self.drawing, DRAWINGS)
    _at_least("sweep_every", self.sweep_every, 0)


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
  """The noise-conditional classifier (model "score"). Raises ConfigError on a value out of range.

  Noise levels σ are standard deviations in [-1, 1] pixel units; training draws ln σ ~ N(noise_mean, noise_std²) and
  keeps it within [sigma_min, sigma_max], so that is the range the network knows. The mixup stream, which only
  classifies, has levels about `mixup_noise_mean`. Guidance holds at levels from `guidance_from` to `guidance_to`, the
  correction likewise. In the last `head_passes` passes the real/fake head alone learns, and all else stands still. An
  image is classified with its mirror image (`mirrored_answer`) where what is shown may face either way.
  """

  sigma_min: float = 0.02
  sigma_max: float = 20.0
  rho: float = 7.0
  predictor: str = "heun"
  corrector_steps: int = 0
  guidance_from: float = 0.0
  guidance_to: float = 1e6
  correction: float = 0.0
  correction_from: float = 0.0
  correction_to: float = 1e6
  head_passes: int = 0
  noise_mean: float = -1.2
  noise_std: float = 1.2
  cross_entropy_weight: float = 0.005
  mixup_weight: float = 0.005
  mixup_noise_mean: float = -1.2
  clip_norm: float = 1.0
  gaussian: str = "isotropic"
  mirrored_answer: bool = False

  def __post_init__(self):
    _one_of("gaussian", self.gaussian, tuple(registries.GAUSSIANS))
    _positive("sigma_min", self.sigma_min)
    _positive("sigma_max", self.sigma_max)
    require(self.sigma_min < self.sigma_max, "sigma_max", self.sigma_max,
            f"must be above --sigma_min={self.sigma_min:g}: the schedule must decrease")
    _positive("rho", self.rho)
    _one_of("predictor", self.predictor, tuple(registries.SOLVERS))
    _at_least("corrector_steps", self.corrector_steps, 0)
    require(self.predictor != "none" or self.corrector_steps > 0, "corrector_steps", self.corrector_steps,
            "must be at least 1 with --predictor=none")
    _at_least("correction", self.correction, 0)
    _at_least("head_passes", self.head_passes, 0)
    for weight in ("guidance", "correction"):
      self._check_interval(weight)
    require(math.isfinite(self.noise_mean), "noise_mean", self.noise_mean, "must be a finite number")
    _positive("noise_std", self.noise_std)
    _at_least("cross_entropy_weight", self.cross_entropy_weight, 0)
    _at_least("mixup_weight", self.mixup_weight, 0)
    require(math.isfinite(self.mixup_noise_mean), "mixup_noise_mean", self.mixup_noise_mean, "must be a finite number")
    _positive("clip_norm", self.clip_norm)

  def _check_interval(self, weight: str) -> None:
    """Of the levels at which a weight holds."""
    first, last = (f"{weight}_{end}" for end in ("from", "to"))
    _at_least(first, getattr(self, first), 0)
    require(getattr(self, first) < getattr(self, last), last, getattr(self, last),
            f"must be above --{first}={getattr(self, first):g}")
    for name in (first, last):
      # A request can have a guidance of its own where the run has none; a correction it cannot.
      read = weight == "guidance" or getattr(self, weight)
      level = getattr(self, name)
      require(not read or level == getattr(ScoreConfig, name) or self.sigma_min <= level <= self.sigma_max, name, level,
              f"must lie within the noise levels [{self.sigma_min:g}, {self.sigma_max:g}]")


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """All settings of a run's system, in parts.

  Raises ConfigError for a system that does not exist, or parts that do not go together.
  """

  model: str = "stic"
  network: NetworkConfig = NetworkConfig()
  sampler: SamplerConfig = SamplerConfig()
  training: TrainingConfig = TrainingConfig()
  walk: WalkConfig = WalkConfig()
  strokes: StrokesConfig = StrokesConfig()
  score: ScoreConfig = ScoreConfig()

  def __post_init__(self):
    _one_of("model", self.model, tuple(registries.SYSTEMS))
    require(self.strokes.drawing != "strokes" or self.sampler.sampler == "grmala", "drawing", self.strokes.drawing,
            "goes with --sampler=grmala")
    require(self.sampler.sampler != "jem_sgld" or self.walk.reference == "flat"
            or "walk" not in registries.SYSTEMS[self.model].reads, "reference", self.walk.reference,
            "must be flat with --sampler=jem_sgld, whose steps are too long for another")

  @classmethod
  def of(cls, values: Mapping[str, Any]) -> "RunConfig":
    """From settings by name; those that `values` lacks have their defaults, and names that are no setting are left.

    Raises:
      ConfigError: a value out of its range.
    """
    parts = {name: part(**{field: values[field] for field in _fields(part) if field in values})
             for name, part in PARTS.items()}
    return cls(**parts, **({"model": values["model"]} if "model" in values else {}))

  def flat(self) -> Dict[str, Any]:
    """All settings by name, JSON-ready."""
    return {"model": self.model, **{field: value for name in PARTS
                                    for field, value in dataclasses.asdict(getattr(self, name)).items()}}

  def replace(self, **settings) -> "RunConfig":
    """With some settings by name changed.

    Raises:
      ConfigError: a value out of its range, or a name that is no setting.
    """
    for name, value in settings.items():
      near = difflib.get_close_matches(name, self.flat(), 1)
      require(name in self.flat(), name, value, "is no setting" + (f"; --{near[0]} is" if near else ""))
    return RunConfig.of({**self.flat(), **settings})

  def network_name(self, image_shape: Sequence[int]) -> str:
    """The registry's name of the network: "auto" is the system's own, or goes by the image's size."""
    if self.network.network != "auto":
      return self.network.network
    own = registries.SYSTEMS[self.model].network
    return own or ("small" if image_shape[0] < _SMALL_SIDE else "wide_resnet")

  def readers(self, name: str, image_shape: Sequence[int]) -> tuple:
    """Who reads a setting that not all do: (the flag that chooses them, what it chose, all that read the setting).

    None for a setting that everything reads.
    """
    part = next((part for part, fields in PARTS.items() if name in _fields(fields)), None)
    if part == "network" and name != "network":
      return "network", self.network_name(image_shape), [
          other for other, entry in registries.NETWORKS.items() if name in entry.reads]
    if part in OWN_PARTS:
      return "model", self.model, [other for other, entry in registries.SYSTEMS.items() if part in entry.reads]
    return None

  def is_read(self, name: str, image_shape: Sequence[int]) -> bool:
    """Whether the system or its network reads the setting `name`."""
    found = self.readers(name, image_shape)
    return found is None or found[1] in found[2]

  def check_read(self, names: Iterable[str], image_shape: Sequence[int]) -> None:
    """Raises ConfigError if the system or its network does not read one of the settings `names`."""
    for name in names:
      if not self.is_read(name, image_shape):
        kind, chosen, readers = self.readers(name, image_shape)
        read_by = f"; --{kind}={' and '.join(readers)} read{'s' if len(readers) == 1 else ''} it" if readers else ""
        require(False, name, self.flat()[name], f"is not read by --{kind}={chosen}{read_by}")
    samplers = registries.SYSTEMS[self.model].sampler_names
    require(not samplers or self.sampler.sampler in samplers, "sampler", self.sampler.sampler,
            f"must be {' or '.join(samplers)} with --model={self.model}")


# Part of the settings -> its dataclass; the last ones are read by some systems only.
PARTS = {"network": NetworkConfig, "sampler": SamplerConfig, "training": TrainingConfig, "walk": WalkConfig,
         "strokes": StrokesConfig, "score": ScoreConfig}
OWN_PARTS = ("walk", "strokes", "score")
# Below this many pixels a side, "auto" means the small network.
_SMALL_SIDE = 32


def _fields(part: type) -> list:
  return [field.name for field in dataclasses.fields(part)]


def check_classes(training: TrainingConfig, num_classes: int) -> None:
  """Raises ConfigError unless the pool has room for `num_classes` classes."""
  if training.fakes:
    require(training.pool_capacity >= num_classes, "pool_capacity", training.pool_capacity,
            f"must be at least {num_classes}, a fake a class")
