"""What all classes of a network share beside what tells them apart, and the layers by whose names a network says so."""

import keras
from keras import layers

COMMON = "energy_in_common"  # what is added to the energies of all classes alike, [B, 1]
CLASSES = "energies_of_classes_alone"  # the energies [B, K] before it is


def added(of_classes, common):
  """Energies [B, K] of what tells classes apart, and what they share, [B, 1], of a layer called COMMON: their sum."""
  of_classes = layers.Activation("linear", name=CLASSES, dtype="float32")(of_classes)
  return layers.Add(name="energy", dtype="float32")([of_classes, common])


def without(network: keras.Model):
  """The part of a network that gives energies [B, K] but for what classes share, or None if they share nothing.

  They tell classes apart as the whole network does, for less: its decoder is not run.
  """
  if CLASSES not in [layer.name for layer in getattr(network, "layers", ())]:
    return None
  return keras.Model(network.inputs, network.get_layer(CLASSES).output)
