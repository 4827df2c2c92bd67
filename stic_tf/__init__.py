"""STIC for TensorFlow: a classifier that draws.

    classifier = stic_tf.load("runs/digits")
    probabilities = classifier.classify(images)           # uint8 [N, H, W, C] -> float32 [N, K]
    drawings = classifier.draw([3, 7], seeds=1)           # .images uint8 [2, H, W, C]

Importing the package imports neither TensorFlow nor the network.
"""

__version__ = "0.1.0"


def __getattr__(name):
  if name in ("load", "wrap"):
    from stic_tf import loading  # pylint: disable=import-outside-toplevel
    return getattr(loading, name)
  if name in ("DrawingClassifier", "Drawings"):
    from stic_tf import drawing_classifier  # pylint: disable=import-outside-toplevel
    return getattr(drawing_classifier, name)
  raise AttributeError(f"module 'stic_tf' has no attribute {name!r}")
