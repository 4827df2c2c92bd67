"""num_steps and temperature may be left out: over gRPC and REST, for any number of rows, batched or not."""

import grpc
import numpy as np
import pytest
import requests

from tests.serving import running_server
from tests.serving import small_models
from tests.serving import stand_in


@pytest.fixture(scope="module", params=["alone", "batched"])
def client(request, tmp_path_factory):
  base = tmp_path_factory.mktemp("stic")
  stand_in.save(str(base / "1"))
  batching = f"--enable_batching={'true' if request.param == 'batched' else 'false'}"
  with running_server.in_process(f"--model_base_path={base}", batching) as one:
    yield one


def _rows(count: int):
  return {"class_weights": np.eye(10, dtype=np.float32)[np.arange(count) % 10],
          "seed": np.int64([(5, number) for number in range(count)])}


def _predict(client, rows):
  response = client.prediction.Predict(small_models.predict_request("synthesize", model="stic", **rows))
  return small_models.arrays(response)["images"].tolist()


@pytest.mark.parametrize("count", [1, 2, 17])
def test_over_grpc_and_rest(client, count):
  rows = _rows(count)
  expected = _predict(client, {**rows, "num_steps": np.full(count, stand_in.OWN_STEPS, np.int32),
                               "temperature": np.ones(count, np.float32)})
  assert _predict(client, rows) == expected
  assert _predict(client, {**rows, "temperature": np.ones(count, np.float32)}) == expected
  listed = {name: values.tolist() for name, values in rows.items()}
  url = f"{client.rest}/v1/models/stic:predict"
  by_column = requests.post(url, json={"signature_name": "synthesize", "inputs": listed}, timeout=60).json()
  assert by_column["outputs"]["images"] == expected
  instances = [dict(zip(listed, row)) for row in zip(*listed.values())]
  by_row = requests.post(url, json={"signature_name": "synthesize", "instances": instances}, timeout=60).json()
  assert [row["images"] for row in by_row["predictions"]] == expected


def test_what_has_no_default_is_missed(client):
  answer = requests.post(f"{client.rest}/v1/models/stic:predict", timeout=60, json={
      "signature_name": "synthesize", "instances": [{"seed": [1, 2], "num_steps": 3}]})
  assert answer.status_code == 400 and "keys must be equal to: class_weights,num_steps,seed" in answer.json()["error"]
  error = running_server.error_of(_predict, client, {"seed": np.int64([[1, 2]])})
  assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "class_weights" in error.details()
