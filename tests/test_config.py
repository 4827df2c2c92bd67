"""Configurations refuse what makes no sense, in one line that names the flag."""

import dataclasses
import json
import math
import pathlib
import re
import subprocess
import sys

import pytest

from stic_tf import config as config_lib
from stic_tf import registries

PARTS = tuple(config_lib.PARTS.values())
SMALL = (8, 8, 1)


@pytest.mark.parametrize("config_class, field, value, allowed", [
    (config_lib.RunConfig, "model", "jem", "must be one of stic, attentive, score"),
    (config_lib.NetworkConfig, "depth", 12, "6n + 4"),
    (config_lib.NetworkConfig, "depth", 4, "6n + 4"),
    (config_lib.NetworkConfig, "widen", 0, "at least 1"),
    (config_lib.SamplerConfig, "step_size", 0.0, "above 0"),
    (config_lib.SamplerConfig, "step_size", math.nan, "above 0"),
    (config_lib.SamplerConfig, "temperature", -1.0, "above 0"),
    (config_lib.SamplerConfig, "temperature", math.inf, "above 0"),
    (config_lib.WalkConfig, "burn_in_fraction", 1.0, "[0, 1)"),
    (config_lib.WalkConfig, "gram_weight", -1.0, "at least 0"),
    (config_lib.SamplerConfig, "target_acceptance", 1.0, "(0, 1)"),
    (config_lib.SamplerConfig, "sampler", "hmc", "must be one of grmala"),
    (config_lib.SamplerConfig, "sampler", "jem_sgld", "pixels"),
    (config_lib.SamplerConfig, "preconditioner", "pixels", "sampler=jem_sgld"),
    (config_lib.TrainingConfig, "soft_fraction", math.nan, "[0, 1]"),
    (config_lib.TrainingConfig, "past_fraction", 1.1, "[0, 1]"),
    (config_lib.TrainingConfig, "ema_decay", 1.0, "[0, 1)"),
    (config_lib.TrainingConfig, "learning_rate", 0.0, "above 0"),
    (config_lib.TrainingConfig, "learning_rate_end", 1.5, "0, 1"),
    (config_lib.WalkConfig, "noise_end", 0.0, "above 0"),
    (config_lib.TrainingConfig, "chains", 0, "at least 1"),
    (config_lib.TrainingConfig, "divergence_bound", math.nan, "above 0"),
    (config_lib.NetworkConfig, "blocks", 0, "at least 1"),
    (config_lib.NetworkConfig, "blocks", "1,,2", "one for each resolution"),
    (config_lib.NetworkConfig, "attention_side", -1, "at least 0"),
    (config_lib.ScoreConfig, "guidance_to", 0.0, "above guidance_from"),
    (config_lib.ScoreConfig, "correction_to", 0.0, "above correction_from"),
    (config_lib.ScoreConfig, "mixup_weight", -1.0, "at least 0"),
    (config_lib.ScoreConfig, "mixup_noise_mean", math.inf, "finite"),
    (config_lib.ScoreConfig, "sigma_min", 0.0, "above 0"),
    (config_lib.ScoreConfig, "sigma_max", math.nan, "above 0"),
    (config_lib.ScoreConfig, "sigma_max", 0.01, "the schedule must decrease"),
    (config_lib.ScoreConfig, "rho", -7.0, "above 0"),
    (config_lib.SamplerConfig, "guidance", math.nan, "at least -1"),
    (config_lib.SamplerConfig, "guidance", -1.5, "at least -1"),
    (config_lib.ScoreConfig, "correction", -1.0, "at least 0"),
    (config_lib.ScoreConfig, "corrector_steps", -1, "at least 0"),
    (config_lib.ScoreConfig, "predictor", "euler", "must be one of heun, dpm_solver_pp, none"),
    (config_lib.ScoreConfig, "noise_std", 0.0, "above 0"),
    (config_lib.ScoreConfig, "clip_norm", math.inf, "above 0"),
    (config_lib.NetworkConfig, "network", "vit", "must be one of auto, small, wide_resnet, attentive, energy"),
    (config_lib.SamplerConfig, "preconditioner", "none", "must be one of gram, dense, low_rank, spectral"),
    (config_lib.WalkConfig, "training_steps", 0, "at least 1"),
    (config_lib.WalkConfig, "gram_rank", -1, "at least 0"),
    (config_lib.WalkConfig, "reference", "uniform", "must be one of gaussian, flat"),
    (config_lib.WalkConfig, "loss", "hinge", "must be one of contrastive, logistic"),
    (config_lib.StrokesConfig, "drawing", "lines", "must be one of auto, whole, strokes"),
    (config_lib.StrokesConfig, "sweep_every", -1, "at least 0"),
])
def test_a_value_out_of_range(config_class, field, value, allowed):
  with pytest.raises(config_lib.ConfigError) as error:
    config_class(**{field: value})
  message = str(error.value)
  assert re.match(r"\w+=", message) and field in message and allowed in message and "\n" not in message


def _refused(config, names, image_shape=SMALL):
  with pytest.raises(config_lib.ConfigError) as error:
    config.check_read(names, image_shape)
  assert "\n" not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize("settings, flag", [
    ({"sampler": "jem_sgld", "preconditioner": "pixels"}, "sampler"), ({"gram_weight": 1.0}, "gram_weight"),
    ({"reference": "flat"}, "reference")])
def test_what_does_not_go_with_the_score_model(settings, flag):
  config_lib.RunConfig.of({"reference": "flat", **settings}).check_read(settings, SMALL)
  message = _refused(config_lib.RunConfig.of({"model": "score", **settings}), settings)
  assert message.startswith(f"{flag}={settings[flag]}: ") and "model=score" in message


def test_jems_steps_are_refused_a_reference_that_they_would_leap_over():
  with pytest.raises(config_lib.ConfigError, match="reference=gaussian: must be flat with sampler=jem_sgld"):
    config_lib.RunConfig.of({"sampler": "jem_sgld", "preconditioner": "pixels"})


@pytest.mark.parametrize("settings, name, says", [
    ({"model": "score", "noise_start": 0.3}, "noise_start",
     "noise_start=0.3: is not read by model=score; model=stic and attentive read it"),
    ({"sigma_max": 3.0}, "sigma_max", "sigma_max=3.0: is not read by model=stic; model=score reads it"),
    ({"drawing": "whole"}, "drawing", "drawing=whole: is not read by model=stic; model=attentive and score read it"),
    ({"depth": 16}, "depth", "depth=16: is not read by network=small; network=wide_resnet reads it"),
    ({"network": "wide_resnet", "width": 8}, "width",
     "width=8: is not read by network=wide_resnet; network=small and attentive and energy and unet and "
     "attentive_unet read it"),
    ({"model": "attentive", "blocks": 1}, "blocks",
     "blocks=1: is not read by network=attentive; network=energy and unet and attentive_unet read it")])
def test_a_setting_that_is_not_read_is_refused_with_who_reads_it(settings, name, says):
  config = config_lib.RunConfig.of(settings)
  assert not config.is_read(name, SMALL)
  assert _refused(config, [name]) == says
  # It is naming it that is refused: what has not been asked for may have any value.
  config.check_read([], SMALL)
  for kind in ("model", "network"):
    config.check_read([kind, "step_size", "chains"], SMALL)


def test_what_is_read_goes_by_the_image_where_the_network_does():
  config = config_lib.RunConfig.of({"depth": 16})
  assert config.is_read("depth", (32, 32, 3)) and not config.is_read("depth", (28, 28, 1))
  assert config.is_read("width", (28, 28, 1)) and not config.is_read("width", (32, 32, 3))


def test_every_setting_is_read_by_some_system():
  systems = [config_lib.RunConfig.of({"model": model, "network": network})
             for model in registries.SYSTEMS for network in registries.NETWORKS]
  for name in config_lib.RunConfig().flat():
    assert any(config.is_read(name, SMALL) for config in systems), name


def test_strokes_go_with_grmala():
  with pytest.raises(config_lib.ConfigError, match="drawing=strokes: goes with sampler=grmala"):
    config_lib.RunConfig.of({"model": "attentive", "drawing": "strokes", "sampler": "unadjusted"})


def test_strokes_of_a_model_without_attention_are_refused():
  assert "model=attentive" in _refused(config_lib.RunConfig.of({"drawing": "strokes"}), ["drawing"])


def test_a_pool_needs_room_for_a_fake_a_class():
  config_lib.check_classes(config_lib.TrainingConfig(pool_capacity=10), 10)
  config_lib.check_classes(config_lib.TrainingConfig(pool_capacity=10, fakes_from="none"), 11)
  with pytest.raises(config_lib.ConfigError, match="pool_capacity=10: must be at least 11"):
    config_lib.check_classes(config_lib.TrainingConfig(pool_capacity=10), 11)


def test_a_schedule_without_predictor_needs_a_corrector():
  with pytest.raises(config_lib.ConfigError, match="corrector_steps=0: must be at least 1 with predictor=none"):
    config_lib.ScoreConfig(predictor="none")


@pytest.mark.parametrize("values", [{}, {"model": "score", "guidance": 0.5, "width": 8, "chains": 20, "jit": True}],
                         ids=["defaults", "others"])
def test_a_configuration_survives_json(values):
  config = config_lib.RunConfig.of(values)
  flat = config.flat()
  assert config_lib.RunConfig.of(json.loads(json.dumps(flat))) == config
  assert {name: flat[name] for name in values} == values


def test_a_configuration_takes_its_own_of_a_mapping():
  config = config_lib.RunConfig.of({"width": 8, "step_size": 0.3, "dataset": "digits"})
  assert config == config_lib.RunConfig(network=config_lib.NetworkConfig(width=8),
                                        sampler=config_lib.SamplerConfig(step_size=0.3))


def test_some_settings_are_changed_and_no_others():
  config = config_lib.RunConfig.of({"model": "score", "width": 8})
  changed = config.replace(guidance=0.5, num_steps=7)
  assert {name for name, value in changed.flat().items() if value != config.flat()[name]} == {"guidance", "num_steps"}
  assert config.replace() == config
  with pytest.raises(config_lib.ConfigError, match="widht=8: is no setting"):
    config.replace(widht=8)
  with pytest.raises(config_lib.ConfigError, match="width=0: must be a finite number of at least 1"):
    config.replace(width=0)


def test_no_two_parts_share_a_flag():
  names = ["model", *(field.name for part in PARTS for field in dataclasses.fields(part))]
  # A part and the flag that chooses it may be of one name: "network" and "sampler" are.
  assert len(set(names)) == len(names) and set(names) == set(config_lib.RunConfig().flat())


@pytest.mark.parametrize("part", [*PARTS, config_lib.RunConfig])
def test_a_configuration_does_not_change(part):
  with pytest.raises(dataclasses.FrozenInstanceError):
    setattr(part(), dataclasses.fields(part)[0].name, 3)


def test_neither_the_package_nor_its_configuration_imports_tensorflow():
  code = "import sys, stic_tf, stic_tf.config; assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
  subprocess.run([sys.executable, "-c", code], check=True, cwd=pathlib.Path(__file__).parents[1])


@pytest.mark.parametrize("weight", ["guidance", "correction"])
@pytest.mark.parametrize("end, level", [("from", 0.01), ("to", 30.0)])
def test_an_interval_outside_the_levels_is_refused(weight, end, level):
  flag = f"{weight}_{end}"
  if weight == "correction":
    config_lib.ScoreConfig(**{flag: level})  # without its weight nothing reads it
  else:  # a request's own guidance does
    with pytest.raises(config_lib.ConfigError, match=f"^{flag}="):
      config_lib.ScoreConfig(**{flag: level})
  with pytest.raises(config_lib.ConfigError, match=rf"^{flag}=.*: must lie within the noise levels \[0.02, 20\]$"):
    config_lib.RunConfig().replace(**{weight: 1.0, flag: level})
