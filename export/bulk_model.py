"""The model of a bulk command, from an export or a run folder: drawings, answers and densities of a block of rows."""

import functools
import hashlib
import json
import os
import threading
from typing import Dict, Optional, Sequence

import numpy as np

from stic_tf import zoo
from stic_tf.config import ConfigError
from stic_tf.config import require

_LOADING = threading.Lock()


def newest_version(export_dir: str) -> str:
  """The folder of the highest version of an exported model.

  Raises:
    ConfigError: there is none.
  """
  path = os.path.abspath(os.path.expanduser(export_dir))
  names = os.listdir(path) if os.path.isdir(path) else []
  versions = [name for name in names if name.isascii() and name.isdigit()
              and os.path.isfile(os.path.join(path, name, "saved_model.pb"))]
  require(bool(versions), "export_dir", export_dir, "holds no exported version")
  return os.path.join(path, max(versions, key=int))


def fingerprint(folder: str) -> str:
  """SHA-256 of the names and contents of what a model is made of, in a version folder or a run folder."""
  names = ("saved_model.pb", "variables", "checkpoints", "settings.json")
  found = hashlib.sha256()
  for name in names:
    path = os.path.join(folder, name)
    files = [os.path.join(path, inner) for inner in sorted(os.listdir(path))] if os.path.isdir(path) else [path]
    for file_name in files:
      if os.path.isfile(file_name) and not file_name.endswith(".tmp"):
        with open(file_name, "rb") as file:
          found.update(os.path.relpath(file_name, folder).encode() + hashlib.sha256(file.read()).digest())
  return found.hexdigest()


class Model:
  """A model that draws and answers blocks of rows.

  Attributes:
    image_shape: (H, W, C).
    class_names: K names.
    num_steps, temperature: its own.

  Args:
    synthesize: draws rows of weights, seeds, steps, temperature and, where that is asked for, guidance.
    classify: answers images.
    guidance_range: (least, most) that can be asked for; empty where there is no guidance to choose.
    max_steps, temperature_range: what can be asked for.
  """

  def __init__(self, image_shape: Sequence[int], class_names: Sequence[str], num_steps: int, temperature: float,
               synthesize, classify, guidance_range: Sequence[float], max_steps: float = np.inf,
               temperature_range: Sequence[float] = (0.0, np.inf)):
    self.image_shape, self.class_names = tuple(image_shape), list(class_names)
    self.num_steps, self.temperature = num_steps, temperature
    self._synthesize, self._classify, self._guidance_range = synthesize, classify, guidance_range
    self._max_steps, self._temperature_range = max_steps, temperature_range

  def check(self, num_steps: Optional[int], temperature: Optional[float], guidance: Optional[float] = None) -> None:
    """Raises ConfigError for what an export would cut to its limits, or does not have."""
    require((num_steps or 0) <= self._max_steps, "num_steps", num_steps,
            f"must be at most {self._max_steps}, the export's limit")
    least, most = self._temperature_range
    require(temperature is None or least <= temperature <= most, "temperature", temperature,
            f"must lie in [{least:g}, {most:g}], the export's range")
    if guidance is not None:
      require(len(self._guidance_range) > 0, "guidance", guidance, "cannot be chosen of this model")
      least, most = self._guidance_range
      require(least <= guidance <= most, "guidance", guidance, f"must lie in [{least:g}, {most:g}]")

  def draw(self, class_weights: np.ndarray, seeds: np.ndarray, num_steps: Optional[int] = None,
           temperature: Optional[float] = None, guidance: Optional[float] = None) -> Dict[str, np.ndarray]:
    """Images uint8 [B, H, W, C] and log_density float32 [B], of weights [B, K] and seed pairs int64 [B, 2]."""
    count = len(seeds)
    further = {} if guidance is None else {"guidance": np.full(count, guidance, np.float32)}
    drawn = self._synthesize(class_weights.astype(np.float32), seeds,
                             np.full(count, num_steps or self.num_steps, np.int32),
                             np.full(count, temperature or self.temperature, np.float32), **further)
    return {name: drawn[name].numpy() for name in ("images", "log_density")}

  def answer(self, images: np.ndarray) -> Dict[str, np.ndarray]:
    """probabilities float32 [B, K] and log_density float32 [B] (class-free) of images uint8 [B, H, W, C]."""
    answer = self._classify(images)
    probabilities, energy = answer["probabilities"], answer["energy"]
    return {"probabilities": probabilities.numpy(), "log_density": -energy.numpy()}


def limit_threads(threads: int) -> None:
  """Gives TensorFlow so many threads in this process, before it has run anything; 0 leaves them."""
  import tensorflow as tf  # a wrong request is answered before TensorFlow has loaded
  if threads:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def load(export_dir: Optional[str], run_dir: Optional[str], threads: int, expected: Optional[str] = None) -> Model:
  """The model of a command; a process loads it once.

  Args:
    export_dir: folder of an exported model, whose highest version is taken; or None.
    run_dir: a run folder, or a name of the zoo, where there is no export_dir.
    threads: of TensorFlow in this process, before it has run anything; 0 leaves them. Bits may depend on them.
    expected: the model's fingerprint; None takes any.

  Raises:
    ConfigError: no such model, or another than is expected.
  """
  with _LOADING:
    return _load(export_dir, run_dir, threads, expected)


@functools.lru_cache(maxsize=1)
def _load(export_dir, run_dir, threads, expected) -> Model:
  import tensorflow as tf
  limit_threads(threads)
  folder = folder_of(export_dir, run_dir)
  # A new version, or a checkpoint of a run that is still training, may have come after the command was given.
  require(expected in (None, fingerprint(folder)), "export_dir" if export_dir else "run_dir", export_dir or run_dir,
          "is not the model it was when this was asked for")
  if export_dir:
    stated = os.path.join(folder, "assets.extra", "export.json")
    require(os.path.isfile(stated), "export_dir", export_dir, "was not made by export/main.py")
    with open(stated, encoding="utf-8") as file:
      serving = json.load(file)["serving"]
    loaded = tf.saved_model.load(folder)
    signatures = loaded.signatures

    def synthesize(weights, seeds, num_steps, temperature, **further):
      drawn = signatures["synthesize_png" if further else "synthesize"](
          class_weights=tf.constant(weights), seed=tf.constant(seeds), num_steps=tf.constant(num_steps),
          temperature=tf.constant(temperature), **{name: tf.constant(values) for name, values in further.items()})
      if further:
        drawn["images"] = tf.stack([tf.io.decode_png(data, shape[-1]) for data in drawn["image_png_bytes"]])
      return drawn

    shape = serving["image_shape"]
    model = Model(shape, serving["class_names"], serving["num_steps"], serving["temperature"],
                  synthesize, lambda images: signatures["serving_default"](images=tf.constant(images)),
                  serving["guidance_range"] if "synthesize_png" in signatures else (), serving["max_steps"],
                  serving["temperature_range"])
    model.loaded = loaded  # its variables live as long
    return model
  from stic_tf import loading
  classifier = loading.load(run_dir)
  own, shape = classifier.config.sampler, classifier.image_shape
  specs = [tf.TensorSpec([None, classifier.num_classes], tf.float32), tf.TensorSpec([None, 2], tf.int64),
           tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)]
  plain = tf.function(classifier.draw_tensors, input_signature=specs, autograph=False)
  guided = tf.function(lambda *rows: classifier.draw_tensors(*rows[:-1], guidance=rows[-1]),
                       input_signature=[*specs, tf.TensorSpec([None], tf.float32)], autograph=False)
  return Model(shape, classifier.class_names, own.num_steps, own.temperature,
               lambda *rows, guidance=None: plain(*rows) if guidance is None else guided(*rows, guidance),
               tf.function(classifier.classify_tensors, input_signature=[tf.TensorSpec([None, *shape], tf.uint8)],
                           autograph=False), () if classifier.guidance is None else (-1.0, np.inf))


def folder_of(export_dir: Optional[str], run_dir: Optional[str]) -> str:
  """The folder that holds the model's files.

  Raises:
    ConfigError: both or none given, or there is none.
  """
  require(bool(export_dir) != bool(run_dir), "export_dir", export_dir or "",
          "must name an exported model, or --run_dir a run; one of the two")
  if export_dir:
    return newest_version(export_dir)
  path = os.path.expanduser(zoo.find(run_dir))
  if not os.path.isdir(os.path.join(path, "checkpoints")):
    raise ConfigError(f"--run_dir={run_dir}: must be the folder of a run")
  return path
