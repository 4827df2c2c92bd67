"""REST beside gRPC, and honest clients of both while 200 slow and 200 silent ones and one with 60 MB bodies are there.

    python benchmarks/rest.py --export_dir=M/stic --out=rest.json

One server, no batching, in its own process; classify of one image. Figures:

- rest_over_grpc: requests a second over REST by those over gRPC, one connection each, in turns; the median of rounds.
- p99_ms: of both, with 1, 8 and 64 connections.
- attacked_over_alone: p99 with the attackers by p99 without, rounds of both in turns, for each of the two.
- failures: of honest requests, which should be none. memory_left_mib: resident memory after the attacks less before.
- json_ms: processor time of this process to read 64×64×3 pixels as JSON into an array.
"""

import argparse
import importlib
import json
import os
import pathlib
import sys
import time
from concurrent import futures
from typing import Dict, List

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import numpy as np  # noqa: E402
from tensorflow.core.protobuf import meta_graph_pb2  # noqa: E402
from tensorflow_serving.apis import predict_pb2  # noqa: E402, F401

from benchmarks import measure  # noqa: E402
from benchmarks import served  # noqa: E402
from serving import rest_json  # noqa: E402

_CONNECTIONS = (1, 8, 64)
_ATTACKERS = {"slow": 200, "silent": 200, "greedy": 1}


def _p99(seconds: List[float]) -> float:
  return float(np.quantile(seconds, 0.99)) * 1000 if seconds else float("nan")


def _json_ms() -> float:
  info = meta_graph_pb2.TensorInfo(dtype=4)
  for size in (-1, 64, 64, 3):
    info.tensor_shape.dim.add(size=size)
  signature = meta_graph_pb2.SignatureDef(inputs={"images": info})
  pixels = np.random.default_rng(0).integers(0, 256, [1, 64, 64, 3])
  body, times = json.dumps({"instances": pixels.tolist()}).encode(), []
  for _ in range(20):
    start = time.process_time()
    rest_json.inputs(rest_json.parse(body), signature)
    times.append(time.process_time() - start)
  return 1000 * float(np.median(times))


def _at_once(make, connections: int, count: int, failures: List[str]) -> List[float]:
  """Latencies of `connections` clients, `count` calls in all."""
  clients = [make() for _ in range(connections)]
  with futures.ThreadPoolExecutor(connections) as pool:
    parts = pool.map(lambda client: served.latencies(client, count // connections, failures), clients)
    return [seconds for part in parts for seconds in part]


def run(arguments) -> Dict:
  failures: List[str] = []
  with served.started(arguments.export_dir) as server:
    shape = served.GrpcClient(server).model.image_shape
    make = {"grpc": lambda: served.GrpcClient(server), "rest": lambda: served.RestClient(server, shape)}
    for one in make.values():
      served.latencies(one(), 100, failures)
    ratios, p99 = [], {}
    one = {name: function() for name, function in make.items()}
    for _ in range(arguments.repetitions):
      sums = {name: sum(served.latencies(client, arguments.requests, failures)) for name, client in one.items()}
      ratios.append(sums["grpc"] / sums["rest"])
    for connections in _CONNECTIONS:
      p99[str(connections)] = {name: _p99(_at_once(function, connections, 8 * arguments.requests, failures))
                               for name, function in make.items()}
    before = server.resident_mib()
    alone, attacked = {name: [] for name in make}, {name: [] for name in make}
    for _ in range(arguments.repetitions):
      for name, client in one.items():
        alone[name] += served.latencies(client, arguments.requests, failures)
      with served.attacked(server, **_ATTACKERS):
        for name, client in one.items():
          attacked[name] += served.latencies(client, arguments.requests, failures)
    time.sleep(5.0)
    growth = server.resident_mib() - before
  return {"rest_over_grpc": measure.spread(ratios), "p99_ms": p99,
          "attacked_over_alone": {name: _p99(attacked[name]) / _p99(alone[name]) for name in make},
          "attacked_p99_ms": {name: _p99(attacked[name]) for name in make},
          "alone_p99_ms": {name: _p99(alone[name]) for name in make},
          "failures": failures, "memory_left_mib": growth, "json_ms": _json_ms()}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--export_dir", required=True, help="folder with the numbered folders of an export")
  parser.add_argument("--out", required=True, help="FILE.json")
  parser.add_argument("--repetitions", type=int, default=5)
  parser.add_argument("--requests", type=int, default=300, help="a round and client")
  arguments = parser.parse_args()
  report = run(arguments)
  print(json.dumps(report, indent=1))
  measure.write_json(arguments.out, {**report, **measure.circumstances(os.cpu_count()),
                                     "export_dir": arguments.export_dir, "requests": arguments.requests,
                                     "repetitions": arguments.repetitions})


if __name__ == "__main__":
  main()
