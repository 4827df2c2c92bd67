"""STIC on noisy real images: what it learns of their classes, and of the noise in them."""

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.datasets import pixel_range
from tests.systems import tiny


def test_noisy_real_images_can_be_classified_without_fakes():
  with_noise, without = (tiny.build_system("stic", fakes_from="none", noisy_weight=weight) for weight in (1.0, 0.0))
  logs = [tiny.run_pass(system) for system in (with_noise, without)]
  assert logs[0]["loss_noisy"] > 0 and "loss_noisy" not in logs[1]
  assert any((ours != theirs).any() for ours, theirs in zip(with_noise.network.get_weights(),
                                                            without.network.get_weights()))


def test_noisy_real_images_are_learnt():
  system = tiny.build_system("stic", fakes_from="none", noisy_weight=1.0, updates_per_pass=30)
  logs = [tiny.run_pass(system) for _ in range(2)]
  assert logs[1]["loss_noisy"] < 0.9 * logs[0]["loss_noisy"]


def test_the_jump_can_be_taught_to_denoise():
  system = tiny.build_system("stic", fakes_from="none", denoising_weight=1.0)
  logs = [tiny.run_pass(system) for _ in range(2)]
  assert all("loss_noisy" not in of_pass for of_pass in logs)
  # At the start it is about that of the reference alone, and falls from there.
  assert logs[0]["loss_denoising"] < 1.5 and logs[1]["loss_denoising"] < logs[0]["loss_denoising"]


def test_the_denoising_loss_is_the_error_of_the_rendering_jump():
  system = tiny.build_system("stic", fakes_from="none", denoising_weight=1.0)
  system.prepare_training()
  images, labels = tiny.validation()
  clean, weights = pixel_range.from_uint8(images[:4]), tf.one_hot(labels[:4], system.num_classes)
  noisy = clean + 0.4 * tf.random.stateless_normal(clean.shape, [1, 2])
  loss, logits = system._denoising({"clean_images": clean, "generative_images": noisy, "generative_labels": weights})
  target = system.targets["network"]
  whitened = target.to_whitened(noisy)
  _, gradient = target.whitened(weights, tf.ones([4]))(whitened)
  rendered, without = (target.jump(whitened, by, system.noise_level, tf.ones([4])) for by in (gradient, -whitened))
  error, unlearnt = (tf.reduce_mean(tf.square(image - clean)).numpy() for image in (rendered, without))
  assert loss.numpy() == pytest.approx(error / unlearnt, rel=1e-4)
  assert np.abs(error / unlearnt - 1.0) > 1e-4  # the network has a part in it
  np.testing.assert_allclose(logits, system.network(noisy)[0], rtol=1e-5, atol=1e-6)
