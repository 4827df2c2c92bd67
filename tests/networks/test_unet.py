"""The U-Net's energy: an autoencoder's, in which classes differ by what the encoder reads alone."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.networks import build
from stic_tf.networks import unet


def _built(shape, conditioned=True, **settings):
  config = config_lib.RunConfig.of({"model": "score", "network": "unet", "width": 8, "blocks": "1", **settings})
  return build.build(config, shape, 10, 0, conditioned)


def test_the_common_part_is_the_energy_of_an_autoencoder():
  """½‖x‖² − ½‖x − F‖²; channels of F beyond the image's are no part of it."""
  rng = np.random.default_rng(0)
  image, decoded = (rng.normal(size=(5, 8, 8, channels)).astype(np.float32) for channels in (3, 4))
  found = unet.AutoencoderEnergy()([image, decoded])[:, 0]
  expected = 0.5 * (image ** 2).sum((1, 2, 3)) - 0.5 * ((image - decoded[..., :3]) ** 2).sum((1, 2, 3))
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  assert np.abs(found - 0.5 * (image ** 2).sum((1, 2, 3)) + 0.5 * (decoded ** 2).sum((1, 2, 3))).max() > 1


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3)])
def test_decoder_and_classes_both_move_the_image(shape):
  """Without the readouts all classes have one energy, the decoder's; without the decoder only they are left."""
  network = _built(shape, attention_side=0)
  decoder = network.get_layer("decoded")
  decoder.set_weights([np.random.default_rng(1).normal(0, 0.1, weight.shape) for weight in decoder.get_weights()])
  images = tf.constant(np.random.default_rng(2).normal(size=(3, *shape)), tf.float32)

  def energies():
    with tf.GradientTape() as tape:
      tape.watch(images)
      found = network([images, tf.fill([3], 0.1)], training=False)[0]
    return found.numpy(), np.abs(tape.gradient(found, images)).max((1, 2, 3))

  both, slope = energies()
  assert (np.ptp(both, axis=1) > 0).all() and (slope > 0).all()
  classes = [layer for layer in network.layers if layer.name.startswith("class_")]
  kept = [layer.get_weights() for layer in classes]
  for layer in classes:
    layer.set_weights([0.0 * weight for weight in layer.get_weights()])
  common, slope = energies()
  assert (np.ptp(common, axis=1) == 0).all() and (slope > 0).all() and (common != 0).all()
  decoder.set_weights([0.0 * weight for weight in decoder.get_weights()])
  nothing, slope = energies()
  assert (nothing == 0).all() and (slope == 0).all()
  for layer, weights in zip(classes, kept):
    layer.set_weights(weights)
  np.testing.assert_allclose(energies()[0] + common, both, rtol=1e-4, atol=1e-4)


def test_an_odd_grid_is_cut_to_that_of_its_skip():
  assert _built((28, 28, 1)).get_layer("up1_enlarged").output.shape[1:3] == (7, 7)


def test_without_a_noise_level_it_has_the_features_of_its_encoder():
  network = _built((28, 28, 1), conditioned=False)
  logits, features = build.logits_and_features(network, tf.zeros([2, 28, 28, 1]))
  assert logits.shape == (2, 10) and [feature.shape[1] for feature in features] == [14, 7, 4]


def test_a_large_image_has_the_energy_that_it_has_in_company():
  """In a process of four threads, which would divide a sum over all of one image among them."""
  script = """
import numpy as np, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(4)
from stic_tf.networks import unet
images, decoded = np.random.default_rng(0).normal(size=(2, 9, 256, 256, 3)).astype(np.float32)
of_rows = tf.function(unet.AutoencoderEnergy(), input_signature=[[tf.TensorSpec([None, 256, 256, 3])] * 2])
alone = np.concatenate([of_rows([images[row:row + 1], decoded[row:row + 1]]) for row in range(9)])
np.testing.assert_array_equal(of_rows([images, decoded]), alone)
"""
  ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
  assert ended.returncode == 0, ended.stderr
