"""Configurations refuse what makes no sense, in one line that names the flag."""

import dataclasses
import json
import math
import pathlib
import subprocess
import sys

import pytest

from stic_tf import config as config_lib

CONFIGS = (config_lib.ModelConfig, config_lib.SamplerConfig, config_lib.RecurrenceConfig,
           config_lib.ScoreConfig)


@pytest.mark.parametrize("config_class, field, value, allowed", [
    (config_lib.ModelConfig, "model", "jem", "must be one of stic"),
    (config_lib.ModelConfig, "depth", 12, "6n + 4"),
    (config_lib.ModelConfig, "depth", 4, "6n + 4"),
    (config_lib.ModelConfig, "widen", 0, "at least 1"),
    (config_lib.SamplerConfig, "step_size", 0.0, "above 0"),
    (config_lib.SamplerConfig, "step_size", math.nan, "above 0"),
    (config_lib.SamplerConfig, "temperature", -1.0, "above 0"),
    (config_lib.SamplerConfig, "temperature", math.inf, "above 0"),
    (config_lib.SamplerConfig, "burn_in_fraction", 1.0, "[0, 1)"),
    (config_lib.SamplerConfig, "gram_weight", -1.0, "at least 0"),
    (config_lib.SamplerConfig, "target_acceptance", 1.0, "(0, 1)"),
    (config_lib.SamplerConfig, "sampler", "hmc", "must be one of grmala"),
    (config_lib.SamplerConfig, "sampler", "jem_sgld", "pixels"),
    (config_lib.SamplerConfig, "preconditioner", "pixels", "--sampler=jem_sgld"),
    (config_lib.RecurrenceConfig, "soft_fraction", math.nan, "[0, 1]"),
    (config_lib.RecurrenceConfig, "past_fraction", 1.1, "[0, 1]"),
    (config_lib.RecurrenceConfig, "ema_decay", 1.0, "[0, 1)"),
    (config_lib.RecurrenceConfig, "learning_rate", 0.0, "above 0"),
    (config_lib.RecurrenceConfig, "noise_end", 0.0, "above 0"),
    (config_lib.RecurrenceConfig, "chains", 0, "at least 1"),
    (config_lib.RecurrenceConfig, "divergence_bound", math.nan, "above 0"),
    (config_lib.ModelConfig, "blocks", 0, "at least 1"),
    (config_lib.ScoreConfig, "sigma_min", 0.0, "above 0"),
    (config_lib.ScoreConfig, "sigma_max", math.nan, "above 0"),
    (config_lib.ScoreConfig, "sigma_max", 0.01, "the schedule must decrease"),
    (config_lib.ScoreConfig, "rho", -7.0, "above 0"),
    (config_lib.ScoreConfig, "guidance", math.nan, "at least -1"),
    (config_lib.ScoreConfig, "guidance", -1.5, "at least -1"),
    (config_lib.ScoreConfig, "correction", -1.0, "at least 0"),
    (config_lib.ScoreConfig, "corrector_steps", -1, "at least 0"),
    (config_lib.ScoreConfig, "predictor", "euler", "must be one of heun, none"),
    (config_lib.ScoreConfig, "noise_std", 0.0, "above 0"),
    (config_lib.ScoreConfig, "clip_norm", math.inf, "above 0"),
])
def test_a_value_out_of_range(config_class, field, value, allowed):
  with pytest.raises(config_lib.ConfigError) as error:
    config_class(**{field: value})
  message = str(error.value)
  assert message.startswith("--") and field in message and allowed in message and "\n" not in message


@pytest.mark.parametrize("settings, flag", [
    ({"sampler": "jem_sgld", "preconditioner": "pixels"}, "sampler"), ({"gram_weight": 1.0}, "gram_weight"),
    ({"reference": "flat"}, "reference")])
def test_what_does_not_go_with_the_score_model(settings, flag):
  sampler = config_lib.SamplerConfig(**settings)
  config_lib.check_together(config_lib.ModelConfig(), sampler)
  with pytest.raises(config_lib.ConfigError, match=f"--{flag}=.*--model=score"):
    config_lib.check_together(config_lib.ModelConfig(model="score"), sampler)


def test_a_schedule_without_predictor_needs_a_corrector():
  with pytest.raises(config_lib.ConfigError, match="--corrector_steps=0: must be at least 1 with --predictor=none"):
    config_lib.ScoreConfig(predictor="none")


@pytest.mark.parametrize("config_class", CONFIGS)
def test_the_defaults_are_allowed_and_survive_json(config_class):
  config = config_class()
  assert config_lib.from_mapping(config_class, json.loads(json.dumps(config_lib.to_json(config)))) == config


def test_a_configuration_takes_its_own_of_a_mapping():
  config = config_lib.from_mapping(config_lib.ModelConfig, {"width": 8, "step_size": 0.3, "dataset": "digits"})
  assert config == config_lib.ModelConfig(width=8)


def test_no_two_configurations_share_a_flag():
  names = [field.name for config_class in CONFIGS for field in dataclasses.fields(config_class)]
  assert len(set(names)) == len(names)


def test_a_configuration_does_not_change():
  with pytest.raises(dataclasses.FrozenInstanceError):
    config_lib.ModelConfig().width = 3


def test_neither_the_package_nor_its_configuration_imports_tensorflow():
  code = "import sys, stic_tf, stic_tf.config; assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
  subprocess.run([sys.executable, "-c", code], check=True, cwd=pathlib.Path(__file__).parents[1])
