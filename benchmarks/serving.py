"""What serving costs: drawing over gRPC against the same SavedModel's signature called in this process.

    python benchmarks/serving.py --export_dir=M/stic --out=serving.json

One server, batching on, in its own process with as many threads as this one has. Three figures:

- p50_over_in_process: time of one request of 16 images over that of the call, median over the rounds of the ratio
  within a round. Both take turns.
- batched_throughput_over_in_process: 16 clients with one image a request against calls of 16 images, in turns as well.
- memory_growth_mib: resident memory of the server after 1000 more requests of one image and few steps.

The answers of the server are compared with the call's before anything is timed: they must be the same bytes.
"""

import argparse
import contextlib
import importlib
import os
import pathlib
import signal
import sys
import tempfile
import time
from concurrent import futures
from typing import Dict, Iterator, Tuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

import grpc  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow_serving.apis import predict_pb2  # noqa: E402
from tensorflow_serving.apis import prediction_service_pb2_grpc  # noqa: E402

from benchmarks import measure  # noqa: E402
from benchmarks import served  # noqa: E402
from serving import version_folders  # noqa: E402

_SIGNATURE = "synthesize"
_BATCH = 16
# Clients that were answered together come back within this, on a busy machine too: the next batch is full again.
_BATCHING = f"""
max_batch_size {{ value: {_BATCH} }}
batch_timeout_micros {{ value: 200000 }}
num_batch_threads {{ value: 1 }}
"""


@contextlib.contextmanager
def _started(export_dir: str, threads: int) -> Iterator[Tuple[served.Server, object]]:
  """A server of the export that makes batches, and a stub of its gRPC; ended with the block."""
  with tempfile.TemporaryDirectory() as folder:
    parameters = os.path.join(folder, "batching.txt")
    with open(parameters, "w", encoding="utf-8") as file:
      file.write(_BATCHING)
    flags = ["--enable_batching", f"--batching_parameters_file={parameters}",
             f"--tensorflow_intra_op_parallelism={threads}", f"--tensorflow_inter_op_parallelism={threads}"]
    with served.started(export_dir, flags) as server, grpc.insecure_channel(
        f"127.0.0.1:{server.port}", [("grpc.max_receive_message_length", -1)]) as channel:
      yield server, prediction_service_pb2_grpc.PredictionServiceStub(channel)


class Drawer:
  """The export's `synthesize`, in this process and over gRPC, with the same inputs."""

  def __init__(self, folder: str, stub):
    self._loaded = tf.saved_model.load(folder)
    self._function = self._loaded.signatures[_SIGNATURE]
    self._stub = stub
    self._num_classes = self._function.structured_input_signature[1]["class_weights"].shape[1]

  def inputs(self, first: int, count: int, steps: int) -> Dict[str, np.ndarray]:
    """Inputs of the images `first` to `first + count`."""
    numbers = np.arange(first, first + count)
    return {"class_weights": np.eye(self._num_classes, dtype=np.float32)[numbers % self._num_classes],
            "seed": np.stack([np.zeros_like(numbers), numbers], axis=1).astype(np.int64),
            "num_steps": np.full(count, steps, np.int32), "temperature": np.ones(count, np.float32)}

  def here(self, inputs: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    outputs = self._function(**{name: tf.constant(array) for name, array in inputs.items()})
    return {name: tensor.numpy() for name, tensor in outputs.items()}

  def served(self, inputs: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = served.MODEL, _SIGNATURE
    for name, array in inputs.items():
      request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    return {name: tf.make_ndarray(proto) for name, proto in self._stub.Predict(request).outputs.items()}

  def check(self, pool: futures.Executor, steps: int) -> None:
    """Raises RuntimeError unless the same images come both ways, together and one a request."""
    here = self.here(self.inputs(0, _BATCH, steps))
    together = self.served(self.inputs(0, _BATCH, steps))
    alone = list(pool.map(lambda number: self.served(self.inputs(number, 1, steps)), range(_BATCH)))
    for name, images in (("of 16", together["images"]), ("of one", np.concatenate([one["images"] for one in alone]))):
      if not np.array_equal(here["images"], images):
        raise RuntimeError(f"requests {name} brought other images than the call in this process")


def _timed(function, server: served.Server) -> measure.Contestant:
  """A contestant whose processor time is that of both processes, which other work on the machine hardly changes."""

  def run() -> measure.Elapsed:
    wall, cpu = time.perf_counter(), time.process_time() + server.processor_seconds()
    function()
    return measure.Elapsed(time.perf_counter() - wall, time.process_time() + server.processor_seconds() - cpu)

  return run


def _contestants(drawer: Drawer, server: served.Server, pool: futures.Executor, steps: int, calls: int):
  """By name: one call or request of 16, and `calls` times 16 images, called or by 16 clients."""
  inputs = drawer.inputs(0, _BATCH, steps)
  single = [drawer.inputs(number, 1, steps) for number in range(_BATCH)]

  def client(number: int) -> None:
    for _ in range(calls):
      drawer.served(single[number])

  functions = {"call": lambda: drawer.here(inputs), "request": lambda: drawer.served(inputs),
               "calls": lambda: [drawer.here(inputs) for _ in range(calls)],
               "clients": lambda: list(pool.map(client, range(_BATCH)))}
  return {name: _timed(function, server) for name, function in functions.items()}


def _memory_growth(drawer: Drawer, server: served.Server, pool: futures.Executor, requests: int) -> float:
  """MiB; the server has answered as many requests at a time before, so that its threads exist."""

  def send(number: int) -> None:
    drawer.served(drawer.inputs(number, 1, 2))

  list(pool.map(send, range(100)))
  before = server.resident_mib()
  list(pool.map(send, range(requests)))
  return server.resident_mib() - before


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--export_dir", required=True, help="folder with the numbered folders of an export")
  parser.add_argument("--out", required=True, help="FILE.json")
  parser.add_argument("--num_steps", type=int, default=300, help="of each chain")
  parser.add_argument("--repetitions", type=int, default=20)
  parser.add_argument("--calls", type=int, default=4, help="batches of 16 images in a repetition of the throughput")
  parser.add_argument("--memory_requests", type=int, default=1000)
  parser.add_argument("--threads", type=int, default=2)
  arguments = parser.parse_args()
  for name in ("num_steps", "repetitions", "calls", "memory_requests", "threads"):
    if getattr(arguments, name) < 1:
      parser.error(f"--{name}={getattr(arguments, name)}: must be at least 1")
  if not version_folders.find(arguments.export_dir):
    parser.error(f"--export_dir={arguments.export_dir}: has no numbered folder")
  return arguments


def main() -> None:
  arguments = _parse()
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server ends with this process
  measure.pin_threads(arguments.threads)
  circumstances = measure.circumstances(arguments.threads)
  circumstances["versions"]["grpcio"] = grpc.__version__
  versions = version_folders.find(arguments.export_dir)
  with _started(arguments.export_dir, arguments.threads) as (server, stub), futures.ThreadPoolExecutor(_BATCH) as pool:
    drawer = Drawer(versions[max(versions)], stub)
    drawer.check(pool, arguments.num_steps)
    times = measure.in_turns(
        _contestants(drawer, server, pool, arguments.num_steps, arguments.calls), arguments.repetitions,
        lambda done: print(f"\rround {done} of {arguments.repetitions}", end="", file=sys.stderr, flush=True))
    growth = _memory_growth(drawer, server, pool, arguments.memory_requests)
  wall = {name: values[:, 0] for name, values in times.items()}
  ratios = {"p50_over_in_process": measure.spread(wall["request"] / wall["call"]),
            "batched_throughput_over_in_process": measure.spread(wall["calls"] / wall["clients"])}
  processor = {name: float(np.sum(values[:, 1])) for name, values in times.items()}
  processor_ratios = {"p50_over_in_process": processor["request"] / processor["call"],
                      "batched_throughput_over_in_process": processor["calls"] / processor["clients"]}
  report = {**{name: value["median"] for name, value in ratios.items()}, "memory_growth_mib": growth,
            "ratio_spreads": ratios, "processor_ratios": processor_ratios,
            "seconds": {name: measure.spread(values) for name, values in wall.items()},
            "images_per_second": {name: _BATCH * arguments.calls / float(np.median(wall[name]))
                                  for name in ("calls", "clients")},
            **circumstances, "export_dir": arguments.export_dir, "batch_size": _BATCH,
            "num_steps": arguments.num_steps, "repetitions": arguments.repetitions, "calls": arguments.calls,
            "memory_requests": arguments.memory_requests}
  print(f"\n{report['device']}, {arguments.threads} threads, {arguments.num_steps} steps")
  for name, value in ratios.items():
    print(f"{name:36s} {value['median']:7.3f}   quartiles {value['quartile_1']:.3f} {value['quartile_3']:.3f}   "
          f"by processor time {processor_ratios[name]:.3f}")
  print(f"{'memory_growth_mib':36s} {growth:7.2f}   over {arguments.memory_requests} requests")
  measure.write_json(arguments.out, report)


if __name__ == "__main__":
  main()
