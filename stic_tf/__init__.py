"""STIC for TensorFlow: a classifier that draws.

    classifier = stic_tf.load("runs/digits")
    probabilities = classifier.classify(images)           # uint8 [N, H, W, C] -> float32 [N, K]
    drawings = classifier.draw([3, 7], seeds=1)           # .images uint8 [2, H, W, C]

    model = stic_tf.STIC(network, num_classes=10)         # a keras.Model around your own Keras network
    model.compile(keras.optimizers.Adam())
    model.fit(dataset, epochs=10, steps_per_epoch=200)    # of (images, labels)

Importing the package imports neither TensorFlow nor the network. When they are, it is without TensorFlow's notes about
the machine; TF_CPP_MIN_LOG_LEVEL=0 brings them back. And it is with oneDNN, by whose convolutions a drawing does not
depend on its batch (rounding.py); TensorFlow reads that as it is imported, so import this package before it.
"""

import importlib
import os
import warnings

__version__ = "0.1.0"

_HOMES = {"load": "loading", "wrap": "loading", "DrawingClassifier": "drawing_classifier",
          "Drawings": "drawing_classifier", "STIC": "systems.stic", "AttentiveSTIC": "systems.attentive",
          "ScoreSTIC": "systems.score", "ConfigError": "config"}


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow leaves it off where the processor has neither AVX-512 VNNI nor its like.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# TensorFlow Addons announces the end of its maintenance at every import.
warnings.filterwarnings("ignore", category=UserWarning, module="tensorflow_addons")


def __getattr__(name):
  if name in _HOMES:
    return getattr(importlib.import_module(f"stic_tf.{_HOMES[name]}"), name)
  raise AttributeError(f"module 'stic_tf' has no attribute {name!r}")
