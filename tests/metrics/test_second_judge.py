"""The second judge reads real digits, not noise, and repeats itself."""

import numpy as np

from stic_tf.metrics import second_judge


def test_it_reads_real_digits_and_no_noise(digits):
  judge = second_judge.second_judge(*digits[:2])
  assert judge.agreement(*digits[2:]) > 0.97
  noise = np.random.default_rng(0).integers(0, 256, (500, 8, 8, 1)).astype(np.uint8)
  assert judge.agreement(noise, np.arange(500) % 10) < 0.3
  # Equal shares of wrong labels are seen.
  labels = digits[3].copy()
  labels[::2] = (labels[::2] + 1) % 10
  assert 0.45 < judge.agreement(digits[2], labels) < 0.55
  assert second_judge.second_judge(*digits[:2]).agreement(*digits[2:]) == judge.agreement(*digits[2:])


def test_it_reads_photographs_by_their_patches():
  """Classes that differ in which way their stripes run, wherever they lie and whatever their colours."""
  generator = np.random.default_rng(0)
  labels = np.arange(240) % 3
  rows, columns = np.mgrid[:24, :24]
  ways = np.stack([rows, columns, rows + columns])[labels]
  waves = np.sin(ways + generator.uniform(0, 6, (240, 1, 1)))[..., np.newaxis]
  waves = waves * generator.uniform(20, 60, (240, 1, 1, 3))
  images = np.clip(128 + waves + generator.normal(0, 20, (240, 24, 24, 3)), 0, 255).astype(np.uint8)
  judge = second_judge.second_judge(images[:180], labels[:180])
  assert judge.agreement(images[180:], labels[180:]) > 0.95
  # Chance is a third, with a standard error of 0.06.
  assert judge.agreement(images[180:], generator.permutation(labels[180:])) < 0.6
  assert second_judge.second_judge(images[:180], labels[:180]).agreement(images[180:], labels[180:]) == (
      judge.agreement(images[180:], labels[180:]))


def test_there_is_none_of_a_single_class():
  assert second_judge.second_judge(np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4)) is None
