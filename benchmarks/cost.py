"""What a drawing of each model of the zoo costs: evaluations, FLOPs, drawings a second of a core by batch.

    python benchmarks/cost.py --models=digits_score,mnist_score --batches=1,4,16,64 --out=cost.json

An evaluation is the network's energy and its gradient by the image; its convolutions and matrix products count. Each
model is timed in a process of its own, of one thread on one core, after a first batch that does not count. The fleet is
the number of cores that the fastest batch needs for 10, 1000 and 100,000 drawings a second, by division.
"""

import argparse
import importlib
import json
import math
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
importlib.import_module("stic_tf")  # before TensorFlow, which it sets up

from stic_tf import zoo  # noqa: E402

_FLEETS = (10, 1000, 100000)


def _flops(classifier) -> int:
  """Operations of the convolutions and matrix products of an evaluation of one image, a multiplication and an addition
  being two."""
  import tensorflow as tf

  system = classifier.system

  def evaluate(images):
    with tf.GradientTape() as tape:
      tape.watch(images)
      outputs = (system.average.level_energies(images, tf.fill([1], 0.3)) if system.conditioned
                 else tf.nest.flatten(system.average(images)))
      energy = tf.reduce_sum(outputs[0][:, 0])
    return tape.gradient(energy, images)

  spec = tf.TensorSpec([1, *classifier.image_shape], tf.float32)
  graph = tf.function(evaluate, autograph=False).get_concrete_function(spec).graph
  return sum(_operations(op) for op in graph.get_operations())


def _operations(op) -> int:
  """Of one node of a graph of static shapes; 0 for what is no convolution or matrix product."""
  shapes = [value.shape.as_list() for value in op.inputs]
  if op.type == "Conv2D":  # each output is a product with a filter [h, w, in, out]
    return 2 * math.prod(op.outputs[0].shape.as_list()) * math.prod(shapes[1][:3])
  if op.type == "Conv2DBackpropInput":
    return 2 * math.prod(shapes[2]) * math.prod(shapes[1][:3])
  if op.type in ("MatMul", "BatchMatMulV2"):
    inner = shapes[0][-2 if op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x") else -1]
    return 2 * math.prod(op.outputs[0].shape.as_list()) * inner
  return 0


def _measure(name: str, batches, repetitions: int) -> dict:
  """Of one model, in this process."""
  from export import bulk_model
  from stic_tf import loading

  model = bulk_model.load(None, name, 1)
  classifier = loading.load(name)
  seconds = {}
  for batch in batches:
    weights = np.eye(len(model.class_names), dtype=np.float32)[np.arange(batch) % len(model.class_names)]
    seeds = np.stack([np.zeros(batch, np.int64), np.arange(batch)], axis=1)
    model.draw(weights, seeds)
    times = []
    for _ in range(repetitions):
      began = time.perf_counter()
      model.draw(weights, seeds)
      times.append(time.perf_counter() - began)
    seconds[batch] = float(np.median(times))
  rate = max(batch / taken for batch, taken in seconds.items())
  evaluations, flops = classifier.network_evaluations(), _flops(classifier)
  return {"parameters": int(sum(np.prod(value.shape) for value in classifier.system.average.trainable_weights)
                            or sum(np.prod(value.shape) for value in classifier.system.average.weights)),
          "evaluations": evaluations, "flops_an_evaluation": flops, "flops_a_drawing": flops * evaluations,
          "seconds_a_batch": seconds, "drawings_a_second_and_core": rate,
          "cores": {wanted: math.ceil(wanted / rate) for wanted in _FLEETS}}


def _parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--models", default=",".join(zoo.names()))
  parser.add_argument("--batches", default="1,4,16,64")
  parser.add_argument("--repetitions", type=int, default=3)
  parser.add_argument("--child", help="measures one model and prints it; the benchmark calls itself with this")
  parser.add_argument("--out", help="FILE.json")
  return parser.parse_args()


def main() -> None:
  arguments = _parse()
  if arguments.child:
    print(json.dumps(_measure(arguments.child, [int(batch) for batch in arguments.batches.split(",")],
                              arguments.repetitions)))
    return
  from benchmarks import measure
  report = {"settings": vars(arguments), **measure.circumstances(1), "models": {}}
  core = str(min(os.sched_getaffinity(0)))
  for name in arguments.models.split(","):
    child = subprocess.run(["taskset", "-c", core, sys.executable, __file__, f"--child={name}",
                            f"--batches={arguments.batches}", f"--repetitions={arguments.repetitions}"],
                           capture_output=True, text=True, check=False)
    if child.returncode:
      raise RuntimeError(child.stderr[-2000:])
    report["models"][name] = json.loads(child.stdout.splitlines()[-1])
    print(name, json.dumps(report["models"][name]), flush=True)
    if arguments.out:
      measure.write_json(arguments.out, report)


if __name__ == "__main__":
  main()
