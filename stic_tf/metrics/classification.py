"""Classification accuracy score: what a classifier that saw only drawings knows of real images."""

from typing import Optional

import numpy as np

from stic_tf.metrics import judge_model


def classification_accuracy_score(drawings, drawing_labels, test_images, test_labels, num_classes: int,
                                  seed: int = 0, settings: Optional[judge_model.JudgeSettings] = None) -> float:
  """Trains a fresh network of the judge's architecture on drawings alone; its accuracy on real test images.

  Args:
    drawings: uint8 [N, H, W, C], N >= 2.
    drawing_labels: int [N], the class each was drawn for.
    test_images: uint8 [M, H, W, C], real, M > 0.
    test_labels: int [M].
    num_classes: K.
    seed: of the training, >= 0.
    settings: of the network and its training; None for those that the images' shape asks for.
  Returns:
    The accuracy, in [0, 1]. A class without drawings counts as always wrong, as it should.
  Raises:
    ValueError: images or labels of a wrong shape, type or range, or drawings of another shape than the test images.
  Source: Ravuri and Vinyals 2019 (arXiv 1905.10887).
  """
  drawings, drawing_labels = judge_model.check_labelled_images(drawings, drawing_labels, num_classes)
  test_images, test_labels = judge_model.check_labelled_images(test_images, test_labels, num_classes)
  if drawings.shape[1:] != test_images.shape[1:]:
    raise ValueError(f"drawings are {list(drawings.shape[1:])}, test images {list(test_images.shape[1:])}")
  model = judge_model.train_judge_model(drawings, drawing_labels, num_classes, seed, settings)
  logits = judge_model.predict(model, test_images, settings)[1]
  return float(np.mean(np.argmax(logits, axis=1) == test_labels))
