"""The second judge reads real digits, not noise, and repeats itself."""

import numpy as np
from sklearn import linear_model

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


def _gratings(count, generator):
  """Noise with a patch of stripes somewhere, and labels: which way they run, whatever their phase and colours."""
  labels = np.arange(count) % 3
  rows, columns = np.mgrid[:14, :14]
  images = generator.normal(128, 20, (count, 24, 24, 3))
  for image, label in zip(images, labels):
    top, left = generator.integers(0, 11, 2)
    waves = np.sin(1.6 * (rows, columns, (rows + columns) / 1.4)[label] + generator.uniform(0, 6.3))
    image[top:top + 14, left:left + 14] += waves[..., np.newaxis] * generator.uniform(30, 70, 3)
  return np.clip(images, 0, 255).astype(np.uint8), labels


def test_it_reads_photographs_by_their_patches():
  train, test = (_gratings(count, np.random.default_rng(count)) for count in (300, 90))
  judge = second_judge.second_judge(*train)
  assert judge.agreement(*test) > 0.9
  assert second_judge.second_judge(*train).agreement(*test) == judge.agreement(*test)
  assert isinstance(judge._model[0], second_judge.Patches)
  # The same reading of pixels knows nothing of them: chance is a third, with a standard error of 0.05.
  pixels = linear_model.RidgeClassifier(100.0).fit(train[0].reshape(300, -1) / 255.0, train[1])
  assert pixels.score(test[0].reshape(90, -1) / 255.0, test[1]) < 0.55


def test_there_is_none_of_a_single_class():
  assert second_judge.second_judge(np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4)) is None
