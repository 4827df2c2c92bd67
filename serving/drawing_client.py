"""The client of a served drawing classifier, for TF Serving and serving/server.py alike.

    with Client("localhost:8500") as client:
      drawings = client.draw([3, 7], seeds=1)             # as stic_tf.load(run_dir).draw([3, 7], seeds=1)
      probabilities = client.classify(drawings.images)    # uint8 [N, H, W, C] -> float32 [N, K]

It needs grpcio, protobuf, NumPy and Pillow, and no TensorFlow.
"""

import dataclasses
import io
import json
from typing import Callable, Dict, Mapping, Optional, Sequence

import grpc
import numpy as np
from PIL import Image

from serving import api_protos
from serving import tensor_protos
from stic_tf import class_choice
from stic_tf import config as config_lib
from stic_tf import seed_pairs

MOST_RETRIES = 4  # gRPC's own bound is five attempts
_BACKOFF_FACTOR, _LONGEST_BACKOFF = 3, 10.0


class ServingError(RuntimeError):
  """A request failed. `code` is the grpc.StatusCode; None where the server answered with something unexpected."""

  def __init__(self, message: str, code: Optional[grpc.StatusCode] = None):
    super().__init__(message)
    self.code = code


@dataclasses.dataclass(frozen=True)
class Drawings:
  """N drawings, with the fields of `stic_tf.Drawings` that are served.

  Attributes:
    images: uint8 [N, H, W, C].
    class_weights: float32 [N, K], what each was drawn for.
    seeds: int64 [N, 2].
    log_density: float32 [N], log π_w where the chain ended, up to a constant of the class weights and guidance.
    probabilities: float32 [N, K], the classifier's answer to the image.
    acceptance_rate: float32 [N], after burn-in.
  """

  images: np.ndarray
  class_weights: np.ndarray
  seeds: np.ndarray
  log_density: np.ndarray
  probabilities: np.ndarray
  acceptance_rate: np.ndarray


@dataclasses.dataclass(frozen=True)
class ServedModel:
  """What a served model says of itself.

  Attributes:
    version: its number.
    num_steps, temperature: the run's own, which a drawing has unless it asks for others.
    max_steps: more steps are cut to this many.
    temperature_range: (least, most); others are clipped.
    class_names: K names.
    image_shape: (H, W, C).
    further: what else a drawing can ask for where the model has it, guidance and (on a canvas) canvas_noise: by name
      the run's own and the least and the most a request can have.
  """

  version: int
  num_steps: int
  temperature: float
  max_steps: int
  temperature_range: Sequence[float]
  class_names: Sequence[str]
  image_shape: Sequence[int]
  further: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)


class Client:
  """A served drawing classifier.

  Requests that fail with UNAVAILABLE (the server starts, restarts or is gone) are sent again after a growing, jittered
  pause; any other failure is final.

  Args:
    server: HOST:PORT.
    model_name: as the server knows it.
    model_version: a number to keep to; None for the server's newest.
    timeout: deadline of a request in seconds, its retries included.
    retries: how often a request is sent again, 0..4.
    backoff: seconds before the first retry; then 3, 9, … times that, at most 10 s.
    certificates: those to trust (PEM), for a TLS connection; None for a plain one.
    own_certificate, own_key: the client's own (PEM), for a server that asks for them; None for none.

  Raises:
    ConfigError: an argument out of range.
  """

  def __init__(self, server: str, model_name: str = "stic", model_version: Optional[int] = None, timeout: float = 60.0,
               retries: int = MOST_RETRIES, backoff: float = 0.5,
               certificates: Optional[bytes] = None, own_certificate: Optional[bytes] = None,
               own_key: Optional[bytes] = None):
    host, colon, port = server.rpartition(":")
    well_formed = bool(host and colon) and port.isascii() and port.isdigit()
    config_lib.require(well_formed, "server", server, "must be HOST:PORT")
    config_lib.require(0 < timeout < float("inf"), "timeout", timeout, "must be a finite number above 0")
    config_lib.require(0 <= retries <= MOST_RETRIES, "retries", retries, f"must lie in 0..{MOST_RETRIES}")
    config_lib.require((own_certificate is None) == (own_key is None), "own_key", "…" if own_key else None,
                       "must be given with own_certificate, and only with it")
    config_lib.require(own_key is None or certificates is not None, "own_certificate", "…",
                       "goes with a TLS connection, which `certificates` make")
    self._model_name, self._model_version, self._timeout = model_name, model_version, timeout
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
               # A request beyond this many bytes would not be kept for a retry.
               ("grpc.per_rpc_retry_buffer_size", 2 ** 30), ("grpc.initial_reconnect_backoff_ms", 200),
               ("grpc.enable_retries", int(retries > 0))]
    if retries:
      policy = {"maxAttempts": retries + 1, "initialBackoff": f"{backoff}s", "maxBackoff": f"{_LONGEST_BACKOFF}s",
                "backoffMultiplier": _BACKOFF_FACTOR, "retryableStatusCodes": ["UNAVAILABLE"]}
      options.append(("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})))
    if certificates is None:
      self._channel = grpc.insecure_channel(server, options)
    else:
      self._channel = grpc.secure_channel(server, grpc.ssl_channel_credentials(certificates, own_key, own_certificate),
                                          options)
    self._ask_predict = self._method("Predict", api_protos.PredictRequest, api_protos.PredictResponse)
    self._ask_metadata = self._method("GetModelMetadata", api_protos.GetModelMetadataRequest,
                                      api_protos.GetModelMetadataResponse)

  def _method(self, name: str, request_class, response_class):
    return self._channel.unary_unary(f"/{api_protos.SERVICE}/{name}", request_class.SerializeToString,
                                     response_class.FromString)

  def close(self) -> None:
    """Ends the connection."""
    self._channel.close()

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    self.close()

  def describe(self) -> ServedModel:
    """Asks the server what it serves.

    Raises:
      ServingError: the request failed, or the model is not one that export/main.py made.
    """
    request = api_protos.GetModelMetadataRequest(metadata_field=["signature_def"])
    self._name_model(request.model_spec)
    response = self._call(self._ask_metadata, request)
    signatures = api_protos.SignatureDefMap.FromString(response.metadata["signature_def"].value)
    if "settings" not in signatures.signature_def:
      raise ServingError(f"{self._model_name} is not a model of export/main.py: it has no signature `settings`")
    stated = {name: tensor_protos.to_array(value)
              for name, value in signatures.signature_def["settings"].defaults.items()}
    images = signatures.signature_def["serving_default"].inputs["images"].tensor_shape
    defaults = signatures.signature_def["refine_png"].defaults if "refine_png" in signatures.signature_def else {}
    further = {name: (tensor_protos.to_array(defaults[name])[0], *stated[f"{name}_range"])
               for name in ("guidance", "canvas_noise") if name in defaults}
    return ServedModel(
        version=response.model_spec.version.value, num_steps=int(stated["num_steps"][0]),
        temperature=float(stated["temperature"][0]), max_steps=int(stated["max_steps"][0]),
        temperature_range=tuple(stated["temperature_range"].tolist()),
        class_names=tuple(name.decode() for name in stated["class_names"]),
        image_shape=tuple(dim.size for dim in images.dim[1:]), further=further)

  def draw(self, class_weights, seeds=0, num_steps: Optional[int] = None, temperature: Optional[float] = None,
           canvas_images: Optional[np.ndarray] = None, batch_size: int = 16,
           on_batch: Callable[[int], None] = lambda done: None, model: Optional[ServedModel] = None,
           guidance: Optional[float] = None, canvas_noise: Optional[float] = None) -> Drawings:
    """Draws one image a row of `class_weights`: the same bytes as `DrawingClassifier.draw`.

    Args:
      class_weights: float [N, K] on the simplex (soft classes), or N integers or class names (hard classes).
      seeds: int64 [N, 2], or an integer S for the pairs (S, 0) … (S, N - 1).
      num_steps: steps of the chain, at most the served model's `max_steps`; None for the run's own.
      temperature: T; None for the run's own.
      canvas_images: uint8 [N, H, W, C] to draw on from; None for a blank canvas.
      batch_size: images a request.
      on_batch: called with the number of images drawn so far.
      model: what `describe` gave; None to ask now.
      guidance: γ; None for the run's own.
      canvas_noise: standard deviation of the noise in which the canvas is drowned; None for the run's own.

    Raises:
      ConfigError: weights off the simplex, seeds of another shape, or a setting that the server would clip or does not
        have.
      ServingError: a request failed, or the server went over to another version in between.
    """
    model = model or self.describe()
    weights = class_choice.class_weights(class_weights, model.class_names)
    count = len(weights)
    config_lib.require(count > 0, "class_weights", "[]", "must ask for at least one drawing")
    config_lib.require(batch_size > 0, "batch_size", batch_size, "must be at least 1")
    seeds = seed_pairs.of(seeds, count)
    num_steps = model.num_steps if num_steps is None else num_steps
    config_lib.require(1 <= num_steps <= model.max_steps, "num_steps", num_steps,
                       f"must lie in 1..{model.max_steps}, the export's limit")
    temperature = model.temperature if temperature is None else temperature
    least, most = model.temperature_range
    config_lib.require(least <= temperature <= most, "temperature", temperature, f"must lie in [{least:g}, {most:g}]")
    inputs = {"class_weights": weights, "seed": seeds, "num_steps": np.full(count, num_steps, np.int32),
              "temperature": np.full(count, temperature, np.float32)}
    if canvas_images is not None:
      inputs["images"] = _check_images(canvas_images, model)
      config_lib.require(len(inputs["images"]) == count, "canvas_images", len(inputs["images"]), f"must be {count}")
    config_lib.require(canvas_noise is None or canvas_images is not None, "canvas_noise", canvas_noise,
                       "goes with a canvas")
    signature = "synthesize" if canvas_images is None else "refine"
    if guidance is not None or canvas_noise is not None:
      signature += "_png"  # whose inputs these are
      further = {"guidance": guidance, **({} if canvas_images is None else {"canvas_noise": canvas_noise})}
      inputs.update({name: np.full(count, chosen, np.float32) for name, value in further.items()
                     if (chosen := _chosen(name, value, model)) is not None})
    drawn = self._in_batches(signature, inputs, batch_size, model, on_batch)
    if "image_png_bytes" in drawn:
      drawn["images"] = np.stack([_decoded(data, model.image_shape) for data in drawn["image_png_bytes"]])
    return Drawings(images=drawn["images"], class_weights=weights, seeds=seeds, log_density=drawn["log_density"],
                    probabilities=drawn["probabilities"], acceptance_rate=drawn["acceptance_rate"])

  def classify(self, images: np.ndarray, batch_size: int = 16, model: Optional[ServedModel] = None) -> np.ndarray:
    """Class probabilities of images: uint8 [N, H, W, C] -> float32 [N, K], as `DrawingClassifier.classify`.

    A server that batches refuses a `batch_size` above its max_batch_size.

    Raises:
      ConfigError: images of another type or shape, or no batch size.
      ServingError: a request failed.
    """
    config_lib.require(batch_size > 0, "batch_size", batch_size, "must be at least 1")
    model = model or self.describe()
    images = _check_images(images, model)
    if not len(images):
      return np.zeros([0, len(model.class_names)], np.float32)
    return self._in_batches("serving_default", {"images": images}, batch_size, model)["probabilities"]

  def _in_batches(self, signature: str, inputs: Dict[str, np.ndarray], batch_size: int, model: ServedModel,
                  on_batch: Callable[[int], None] = lambda done: None) -> Dict[str, np.ndarray]:
    count = len(next(iter(inputs.values())))
    parts = []
    for start in range(0, count, batch_size):
      rows = {name: values[start:start + batch_size] for name, values in inputs.items()}
      parts.append(self._predict(signature, rows, model))
      on_batch(min(start + batch_size, count))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

  def _predict(self, signature: str, inputs: Dict[str, np.ndarray], model: ServedModel) -> Dict[str, np.ndarray]:
    request = api_protos.PredictRequest()
    self._name_model(request.model_spec)
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
      tensor_protos.fill_content(values, request.inputs[name])
    response = self._call(self._ask_predict, request)
    version = response.model_spec.version.value
    if version != model.version:
      raise ServingError(f"the server went from version {model.version} of {self._model_name} to {version} meanwhile: "
                         "ask again, or keep to one with --model_version")
    return {name: tensor_protos.to_array(value) for name, value in response.outputs.items()}

  def _name_model(self, model_spec) -> None:
    model_spec.name = self._model_name
    if self._model_version is not None:
      model_spec.version.value = self._model_version

  def _call(self, method, request):
    try:
      return method(request, timeout=self._timeout)
    except grpc.RpcError as problem:
      hint = " (a longer --timeout or a smaller --batch_size may help)" * (
          problem.code() == grpc.StatusCode.DEADLINE_EXCEEDED)
      raise ServingError(f"{problem.code().name}: {problem.details()}{hint}", problem.code()) from problem


def _chosen(name: str, value: Optional[float], model: ServedModel) -> Optional[np.float32]:
  """What a request has of one of `model.further`: the model's own where `value` is None, None where it has no such."""
  own, least, most = model.further.get(name, (None, None, None))
  if value is None:
    return own
  config_lib.require(own is not None, name, value, "cannot be chosen of this model")
  config_lib.require(least <= np.float32(value) <= most, name, value, f"must lie in [{least:g}, {most:g}]")
  return np.float32(value)


def _decoded(data: bytes, image_shape: Sequence[int]) -> np.ndarray:
  """The uint8 [H, W, C] of a PNG."""
  with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
    return np.asarray(picture).reshape(image_shape)


def _check_images(images: np.ndarray, model: ServedModel) -> np.ndarray:
  images = np.asarray(images)
  config_lib.require(images.dtype == np.uint8 and images.shape[1:] == tuple(model.image_shape), "images",
                     f"{images.dtype}{list(images.shape)}", f"must be uint8 [N, {str(list(model.image_shape))[1:]}")
  return images
