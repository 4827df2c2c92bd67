"""Fixtures of the metric tests: real digits in two splits, and one judge trained on the first of them."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from stic_tf.metrics import features


@pytest.fixture(scope="session")
def digits():
  """(train images uint8 [1300,8,8,1], train labels, test images [497,8,8,1], test labels), classes in proportion."""
  bunch = load_digits()
  images = np.round(bunch.images * 255 / 16).astype(np.uint8)[..., np.newaxis]
  train, test = train_test_split(np.arange(len(images)), test_size=497, stratify=bunch.target, random_state=0)
  return images[train], bunch.target[train], images[test], bunch.target[test]


@pytest.fixture(scope="session")
def digits_judge(digits):
  return features.train_judge(digits[0], digits[1], 10, dataset_name="digits")
