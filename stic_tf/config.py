"""Settings of a run as frozen dataclasses: validated on construction, to and from JSON. No TensorFlow here.

The field names are the flag names of `trainers/flags.py`, so that an error about a field names the flag to change.
"""

import dataclasses
import math
from typing import Any, Mapping

MODELS = ("stic", "attentive", "score")
NETWORKS = ("auto", "small", "wide_resnet")
LOSSES = ("contrastive", "logistic")
PRECONDITIONERS = ("gram", "dense", "spectral", "identity", "pixels")
REFERENCES = ("gaussian", "flat")
DRAWINGS = ("auto", "whole", "strokes")
SAMPLERS = ("grmala", "unadjusted", "jem_sgld")
PREDICTORS = ("heun", "none")


class ConfigError(ValueError):
  """The user's input is wrong; the message is one line that names the flag and what is allowed."""


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
class ModelConfig:
  """Which network, and its size. Raises ConfigError on a value out of range."""

  model: str = "stic"
  network: str = "auto"
  width: int = 64
  depth: int = 10
  widen: int = 2
  blocks: int = 2
  tile_grid: int = 4

  def __post_init__(self):
    _one_of("model", self.model, MODELS)
    _one_of("network", self.network, NETWORKS)
    _at_least("width", self.width, 1)
    require(self.depth >= 10 and (self.depth - 4) % 6 == 0, "depth", self.depth, "must be 6n + 4 (10, 16, 22, 28, …)")
    _at_least("widen", self.widen, 1)
    _at_least("blocks", self.blocks, 1)
    _at_least("tile_grid", self.tile_grid, 1)


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
  """The chain that draws. Raises ConfigError on a value out of range.

  `num_steps` are those of a fresh drawing, the first `burn_in_fraction` of them its burn-in; `training_steps` those of
  one training update.
  """

  sampler: str = "grmala"
  step_size: float = 0.1
  temperature: float = 1.0
  num_steps: int = 300
  burn_in_fraction: float = 0.5
  training_steps: int = 20
  drawing: str = "auto"
  sweep_every: int = 2
  gram_weight: float = 0.0
  gram_rank: int = 0
  preconditioner: str = "gram"
  reference: str = "gaussian"
  target_acceptance: float = 0.574

  def __post_init__(self):
    _one_of("sampler", self.sampler, SAMPLERS)
    _positive("step_size", self.step_size)
    _positive("temperature", self.temperature)
    _at_least("num_steps", self.num_steps, 1)
    require(0.0 <= self.burn_in_fraction < 1.0, "burn_in_fraction", self.burn_in_fraction, "must lie in [0, 1)")
    _at_least("training_steps", self.training_steps, 1)
    _one_of("drawing", self.drawing, DRAWINGS)
    require(self.drawing != "strokes" or self.sampler == "grmala", "drawing", self.drawing,
            "goes with --sampler=grmala")
    _at_least("sweep_every", self.sweep_every, 0)
    _at_least("gram_weight", self.gram_weight, 0)
    _at_least("gram_rank", self.gram_rank, 0)
    _one_of("preconditioner", self.preconditioner, PRECONDITIONERS)
    require((self.sampler == "jem_sgld") == (self.preconditioner == "pixels"), "preconditioner", self.preconditioner,
            "pixels goes with --sampler=jem_sgld, and that with pixels")
    _one_of("reference", self.reference, REFERENCES)
    require(0.0 < self.target_acceptance < 1.0, "target_acceptance", self.target_acceptance, "must lie in (0, 1)")


@dataclasses.dataclass(frozen=True)
class RecurrenceConfig:
  """Recurrent self-analysis: passes, fakes and losses. Raises ConfigError on a value out of range.

  The smoothing noise s (standard deviation in [-1, 1] pixel units) falls from `noise_start` in the first pass to
  `noise_end`, where it stays for the last `noise_hold` share of the passes.
  """

  num_passes: int = 10
  updates_per_pass: int = 400
  batch_size: int = 64
  loss: str = "contrastive"
  fakes: bool = True
  fake_weight: float = 1.0
  energy_decay: float = 0.01
  soft_fraction: float = 0.25
  past_fraction: float = 0.1
  pool_capacity: int = 10000
  chains: int = 1000
  restart_probability: float = 0.05
  noise_start: float = 0.5
  noise_end: float = 0.3
  noise_hold: float = 0.4
  learning_rate: float = 1e-3
  ema_decay: float = 0.999
  mixup_alpha: float = 0.2
  divergence_bound: float = 1e4

  def __post_init__(self):
    _at_least("num_passes", self.num_passes, 1)
    _at_least("updates_per_pass", self.updates_per_pass, 1)
    _at_least("batch_size", self.batch_size, 1)
    _one_of("loss", self.loss, LOSSES)
    _at_least("fake_weight", self.fake_weight, 0)
    _at_least("energy_decay", self.energy_decay, 0)
    _fraction("soft_fraction", self.soft_fraction)
    _fraction("past_fraction", self.past_fraction)
    _at_least("pool_capacity", self.pool_capacity, 1)
    _at_least("chains", self.chains, 1)
    _fraction("restart_probability", self.restart_probability)
    _positive("noise_start", self.noise_start)
    _positive("noise_end", self.noise_end)
    _fraction("noise_hold", self.noise_hold)
    _positive("learning_rate", self.learning_rate)
    require(0.0 <= self.ema_decay < 1.0, "ema_decay", self.ema_decay, "must lie in [0, 1)")
    _at_least("mixup_alpha", self.mixup_alpha, 0)
    _positive("divergence_bound", self.divergence_bound)


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
  """The noise-conditional classifier (model "score"). Raises ConfigError on a value out of range.

  Noise levels σ are standard deviations in [-1, 1] pixel units; training draws ln σ ~ N(noise_mean, noise_std²) and
  keeps it within [sigma_min, sigma_max], so that is the range the network knows.
  """

  sigma_min: float = 0.02
  sigma_max: float = 20.0
  rho: float = 7.0
  predictor: str = "heun"
  corrector_steps: int = 0
  guidance: float = 0.0
  correction: float = 0.0
  noise_mean: float = -1.2
  noise_std: float = 1.2
  cross_entropy_weight: float = 0.005
  clip_norm: float = 1.0

  def __post_init__(self):
    _positive("sigma_min", self.sigma_min)
    _positive("sigma_max", self.sigma_max)
    require(self.sigma_min < self.sigma_max, "sigma_max", self.sigma_max,
            f"must be above --sigma_min={self.sigma_min:g}: the schedule must decrease")
    _positive("rho", self.rho)
    _one_of("predictor", self.predictor, PREDICTORS)
    _at_least("corrector_steps", self.corrector_steps, 0)
    require(self.predictor != "none" or self.corrector_steps > 0, "corrector_steps", self.corrector_steps,
            "must be at least 1 with --predictor=none")
    _at_least("guidance", self.guidance, -1)
    _at_least("correction", self.correction, 0)
    require(math.isfinite(self.noise_mean), "noise_mean", self.noise_mean, "must be a finite number")
    _positive("noise_std", self.noise_std)
    _at_least("cross_entropy_weight", self.cross_entropy_weight, 0)
    _positive("clip_norm", self.clip_norm)


def check_together(model: ModelConfig, sampler: SamplerConfig) -> None:
  """Raises ConfigError where settings of the sampler do not go with the model."""
  if model.model == "score":
    require(sampler.sampler != "jem_sgld", "sampler", sampler.sampler,
            "must be grmala or unadjusted with --model=score")
    require(sampler.gram_weight == 0, "gram_weight", sampler.gram_weight, "must be 0 with --model=score")
    require(sampler.reference == "gaussian", "reference", sampler.reference, "must be gaussian with --model=score")


def draws_in_strokes(model: ModelConfig, sampler: SamplerConfig) -> bool:
  """Whether a fresh drawing is made tile by tile, where attention looks, or in whole-image steps.

  Raises:
    ConfigError: strokes of a model without attention.
  """
  attentive = model.model == "attentive"
  require(attentive or sampler.drawing != "strokes", "drawing", sampler.drawing, "goes with --model=attentive")
  return attentive and sampler.sampler == "grmala" and sampler.drawing != "whole"


def check_canvas(model: ModelConfig, image_shape) -> None:
  """Raises ConfigError unless the tiles of an attentive model divide a canvas of `image_shape` (H, W, C)."""
  if model.model == "attentive":
    height, width = image_shape[:2]
    require(height % model.tile_grid == 0 and width % model.tile_grid == 0, "tile_grid", model.tile_grid,
            f"must divide the canvas of {height}x{width} pixels")


def check_classes(recurrence: RecurrenceConfig, num_classes: int) -> None:
  """Raises ConfigError unless the pool and the chains have room for `num_classes` classes."""
  if recurrence.fakes:
    require(recurrence.pool_capacity >= num_classes, "pool_capacity", recurrence.pool_capacity,
            f"must be at least {num_classes}, a fake a class")


def to_json(config: Any) -> dict:
  """A JSON-ready dict of a config dataclass."""
  return dataclasses.asdict(config)


def from_mapping(config_class: type, values: Mapping[str, Any]) -> Any:
  """Builds `config_class` from the entries of `values` that are its fields; others are left alone.

  Raises:
    ConfigError: a value out of its range.
  """
  names = {field.name for field in dataclasses.fields(config_class)}
  return config_class(**{name: value for name, value in values.items() if name in names})
