"""Versions come and go under load; what is half-copied or damaged is left alone and named."""

import os
import shutil
import socket
import threading

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import model_management_pb2

from serving import flag_error
from serving import model_api
from serving import server
from serving import server_config
from serving import status
from serving import versions
from serving import warmup_replay
from tests.serving import running_server
from tests.serving import small_models

_START, _AVAILABLE, _END = 10, 30, 50


def _request(**options):
  return small_models.predict_request(x=np.float32([1]), **options)


def _answer(client, **options):
  """(value, version) of x = 1."""
  response = client.prediction.Predict(_request(**options))
  return float(small_models.arrays(response)["y"][0]), response.model_spec.version.value


@pytest.fixture
def base(tmp_path, version_folder):
  """A base path with version 1, y = x + 1."""
  os.mkdir(tmp_path / "m")
  small_models.copy(version_folder, str(tmp_path / "m" / "1"))
  return tmp_path / "m"


@pytest.fixture
def client(base):
  """Of a server of that path."""
  with running_server.in_process("--model_name=m", f"--model_base_path={base}") as one:
    yield one


def _write_config(path, **bases):
  models = [f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" }}'
            for name, base in bases.items()]
  text = "model_config_list { " + " ".join(models) + " }"
  (path.parent / "aside").write_text(text)
  os.replace(path.parent / "aside", path)


def test_an_early_server_answers_before_it_is_warm_and_is_warmed_behind(base, tmp_path, other_version_folder, caplog,
                                                                        monkeypatch):
  os.mkdir(tmp_path / "n")
  small_models.copy(other_version_folder, str(tmp_path / "n" / "1"))
  config, may_warm, warmed = tmp_path / "models.config", threading.Event(), []

  def replay(servable, run):
    del run
    assert may_warm.wait(30)
    warmed.append(servable.name)
    if servable.name == "n":
      raise status.invalid("a bad warm-up file")
    return 1

  monkeypatch.setattr(warmup_replay, "replay", replay)
  _write_config(config, m=base, n=tmp_path / "n")
  with running_server.in_process(f"--model_config_file={config}", "--open_early") as client:
    assert _answer(client)[1] == 1
    running_server.wait_until(lambda: _states_or_none(client, "n").get(1, [0])[0] == _AVAILABLE, "the second model")
    assert _answer(client, model="n")[1] == 1 and not warmed
    may_warm.set()
    running_server.wait_until(lambda: "Warm-up of {name: n version: 1} failed: a bad" in caplog.text, "both warm")
    assert warmed == ["m", "n"] and _answer(client, model="n")[1] == 1
    # A version that takes the place of one that answers is warm before it does.
    may_warm.clear()
    small_models.copy(other_version_folder, str(tmp_path / "2"))
    os.rename(tmp_path / "2", os.path.join(base, "2"))
    running_server.wait_until(lambda: 2 in _states_or_none(client, "m"), "the new version")
    assert _answer(client)[1] == 1
    may_warm.set()
    running_server.wait_until(lambda: _answer(client)[1] == 2, "the new version to answer")


def test_models_come_and_go_with_the_file_that_lists_them(base, tmp_path, other_version_folder, caplog):
  os.mkdir(tmp_path / "n")
  small_models.copy(other_version_folder, str(tmp_path / "n" / "1"))
  config = tmp_path / "models.config"
  _write_config(config, m=base)
  with running_server.in_process(f"--model_config_file={config}",
                                 "--model_config_file_poll_wait_seconds=0.05") as client:
    assert _answer(client)[1] == 1
    running_server.error_of(client.prediction.Predict, _request(model="n"))
    _write_config(config, m=base, n=tmp_path / "n")
    running_server.wait_until(lambda: 1 in _states_or_none(client, "n"), "the new model")
    running_server.wait_until(lambda: _states_or_none(client, "n")[1][0] == _AVAILABLE, "its version")
    assert _answer(client, model="n")[1] == 1
    # What is wrong with the file is said once; what was served goes on.
    config.write_text("nonsense")
    running_server.wait_until(lambda: "not a text file of the kind expected" in caplog.text, "a warning")
    assert _answer(client)[1] == 1 and _answer(client, model="n")[1] == 1
    _write_config(config, n=tmp_path / "n")
    running_server.wait_until(lambda: client.states("m")[1][0] == _END, "the first model's end")
    assert _answer(client, model="n")[1] == 1
  assert caplog.text.count("not a text file of the kind expected") == 1


def _states_or_none(client, model):
  try:
    return client.states(model)
  except grpc.RpcError:
    return {}


def test_hot_swap_under_load_fails_no_request(base, client, other_version_folder):
  answers, errors, stop = [], [], threading.Event()

  def load():
    while not stop.is_set():
      try:
        answers.append(_answer(client))
      except grpc.RpcError as error:
        errors.append(error)

  threads = [threading.Thread(target=load) for _ in range(4)]
  for thread in threads:
    thread.start()
  running_server.wait_until(lambda: len(answers) > 50, "load")
  small_models.copy(other_version_folder, str(base / "2"))
  running_server.wait_until(lambda: client.states().get(1, [0])[0] == _END, "the swap")
  count = len(answers)
  running_server.wait_until(lambda: len(answers) > count + 50, "load")
  stop.set()
  for thread in threads:
    thread.join()
  assert not errors
  # Each answer is of one version, and the old one does not come back.
  assert set(answers) == {(2.0, 1), (101.0, 2)}
  assert set(answers[count:]) == {(101.0, 2)}
  assert client.states() == {1: (_END, 0, ""), 2: (_AVAILABLE, 0, "")}
  error = running_server.error_of(client.prediction.Predict, _request(version=1))
  assert error.details() == "Servable not found for request: Specific(m, 1)"


def test_a_version_whose_folder_is_gone_serves_until_the_next_one_does(base, client, other_version_folder):
  """Who removes the old folder as soon as the new one is there fails no request."""
  os.mkdir(base / "2")
  shutil.rmtree(base / "1")
  running_server.wait_until(lambda: 2 in client.states(), "a look at the folder")
  assert _answer(client) == (2.0, 1) and client.states()[2][0] == _START
  small_models.copy(other_version_folder, str(base / "3"))
  os.rmdir(base / "2")  # only now: a path with no folder at all has its versions unloaded
  running_server.wait_until(lambda: client.states().get(1, [0])[0] == _END, "the swap")
  assert _answer(client) == (101.0, 3)


def test_a_run_under_way_outlives_its_version(base, client, other_version_folder):
  rounds = small_models.predict_request("loop", n=np.int32([400_000]))
  answer = client.prediction.Predict.future(rounds)
  small_models.copy(other_version_folder, str(base / "2"))
  running_server.wait_until(lambda: _answer(client)[1] == 2, "the swap")
  assert answer.result().model_spec.version.value == 1
  running_server.wait_until(lambda: client.states()[1][0] == _END, "unloading")


@pytest.mark.parametrize("last", ["saved_model.pb", "variables"])
def test_a_half_copied_folder_is_left_alone_until_it_is_complete(base, client, other_version_folder, last):
  target = base / "7"
  os.mkdir(target)
  names = sorted(os.listdir(other_version_folder), key=lambda name: name == last)
  for name in names[:-1]:
    source = os.path.join(other_version_folder, name)
    (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, target / name)
  running_server.wait_until(lambda: 7 in client.states() and client.states()[7][2], "a reason")
  state, code, message = client.states()[7]
  assert state in (_START, _END) and code and str(target) in message
  error = running_server.error_of(client.prediction.Predict, _request(version=7))
  assert error.details() == "Servable not found for request: Specific(m, 7)"
  assert _answer(client) == (2.0, 1)
  source = os.path.join(other_version_folder, last)
  (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, target / last)
  running_server.wait_until(lambda: _answer(client) == (101.0, 7), "the completed version")
  assert client.states()[7] == (_AVAILABLE, 0, "")


@pytest.mark.parametrize("damage", ["graph", "variables", "warm-up"])
def test_a_damaged_version_leaves_the_good_one_serving(base, client, other_version_folder, tmp_path, damage):
  small_models.copy(other_version_folder, str(tmp_path / "damaged"))
  if damage == "warm-up":
    small_models.write_warmup(str(tmp_path / "damaged"), small_models.predict_request("nope"))
    expected = 'Serving signature key "nope" not found.'
  else:
    name = "saved_model.pb" if damage == "graph" else "variables/variables.index"
    (tmp_path / "damaged" / name).write_bytes(b"not what it should be")
    expected = ""
  os.rename(tmp_path / "damaged", base / "2")
  running_server.wait_until(lambda: client.states().get(2, [0])[0] == _END, "a verdict")
  state, code, message = client.states()[2]
  assert code and expected in message and message
  assert _answer(client) == (2.0, 1) and client.states()[1][0] == _AVAILABLE
  small_models.copy(other_version_folder, str(base / "3"))
  running_server.wait_until(lambda: _answer(client) == (101.0, 3), "the repaired version")


def test_a_damaged_newest_version_at_start(base, version_folder):
  os.mkdir(base / "2")
  (base / "2" / "saved_model.pb").write_bytes(b"damaged")
  with running_server.in_process("--model_name=m", f"--model_base_path={base}") as one:
    assert _answer(one) == (2.0, 1)
    running_server.wait_until(lambda: one.states().get(2, [0])[0] == _END, "a verdict")


def test_only_damaged_versions_end_the_start(tmp_path):
  os.makedirs(tmp_path / "m" / "2")
  (tmp_path / "m" / "2" / "saved_model.pb").write_bytes(b"damaged")
  with pytest.raises(Exception, match=r"Some models did not become available: \{name: m version: 2\} due to error"):
    with running_server.in_process("--model_name=m", f"--model_base_path={tmp_path / 'm'}"):
      pass


def test_names_that_are_no_versions_are_passed_over(base, client, other_version_folder):
  for name in ("2.tmp", "v3", "-4", "٥", "99999999999999999999", "6a"):
    small_models.copy(other_version_folder, str(base / name))
  (base / "8").write_text("a file")
  small_models.copy(other_version_folder, str(base / "007"))
  running_server.wait_until(lambda: _answer(client) == (101.0, 7), "version 7")
  assert set(client.states()) == {1, 7}


def _reload(client, base_path, policy=None, labels=(), name="m"):
  request = model_management_pb2.ReloadConfigRequest()
  config = request.config.model_config_list.config.add(name=name, base_path=str(base_path), model_platform="tensorflow")
  if policy:
    policy(config.model_version_policy)
  for label, version in labels:
    config.version_labels[label] = version
  return client.model.HandleReloadConfigRequest(request, timeout=60)


def test_a_policy_serves_several_versions_and_labels_name_them(base, client, other_version_folder):
  small_models.copy(other_version_folder, str(base / "2"))
  running_server.wait_until(lambda: _answer(client)[1] == 2, "version 2")
  assert _reload(client, base, lambda policy: policy.all.SetInParent()).status.error_code == 0
  running_server.wait_until(lambda: client.states()[1][0] == _AVAILABLE, "version 1 again")
  assert _answer(client, version=1) == (2.0, 1) and _answer(client) == (101.0, 2)
  _reload(client, base, lambda policy: policy.all.SetInParent(), [("old", 1)])
  request = _request()
  request.model_spec.version_label = "old"
  assert client.prediction.Predict(request).model_spec.version.value == 1
  error = running_server.error_of(_reload, client, base, lambda policy: policy.all.SetInParent(), [("next", 5)])
  assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
  _reload(client, base, lambda policy: policy.specific.versions.append(1))
  running_server.wait_until(lambda: client.states()[2][0] == _END, "version 2 gone")
  assert _answer(client) == (2.0, 1)


def test_a_reload_replaces_the_models(base, client, other_version_folder, tmp_path):
  os.mkdir(tmp_path / "n")
  small_models.copy(other_version_folder, str(tmp_path / "n" / "5"))
  _reload(client, tmp_path / "n", name="n")
  assert _answer(client, model="n") == (101.0, 5)
  running_server.wait_until(lambda: client.states()[1][0] == _END, "the old model gone")
  error = running_server.error_of(client.prediction.Predict, _request())
  assert error.details() == "Servable not found for request: Latest(m)"


def test_a_reload_to_nothing_that_works_says_so(client, tmp_path):
  os.makedirs(tmp_path / "n" / "1")
  (tmp_path / "n" / "1" / "saved_model.pb").write_bytes(b"damaged")
  error = running_server.error_of(_reload, client, tmp_path / "n", name="n")
  assert error.code() == grpc.StatusCode.UNKNOWN
  assert error.details().startswith("Some models did not become available: {name: n version: 1} due to error: ")


def test_a_reload_to_a_path_that_is_not_there_is_refused_at_once(base, client, tmp_path):
  for name in ("n", "m"):
    error = running_server.error_of(_reload, client, tmp_path / "nowhere", name=name)
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert error.details() == f"Could not find base path {tmp_path / 'nowhere'} for servable {name}"
  assert _answer(client) == (2.0, 1)


def test_the_port_opens_with_the_first_version(tmp_path, version_folder, caplog):
  """An empty base path is waited for, with a word; a client then finds nobody there."""
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
  answers = []

  def serve():
    with running_server.in_process("--model_name=m", f"--model_base_path={tmp_path}", f"--port={port}") as one:
      answers.append(_answer(one))

  thread = threading.Thread(target=serve)
  thread.start()
  running_server.wait_until(lambda: "Did you forget to name your leaf directory as a number" in caplog.text, "a word")
  assert f"No versions of servable m found under base path {tmp_path}. " in caplog.text
  with pytest.raises(ConnectionRefusedError):
    socket.create_connection(("127.0.0.1", port), timeout=5)
  small_models.copy(version_folder, str(tmp_path / "1"))
  thread.join(60)
  assert answers == [(2.0, 1)]


def test_a_server_that_still_waits_can_be_stopped(tmp_path):
  settings = server_config.from_flags([f"--model_base_path={tmp_path}"])
  stop = threading.Event()
  thread = threading.Thread(target=server.serve, args=(settings, stop))
  thread.start()
  stop.set()
  thread.join(60)
  assert not thread.is_alive()


def test_a_busy_server_still_says_how_it_is_and_refuses_what_is_too_much(base, monkeypatch):
  """One request runs, seven wait; health and status answer all the same, and beyond the limit is refused at once."""
  running, go_on, run = [], threading.Event(), model_api.run_alone

  def wait(*given):
    running.append(given)
    assert go_on.wait(60)
    return run(*given)

  monkeypatch.setattr(model_api, "run_alone", wait)
  flags = "--grpc_max_threads=1", "--max_queued_requests=7"
  with running_server.in_process("--model_name=m", f"--model_base_path={base}", *flags) as one:
    calls = [one.prediction.Predict.future(_request(), timeout=60)]
    running_server.wait_until(lambda: running, "the first request")
    calls += [one.prediction.Predict.future(_request(), timeout=60) for _ in range(9)]
    running_server.wait_until(lambda: sum(call.done() for call in calls) == 2, "refusals")
    assert [call.code() for call in calls if call.done()] == 2 * [grpc.StatusCode.RESOURCE_EXHAUSTED]
    health = health_pb2_grpc.HealthStub(one.channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert one.states()[1][0] == _AVAILABLE and len(running) == 1
    go_on.set()
    assert [call.code() for call in calls].count(grpc.StatusCode.OK) == 8
    running_server.wait_until(lambda: one.prediction.Predict.future(_request()).code() == grpc.StatusCode.OK, "calm")


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(base, client, monkeypatch):
  monkeypatch.setattr(versions.VersionManager, "start", lambda manager: pytest.fail("loading"))
  for flag, address in (("port", client.address), ("rest_port", client.rest)):
    port = address.rsplit(":", 1)[1]
    with pytest.raises(flag_error.FlagError, match=rf"--{flag}={port}: cannot be had on 127.0.0.1 \(Address already"):
      with running_server.in_process("--model_name=m", f"--model_base_path={base}", f"--{flag}={port}"):
        pass


def test_states_are_those_of_the_protocol():
  from tensorflow_serving.apis import get_model_status_pb2
  names = get_model_status_pb2.ModelVersionStatus.State.items()
  assert {name: number for name, number in names if number} == {one.name: int(one) for one in versions.State}
