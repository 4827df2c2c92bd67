"""The noise-conditional energy classifier: its gradient is the score that denoises, its energies are the classifier."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from stic_tf import config as config_lib
from stic_tf.networks import build
from stic_tf.networks import precond

SHAPE, NUM_CLASSES = (8, 8, 1), 3


def _energy_trunk(shape=SHAPE, seed=0, width=8, name="energy"):
  config = config_lib.RunConfig.of({"model": "score", "network": name, "width": width, "blocks": 1})
  return build.build(config, shape, NUM_CLASSES, seed, conditioned=True)


def _unet_trunk(shape=SHAPE, seed=0):
  return _energy_trunk(shape, seed, name="unet")


def _attentive_unet_trunk(shape=SHAPE, seed=0):
  return _energy_trunk(shape, seed, name="attentive_unet")


def _attentive_trunk(shape=SHAPE, seed=0):
  config = config_lib.RunConfig.of({"model": "score", "network": "attentive", "width": 8})
  return build.build(config, shape, NUM_CLASSES, seed, conditioned=True)


def _image_trunk(shape=SHAPE, seed=0):
  """A network that was not made to know a noise level."""
  config = config_lib.RunConfig.of({"model": "score", "network": "small", "width": 8})
  return build.build(config, shape, NUM_CLASSES, seed, conditioned=True)


TRUNKS = {"energy": _energy_trunk, "unet": _unet_trunk, "attentive": _attentive_trunk,
          "attentive_unet": _attentive_unet_trunk, "image only": _image_trunk}


def _network(trunk, gaussian="isotropic"):
  """A network whose outputs are no longer small, as a trained one's are not."""
  network = precond.EnergyPrecond(trunk, trunk.inputs[0].shape[1:], NUM_CLASSES, gaussian)
  network.mean.assign(np.full(network.image_shape, -0.3))
  network.gaussian.data_scale.assign(0.5)
  for variable in network.trainable_variables:
    if variable.name.endswith("kernel:0") and any(
        part in variable.name for part in ("energy", "class", "decoded/", "evidence", "logits")):
      variable.assign(20.0 * variable)
    if "project" in variable.name:  # else no noise level would differ from another
      variable.assign(0.3 * tf.random.stateless_normal(variable.shape, [0, 1]))
    if "scale" in variable.name and variable.shape.rank == 0:  # branches that do something
      variable.assign(0.3)
  for variable in [] if network.knows_level else network.gain.trainable_variables:
    variable.assign(0.3 * tf.random.stateless_normal(variable.shape, [0, 1]))
  return network


def _images(count=6, shape=SHAPE, seed=0):
  return tf.constant(np.random.default_rng(seed).normal(-0.3, 0.5, [count, *shape]), tf.float32)


def _score(network, images, levels, label):
  with tf.GradientTape() as tape:
    tape.watch(images)
    energy = network.level_energies(images, levels)[0][:, label]
  return tape.gradient(energy, images)


@pytest.fixture(scope="module", params=TRUNKS)
def network(request):
  return _network(TRUNKS[request.param]())


@pytest.mark.parametrize("level", [0.05, 0.5, 5.0])
def test_the_score_is_the_slope_of_the_energy(network, level):
  """Central differences along random directions; an error of 2 % of a slope would be found."""
  images, levels = _images(), tf.fill([6], level)
  direction = tf.constant(np.random.default_rng(1).normal(size=images.shape), tf.float32)
  step = 0.02 * (level ** 2 + 0.5 ** 2) ** 0.5
  ahead, behind = (network.level_energies(images + sign * step * direction, levels)[0][:, 1] for sign in (1, -1))
  slope = tf.reduce_sum(_score(network, images, levels, 1) * direction, axis=[1, 2, 3])
  np.testing.assert_allclose((ahead - behind) / (2 * step), slope, rtol=0.02, atol=0.02 * np.abs(slope).mean())


def test_without_noise_the_denoiser_gives_back_its_input(network):
  images = _images()
  errors = []
  for level in (1e-3, 1e-2, 1e-1, 1.0):
    denoised = images + level ** 2 * _score(network, images, tf.fill([6], level), 0)
    errors.append(float(tf.reduce_max(tf.abs(denoised - images))))
  assert errors[0] < 0.02 and (np.diff(errors) > 0).all() and errors[-1] > 0.1


def test_the_denoiser_is_that_of_edm(network):
  """D = μ + c_skip (x - μ) + c_out F, with F the gradient of the trunk (Karras et al. 2022, table 1)."""
  images, level, scale = _images(), 0.7, 0.5
  scaled = (images + 0.3) / np.hypot(level, scale)
  log_level = tf.fill([6], np.float32(0.25 * np.log(level)))
  with tf.GradientTape() as tape:
    tape.watch(scaled)
    energy = network.trunk([scaled, log_level] if network.knows_level else scaled)[0][:, 2]
  inner = tape.gradient(energy, scaled)
  if not network.knows_level:  # a class's energies are then scaled by the level, by a number that the images share
    gain = network.gain(network.harmonics(log_level))[:, 2]
    inner = (1.0 + gain)[:, tf.newaxis, tf.newaxis, tf.newaxis] * inner
  expected = (-0.3 + scale ** 2 / (level ** 2 + scale ** 2) * (images + 0.3)
              + level * scale / np.hypot(level, scale) * inner)
  denoised = images + level ** 2 * _score(network, images, tf.fill([6], level), 2)
  np.testing.assert_allclose(denoised, expected, atol=1e-4)


def test_the_classifier_is_that_of_the_energies(network):
  """log p(i | x) - log p(j | x) = f_i - f_j, whatever the part that all classes share."""
  images = _images()
  network.answer_levels.assign(tf.fill([precond.ANSWERS], 0.3))
  logits = network.answer(images).numpy()
  energies, evidence = network.level_energies(images, tf.fill([6], 0.3))
  assert energies.shape == (6, NUM_CLASSES) and network.has_evidence == (evidence is not None)
  assert evidence is None or evidence.shape == (6, NUM_CLASSES)
  np.testing.assert_allclose(logits, energies, rtol=1e-5)
  log_probabilities = tf.math.log(tf.nn.softmax(logits)).numpy()
  np.testing.assert_allclose(log_probabilities[:, 0] - log_probabilities[:, 1], logits[:, 0] - logits[:, 1], atol=1e-3)
  network.answer_levels.assign(tf.fill([precond.ANSWERS], 0.6))
  assert np.abs(logits - network.answer(images).numpy()).max() > 1e-3


def test_an_image_does_not_see_its_neighbours(network):
  images, levels = _images(), tf.constant([0.1, 0.2, 0.4, 0.8, 1.6, 3.2])
  together = network.level_energies(images, levels)[0]
  alone = network.level_energies(images[2:3], levels[2:3])[0]
  np.testing.assert_allclose(together[2:3], alone, rtol=1e-4, atol=1e-4)


def test_logits_leave_out_what_classes_share(network):
  """They are the same classifier; of a U-Net its decoder is spared."""
  images, levels = _images(), tf.constant([0.05, 0.1, 0.3, 0.6, 1.0, 3.0])
  with tf.GradientTape() as tape:
    logits = network.level_logits(images, levels)
  energies = network.level_energies(images, levels)[0]
  np.testing.assert_allclose(tf.nn.softmax(logits), tf.nn.softmax(energies), atol=1e-4)
  decoder = [variable for variable in network.trainable_variables if variable.name.startswith(("up", "decoded"))]
  assert all(value is None for value in tape.gradient(logits, decoder))
  assert bool(decoder) == bool(np.abs(logits - energies).max() > 0.01)  # without one they are the energies


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("level", [0.1, 2.0])
def test_beside_a_point_the_denoiser_is_what_the_trunk_predicts(trunk, level):
  """μ + σ_d ∇g; and without what classes share the energies are the same classifier."""
  network = _network(TRUNKS[trunk](), "point")
  images, levels = _images(), tf.fill([6], level)
  scaled, conditioning = network._of_trunk(images, levels)
  with tf.GradientTape() as tape:
    tape.watch(scaled)
    if network.knows_level:
      of_class = tf.nest.flatten(network.trunk([scaled, conditioning]))[0][:, 1]
    else:
      gain, shift = tf.split(network.gain(network.harmonics(conditioning)), 2, axis=1)
      of_class = (tf.nest.flatten(network.trunk(scaled))[0] * (1.0 + gain) + shift)[:, 1]
  predicted = network.mean + network.data_scale * tape.gradient(of_class, scaled)
  denoised = images + level ** 2 * _score(network, images, levels, 1)
  np.testing.assert_allclose(denoised, predicted, atol=2e-4 * max(1.0, float(tf.reduce_max(tf.abs(predicted)))))
  logits, energies = network.level_logits(images, levels), network.level_energies(images, levels)[0]
  np.testing.assert_allclose(logits - logits[:, :1], energies - energies[:, :1], rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3)], ids=str)
def test_sizes(shape):
  """Attention is there from 32 pixels up; the same seed gives the same weights, another others."""
  networks = [_network(_energy_trunk(shape, seed, width=4)) for seed in (0, 0, 1)]
  energies = [network.level_energies(_images(2, shape), tf.constant([0.1, 1.0]))[0] for network in networks]
  assert energies[0].shape == (2, NUM_CLASSES) and np.isfinite(energies[0]).all()
  np.testing.assert_array_equal(energies[0], energies[1])
  assert np.abs(energies[0] - energies[2]).max() > 0
  attends = [layer.name for layer in networks[0].trunk.layers if "attention" in layer.name]
  assert bool(attends) == (shape[0] >= 32)


def test_only_a_trunk_made_for_it_has_real_fake_logits():
  networks = {name: precond.EnergyPrecond(make(), SHAPE, NUM_CLASSES) for name, make in TRUNKS.items()}
  assert {name: (network.has_evidence, network.knows_level) for name, network in networks.items()} == {
      "energy": (True, True), "unet": (True, True), "attentive": (False, True),
      "attentive_unet": (False, True), "image only": (False, False)}
  names = {variable.name.split("/")[0] for variable in networks["energy"].evidence_variables}
  assert names == {"evidence_local", "evidence_global"}
  assert networks["attentive"].evidence_variables == networks["image only"].evidence_variables == []


@pytest.mark.parametrize("name", ["attentive", "image only"])
def test_at_first_the_noise_level_changes_nothing_that_is_learnt(name):
  """As FiLM and the gain start at zero: what it knows of the level beyond EDM's scaling it has to learn."""
  network = precond.EnergyPrecond(TRUNKS[name](), SHAPE, NUM_CLASSES)
  trunk_inputs = _images()
  learnt = []
  for level in (0.1, 3.0):
    scale = np.float32(np.hypot(level, 1.0))
    images, levels = scale * trunk_inputs, tf.fill([6], level)
    energies = network.level_energies(images, levels)[0] - network.in_common(images, levels)[:, tf.newaxis]
    learnt.append(level * energies.numpy())
  # Sums of thousands of squares are taken away again.
  np.testing.assert_allclose(learnt[0], learnt[1], atol=2e-4)
  assert np.abs(learnt[0]).max() > 2e-3


def test_variables_survive_a_file_by_name(tmp_path):
  trunk = _attentive_trunk()
  network = _network(trunk)
  network.level_energies(_images(), tf.ones([6]))
  names = [variable.name for variable in network.variables]
  assert len(set(names)) == len(names)
  network.save_weights(tmp_path / "weights.h5")
  other = precond.EnergyPrecond(_attentive_trunk(seed=1), SHAPE, NUM_CLASSES)
  other.level_energies(_images(), tf.ones([6]))
  other.load_weights(tmp_path / "weights.h5")
  for ours, theirs in zip(network.level_energies(_images(), tf.ones([6]))[:1],
                          other.level_energies(_images(), tf.ones([6]))[:1]):
    np.testing.assert_array_equal(ours, theirs)
  assert isinstance(network, keras.Model)
