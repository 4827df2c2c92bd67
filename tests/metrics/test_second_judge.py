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


def test_there_is_none_for_photographs_or_a_single_class():
  assert second_judge.second_judge(np.zeros((4, 32, 32, 3), np.uint8), np.arange(4)) is None
  assert second_judge.second_judge(np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4)) is None
