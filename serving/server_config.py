"""Flags and text files of the server, with tensorflow_model_server's names, checked before TensorFlow is loaded."""

import argparse
import dataclasses
import os
import ssl
from typing import List, Optional, Sequence

from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message_factory
from google.protobuf import text_format
from google.protobuf import wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving import batch_settings
from serving import flag_error
from serving import http_limits
from serving import status

PROMETHEUS_PATH = "/monitoring/prometheus/metrics"

_INT64 = wrappers_pb2.Int64Value.DESCRIPTOR.full_name
_STRING = wrappers_pb2.StringValue.DESCRIPTOR.full_name
_FIELD = descriptor_pb2.FieldDescriptorProto
# tensorflow-serving-api has no stubs of these two. (field, number, type or message, repeated)
_MESSAGES = {
    "BatchingParameters": [
        ("max_batch_size", 1, _INT64, False), ("batch_timeout_micros", 2, _INT64, False),
        ("max_enqueued_batches", 3, _INT64, False), ("num_batch_threads", 4, _INT64, False),
        ("thread_pool_name", 5, _STRING, False), ("allowed_batch_sizes", 6, _FIELD.TYPE_INT64, True),
        ("pad_variable_length_inputs", 7, _FIELD.TYPE_BOOL, False)],
    "PrometheusConfig": [("enable", 1, _FIELD.TYPE_BOOL, False), ("path", 2, _FIELD.TYPE_STRING, False)],
    "MonitoringConfig": [("prometheus_config", 1, "stic.serving.PrometheusConfig", False)],
}


def _message_class(name: str):
  """The protobuf class of one of _MESSAGES."""
  file = descriptor_pb2.FileDescriptorProto(name="stic_serving_config.proto", package="stic.serving", syntax="proto3",
                                            dependency=[wrappers_pb2.DESCRIPTOR.name])
  for message_name, fields in _MESSAGES.items():
    message = file.message_type.add(name=message_name)
    for field_name, number, kind, is_repeated in fields:
      field = message.field.add(name=field_name, number=number)
      field.label = _FIELD.LABEL_REPEATED if is_repeated else _FIELD.LABEL_OPTIONAL
      field.type = _FIELD.TYPE_MESSAGE if isinstance(kind, str) else kind
      if isinstance(kind, str):
        field.type_name = f".{kind}"
  pool = descriptor_pool.DescriptorPool()
  pool.Add(descriptor_pb2.FileDescriptorProto.FromString(wrappers_pb2.DESCRIPTOR.serialized_pb))
  pool.Add(file)
  return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"stic.serving.{name}"))


def _read(flag: str, path: str) -> bytes:
  try:
    with open(path, "rb") as file:
      return file.read()
  except OSError as problem:
    raise flag_error.FlagError(f"--{flag}={path}: cannot be read ({problem.strerror})") from problem


def _read_text_proto(flag: str, path: str, message):
  try:
    return text_format.Parse(_read(flag, path), message)
  except (text_format.ParseError, UnicodeDecodeError) as problem:
    raise flag_error.FlagError(f"--{flag}={path}: not a text file of the kind expected: {problem}") from problem


def read_batching(path: str) -> batch_settings.BatchSettings:
  """The BatchingParameters of a text file.

  Raises:
    FlagError: unreadable, out of range, or asks for padding, which would change answers.
  """
  flag = "batching_parameters_file"
  message = _read_text_proto(flag, path, _message_class("BatchingParameters")())
  for name in ("allowed_batch_sizes", "pad_variable_length_inputs"):
    flag_error.require(not getattr(message, name), flag, path, f"{name} is not supported: rows are never padded")
  given = {name: getattr(message, name).value for name in
           ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
           if message.HasField(name)}
  for name, value in given.items():
    least = 0 if name == "batch_timeout_micros" else 1
    flag_error.require(value >= least, flag, path, f"{name} must be at least {least}")
  if "batch_timeout_micros" in given:
    given["batch_timeout_seconds"] = 1e-6 * given.pop("batch_timeout_micros")
  return batch_settings.BatchSettings(**given)


def check_models(configs: Sequence) -> None:
  """Raises StatusError, in tensorflow_model_server's words, unless the list of ModelConfigs can be served."""
  names = set()
  for config in configs:
    if "/" in config.name or ":" in config.name:  # REST could not name it
      raise status.invalid(f"Illegal model name {config.name}: it must not contain / or :")
    if config.name in names:
      raise status.invalid(f"Illegal to list model {config.name} multiple times in config list")
    names.add(config.name)
    if not os.path.isabs(config.base_path):
      raise status.invalid(f"Expected model {config.name} to have an absolute path or URI; got "
                           f"base_path()={config.base_path}")
    if not config.model_platform and not config.model_type:
      raise status.invalid("Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                           "ModelServerConfig::model_platform.")
    if config.model_platform and config.model_platform != "tensorflow":
      raise status.invalid(f"Model {config.name} requests unsupported platform {config.model_platform}")


@dataclasses.dataclass(frozen=True)
class ServerConfig:
  """All the server is told."""

  models: List[model_server_config_pb2.ModelConfig]
  host: str
  port: int
  rest_port: Optional[int]
  rest_timeout_seconds: float
  batching: Optional[batch_settings.BatchSettings]
  prometheus_path: Optional[str]
  tls_key: Optional[bytes]
  tls_certificate: Optional[bytes]
  tls_client_authority: Optional[bytes]
  tls_files: Optional[tuple]
  max_message_bytes: int
  threads: int
  max_queued_requests: int
  max_rows: int
  max_values: int
  max_held_bytes: int
  http_limits: http_limits.Limits
  has_cors: bool
  has_playground: bool
  intra_op_threads: int
  inter_op_threads: int
  poll_seconds: float
  models_file: Optional[str]
  models_poll_seconds: float
  opens_early: bool
  drain_seconds: float
  has_health_service: bool


class _Parser(argparse.ArgumentParser):

  def error(self, message):
    raise flag_error.FlagError(message)


def _boolean(text: str) -> bool:
  if text.lower() in ("true", "1"):
    return True
  if text.lower() in ("false", "0"):
    return False
  raise argparse.ArgumentTypeError(f"{text!r}: must be true or false")


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(prog="serving/server.py", allow_abbrev=False,
                   description="Serves SavedModels over gRPC and REST, as tensorflow_model_server does.")
  add = parser.add_argument
  add("--model_name", default="stic", help="that clients ask for; serving/client.py by default for this one")
  add("--model_base_path", help="folder with a numbered folder for each version")
  add("--model_config_file", help="text ModelServerConfig with several models, instead of the two flags above")
  add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all")
  add("--port", type=int, default=8500, help="of gRPC; 0 for any that is free")
  add("--rest_port", "--rest_api_port", dest="rest_port", type=int, help="of REST; none if not given")
  add("--rest_api_timeout_in_ms", type=int, default=30000)
  add("--enable_batching", type=_boolean, nargs="?", const=True, default=False)
  add("--batching_parameters_file", help="text BatchingParameters")
  add("--monitoring_config_file", help="text MonitoringConfig")
  add("--ssl_key_file", help="PEM private key; with --ssl_cert_file both ports speak TLS")
  add("--ssl_cert_file", help="PEM certificate chain")
  add("--ssl_client_ca_file", help="PEM authorities; clients must then show a certificate of theirs")
  add("--max_message_bytes", type=int, default=64 << 20, help="largest request, and largest input once spelt out")
  add("--grpc_max_threads", type=int, default=64, help="requests worked on, or waiting in a batch, at a time")
  add("--max_queued_requests", type=int, default=256, help="requests that may wait for one of these threads")
  add("--max_request_rows", type=int, default=1024, help="rows of a request, batched or not")
  add("--rest_api_enable_cors_support", type=_boolean, nargs="?", const=True, default=False)
  add("--playground", type=_boolean, nargs="?", const=True, default=False, help="a page to draw with, at / of REST")
  add("--rest_api_max_values", type=int, default=1_000_000, help="values in the JSON of a request")
  add("--rest_api_max_held_bytes", type=int, default=256 << 20, help="bytes of all bodies that wait for their answers")
  add("--rest_api_max_connections", type=int, default=512)
  add("--rest_api_header_seconds", type=float, default=10.0, help="for the head of a request to arrive")
  add("--rest_api_idle_seconds", type=float, default=60.0, help="between two requests of a connection")
  add("--tensorflow_intra_op_parallelism", type=int, default=0, help="0 for the number of cores")
  add("--tensorflow_inter_op_parallelism", type=int, default=0,
      help="0 for the number of cores, -1 for the thread of each request alone")
  add("--file_system_poll_wait_seconds", type=float, default=1.0)
  add("--model_config_file_poll_wait_seconds", type=float, default=0.0,
      help="how often --model_config_file is read again; 0 for never")
  add("--open_early", type=_boolean, nargs="?", const=True, default=False,
      help="once the first model is loaded: it is warmed, and the others are loaded, while it answers")
  add("--drain_seconds", type=float, default=30.0, help="time for requests under way after SIGTERM")
  add("--enable_grpc_healthcheck_service", type=_boolean, nargs="?", const=True, default=True)
  return parser


def read_models(path: str) -> List[model_server_config_pb2.ModelConfig]:
  """The models of a --model_config_file.

  Raises:
    FlagError: no such file, or what is in it.
  """
  message = _read_text_proto("model_config_file", path, model_server_config_pb2.ModelServerConfig())
  models = list(message.model_config_list.config)
  flag_error.require(bool(models), "model_config_file", path, "must list models")
  return _checked(models, "model_config_file", path)


def _checked(models: List[model_server_config_pb2.ModelConfig], flag: str, value: str):
  try:
    check_models(models)
  except status.StatusError as problem:
    raise flag_error.FlagError(f"--{flag}={value}: {problem.message}") from problem
  return models


def _models(values) -> List[model_server_config_pb2.ModelConfig]:
  if values.model_config_file:
    return read_models(values.model_config_file)
  flag_error.require(bool(values.model_base_path), "model_base_path", values.model_base_path or "",
                     "give a folder, or --model_config_file")
  flag_error.require(bool(values.model_name), "model_name", "", "must not be empty")
  models = [model_server_config_pb2.ModelConfig(name=values.model_name, model_platform="tensorflow",
                                                base_path=os.path.abspath(values.model_base_path))]
  return _checked(models, "model_name", values.model_name)


def _check_numbers(values) -> None:
  for name in ("port", "rest_port"):
    port = getattr(values, name)
    flag_error.require(port is None or 0 <= port <= 65535, name, port, "must be in [0, 65535]")
  flag_error.require(not values.port or values.port != values.rest_port, "rest_port", values.rest_port,
                     "must differ from --port")
  for name in ("rest_api_timeout_in_ms", "grpc_max_threads", "max_message_bytes", "max_request_rows",
               "rest_api_max_values", "rest_api_max_held_bytes", "rest_api_max_connections"):
    flag_error.require(getattr(values, name) >= 1, name, getattr(values, name), "must be at least 1")
  flag_error.require(values.max_message_bytes < 1 << 31, "max_message_bytes", values.max_message_bytes,
                     "must be below 2 GiB, protobuf's limit")
  for name in ("max_queued_requests", "tensorflow_intra_op_parallelism", "drain_seconds",
               "model_config_file_poll_wait_seconds"):
    flag_error.require(getattr(values, name) >= 0, name, getattr(values, name), "must be at least 0")
  inter_op = values.tensorflow_inter_op_parallelism
  flag_error.require(inter_op >= -1, "tensorflow_inter_op_parallelism", inter_op, "must be at least -1")
  for name in ("file_system_poll_wait_seconds", "rest_api_header_seconds", "rest_api_idle_seconds"):
    seconds = getattr(values, name)
    flag_error.require(0 < seconds < float("inf"), name, seconds, "must be a finite number above 0")


def _check_tls(values) -> None:
  """Raises FlagError unless OpenSSL takes the files, which gRPC would only refuse once everything is loaded."""
  context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
  if values.ssl_key_file:
    try:
      context.load_cert_chain(values.ssl_cert_file, values.ssl_key_file, password="")  # or it would ask for one
    except (ssl.SSLError, ValueError) as problem:
      raise flag_error.FlagError(f"--ssl_key_file={values.ssl_key_file}: no key (PEM, without a password) of "
                                 f"--ssl_cert_file={values.ssl_cert_file} ({problem})") from problem
  if values.ssl_client_ca_file:
    try:
      context.load_verify_locations(values.ssl_client_ca_file)
    except (ssl.SSLError, ValueError) as problem:
      raise flag_error.FlagError(f"--ssl_client_ca_file={values.ssl_client_ca_file}: no certificates (PEM) "
                                 f"({problem})") from problem


def from_flags(arguments: Sequence[str]) -> ServerConfig:
  """The configuration of a command line.

  Raises:
    FlagError: one line that names the flag and what is allowed.
  """
  values = _parser().parse_args(arguments)
  _check_numbers(values)
  flag_error.require(values.enable_batching or not values.batching_parameters_file, "batching_parameters_file",
                     values.batching_parameters_file, "goes with --enable_batching")
  flag_error.require(bool(values.model_config_file) or not values.model_config_file_poll_wait_seconds,
                     "model_config_file_poll_wait_seconds", values.model_config_file_poll_wait_seconds,
                     "goes with --model_config_file")
  flag_error.require(values.rest_port is not None or not values.playground, "playground", values.playground,
                     "needs --rest_port, where the page is")
  batching = None
  if values.enable_batching:
    batching = (read_batching(values.batching_parameters_file) if values.batching_parameters_file
                else batch_settings.BatchSettings())
  prometheus_path = None
  if values.monitoring_config_file:
    monitoring = _read_text_proto("monitoring_config_file", values.monitoring_config_file,
                                  _message_class("MonitoringConfig")())
    if monitoring.prometheus_config.enable:
      flag_error.require(values.rest_port is not None, "monitoring_config_file", values.monitoring_config_file,
                         "needs --rest_port, where the metrics are")
      prometheus_path = monitoring.prometheus_config.path or PROMETHEUS_PATH
  flag_error.require(bool(values.ssl_key_file) == bool(values.ssl_cert_file), "ssl_key_file", values.ssl_key_file or "",
                     "goes with --ssl_cert_file")
  flag_error.require(bool(values.ssl_key_file) or not values.ssl_client_ca_file, "ssl_client_ca_file",
                     values.ssl_client_ca_file, "goes with --ssl_key_file and --ssl_cert_file")
  pems = {name: _read(name, path) if (path := getattr(values, name)) else None
          for name in ("ssl_key_file", "ssl_cert_file", "ssl_client_ca_file")}
  _check_tls(values)
  return ServerConfig(
      models=_models(values), host=values.host, port=values.port, rest_port=values.rest_port,
      rest_timeout_seconds=values.rest_api_timeout_in_ms / 1000, batching=batching, prometheus_path=prometheus_path,
      tls_key=pems["ssl_key_file"], tls_certificate=pems["ssl_cert_file"],
      tls_client_authority=pems["ssl_client_ca_file"],
      tls_files=(values.ssl_cert_file, values.ssl_key_file, values.ssl_client_ca_file) if values.ssl_key_file else None,
      max_message_bytes=values.max_message_bytes, threads=values.grpc_max_threads,
      max_queued_requests=values.max_queued_requests, max_rows=values.max_request_rows,
      max_values=values.rest_api_max_values, max_held_bytes=values.rest_api_max_held_bytes,
      http_limits=http_limits.Limits(
          connections=values.rest_api_max_connections, header_seconds=values.rest_api_header_seconds,
          idle_seconds=values.rest_api_idle_seconds),
      has_cors=values.rest_api_enable_cors_support, has_playground=values.playground,
      intra_op_threads=values.tensorflow_intra_op_parallelism,
      inter_op_threads=values.tensorflow_inter_op_parallelism, poll_seconds=values.file_system_poll_wait_seconds,
      models_file=values.model_config_file, models_poll_seconds=values.model_config_file_poll_wait_seconds,
      opens_early=values.open_early,
      drain_seconds=values.drain_seconds, has_health_service=values.enable_grpc_healthcheck_service)
