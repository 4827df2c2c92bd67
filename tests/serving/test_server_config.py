"""Flags and text files: what they mean and what is refused."""

import inspect

import pytest

from serving import client
from serving import drawing_client
from serving import flag_error
from serving import server_config
from tests.serving import running_server


def _of(*flags):
  return server_config.from_flags(["--model_base_path=/m", *flags])


def _file(tmp_path, text) -> str:
  path = tmp_path / "file.txt"
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return str(path)


def test_defaults():
  settings = _of()
  assert (settings.host, settings.port, settings.rest_port, settings.batching) == ("127.0.0.1", 8500, None, None)
  assert [(one.name, one.base_path) for one in settings.models] == [("stic", "/m")]


def test_what_server_and_client_take_for_granted_is_the_same():
  settings, values = _of(), client._parser().parse_args([])
  assert values.model_name == settings.models[0].name
  assert values.model_name == inspect.signature(drawing_client.Client).parameters["model_name"].default
  assert values.server == f"localhost:{settings.port}"


def test_a_relative_base_path_is_that_of_the_working_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert server_config.from_flags(["--model_base_path=M/stic"]).models[0].base_path == str(tmp_path / "M" / "stic")


@pytest.mark.parametrize("flag", ["--enable_batching", "--enable_batching=true", "--enable_batching=1"])
def test_batching_parameters(tmp_path, flag):
  path = _file(tmp_path, "max_batch_size { value: 8 } batch_timeout_micros { value: 1500 } "
                         "max_enqueued_batches { value: 3 } num_batch_threads { value: 1 } "
                         "thread_pool_name { value: 'any' }")
  batching = _of(flag, f"--batching_parameters_file={path}").batching
  assert (batching.max_batch_size, batching.max_enqueued_batches, batching.num_batch_threads) == (8, 3, 1)
  assert batching.batch_timeout_seconds == pytest.approx(0.0015)
  assert _of("--enable_batching=false").batching is None


def test_the_configuration_in_the_repository_is_valid():
  folder = running_server.ROOT / "serving" / "config"
  settings = server_config.from_flags([
      f"--model_config_file={folder}/models.config", "--enable_batching", "--rest_api_port=8501",
      f"--batching_parameters_file={folder}/batching_parameters.txt",
      f"--monitoring_config_file={folder}/monitoring_config.txt"])
  assert [(one.name, one.base_path) for one in settings.models] == [("stic", "/models/stic")]
  assert settings.batching.max_batch_size == 64
  assert settings.prometheus_path == "/monitoring/prometheus/metrics"


@pytest.mark.parametrize("flags, message", [
    (["--port=70000"], r"--port=70000: must be in \[0, 65535\]"),
    (["--port=x"], "--port: invalid int value: 'x'"),
    (["--rest_port=8500"], "--rest_port=8500: must differ from --port"),
    (["--max_message_bytes=0"], "--max_message_bytes=0: must be at least 1"),
    (["--max_message_bytes=2147483648"], "--max_message_bytes=2147483648: must be below 2 GiB, protobuf's limit"),
    (["--max_queued_requests=-1"], "--max_queued_requests=-1: must be at least 0"),
    (["--file_system_poll_wait_seconds=nan"], "--file_system_poll_wait_seconds=nan: must be a finite number above 0"),
    (["--drain_seconds=nan"], "--drain_seconds=nan: must be at least 0"),
    (["--tensorflow_inter_op_parallelism=-2"], "--tensorflow_inter_op_parallelism=-2: must be at least -1"),
    (["--enable_batching=perhaps"], "--enable_batching: 'perhaps': must be true or false"),
    (["--model_name="], "--model_name=: must not be empty"),
    (["--model_name=a/b:c"], "--model_name=a/b:c: Illegal model name a/b:c: it must not contain / or :"),
    (["--rest_api_header_seconds=0"], "--rest_api_header_seconds=0.0: must be a finite number above 0"),
    (["--rest_api_max_values=0"], "--rest_api_max_values=0: must be at least 1"),
    (["--model_base_path="], "--model_base_path=: give a folder, or --model_config_file"),
    (["--model_base_path=a", "--model_config_file_poll_wait_seconds=1"],
     "--model_config_file_poll_wait_seconds=1.0: goes with --model_config_file"),
    (["--ssl_key_file=/nowhere"], "--ssl_key_file=/nowhere: goes with --ssl_cert_file"),
    (["--ssl_client_ca_file=/nowhere"], "--ssl_client_ca_file=/nowhere: goes with --ssl_key_file and --ssl_cert_file"),
    (["--batching_parameters_file=/nowhere"], "--batching_parameters_file=/nowhere: goes with --enable_batching"),
    (["--enable_batching", "--batching_parameters_file=/nowhere"],
     r"--batching_parameters_file=/nowhere: cannot be read \(No such file or directory\)"),
    (["--model_config_file=/nowhere"], r"--model_config_file=/nowhere: cannot be read \(No such file or directory\)"),
    (["more"], "unrecognized arguments: more"),
])
def test_wrong_flags(flags, message):
  with pytest.raises(flag_error.FlagError, match=f"^(argument )?{message}$"):
    _of(*flags)


@pytest.mark.parametrize("flags, text, message", [
    (["--model_config_file"], "model_config_list {}", "must list models"),
    (["--model_config_file"], "nonsense", "not a text file of the kind expected"),
    (["--model_config_file"], b"\xff\xfe", "not a text file of the kind expected"),
    (["--model_config_file"], "model_config_list { config { name: 'm' base_path: 'a' model_platform: 'tensorflow' } }",
     "Expected model m to have an absolute path or URI; got base_path"),
    (["--enable_batching", "--batching_parameters_file"], "max_batch_size { value: 0 }",
     "max_batch_size must be at least 1"),
    (["--enable_batching", "--batching_parameters_file"], "allowed_batch_sizes: 4",
     "allowed_batch_sizes is not supported: rows are never padded"),
    (["--monitoring_config_file"], "prometheus_config { enable: true }", "needs --rest_port, where the metrics are"),
    (["--monitoring_config_file"], "prometheus_config { enabled: true }", "not a text file of the kind expected"),
])
def test_wrong_files(tmp_path, flags, text, message):
  with pytest.raises(flag_error.FlagError, match=message) as caught:
    _of(*flags[:-1], f"{flags[-1]}={_file(tmp_path, text)}")
  assert str(caught.value).startswith(("--model_config_file=", flags[-1] + "="))
