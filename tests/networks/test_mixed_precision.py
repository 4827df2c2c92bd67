"""--mixed_precision: convolutions in bfloat16, everything else and what draws in float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf import replicas
from stic_tf.networks import build
from stic_tf.networks import precond


@pytest.mark.parametrize("name", ["small", "wide_resnet", "attentive", "energy", "unet", "attentive_unet"])
def test_convolutions_compute_in_bfloat16_and_energies_are_float32(name):
  shape = (32, 32, 3) if name == "wide_resnet" else (8, 8, 1)
  images = tf.constant(np.random.default_rng(0).normal(size=(4, *shape)), tf.float32)
  logits = {}
  for mixed in (False, True):
    network = build.build(config_lib.RunConfig().replace(network=name, width=16, mixed_precision=mixed), shape, 10, 0)
    logits[mixed] = build.logits_and_features(network, images)[0]
    assert {variable.dtype for variable in network.variables} == {tf.float32}
    assert logits[mixed].dtype == tf.float32
    computes = {isinstance(layer, keras.layers.Conv2D): set() for layer in network.layers}
    for layer in network.layers:
      computes[isinstance(layer, keras.layers.Conv2D)].add(layer.compute_dtype)
    assert computes == {True: {"bfloat16" if mixed else "float32"}, False: {"float32"}}
  assert keras.mixed_precision.global_policy().name == "float32"  # a network of the user's own is left alone
  difference = np.abs(logits[True] - logits[False]).max()
  assert 0 < difference < 0.05 * np.abs(logits[False]).max() + 1e-3


def test_a_preconditioned_energy_is_float32():
  config = config_lib.RunConfig().replace(model="score", network="energy", width=16, mixed_precision=True)
  network = precond.EnergyPrecond(build.build(config, (8, 8, 1), 10, 0, conditioned=True), (8, 8, 1), 10)
  energies, evidence = network.level_energies(tf.ones([2, 8, 8, 1]), tf.constant([0.1, 2.0]))
  assert energies.dtype == evidence.dtype == tf.float32


@pytest.mark.parametrize("flags, expected", [("fpu avx512f", False), ("avx512_bf16 fma", True), ("amx_bf16", True)])
def test_a_processor_says_whether_it_computes_bfloat16(monkeypatch, flags, expected):
  monkeypatch.setattr(replicas.pathlib.Path, "read_text", lambda *_, **__: f"flags : {flags}\n")
  assert replicas.computes_bfloat16() == expected
