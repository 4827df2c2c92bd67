"""Runs a SavedModel's signatures through TensorFlow's C API, in a process that has no TensorFlow for Python.

    python c_api.py LIBRARY FOLDER CALLS.json INPUTS.npz OUTPUTS.npz

CALLS.json: a list of {"feeds": {array name: "op:index"}, "fetches": {array name: "op:index"}}. The arrays
of call number N are "N/name"; of one that fails there is only "N/error", its code and message. The same C++ loader and
session run inside tensorflow_model_server.
"""

import ctypes
import json
import sys

import numpy as np

_DTYPES = {1: np.float32, 3: np.int32, 4: np.uint8, 9: np.int64}
_NUMBERS = {np.dtype(dtype): number for number, dtype in _DTYPES.items()}
_OK = 0


class _Output(ctypes.Structure):
  """TF_Output."""

  _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class Model:
  """A SavedModel in a session of the C API."""

  def __init__(self, library: str, folder: str):
    self._tf = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    for name in ("TF_NewStatus", "TF_NewGraph", "TF_NewSessionOptions", "TF_LoadSessionFromSavedModel",
                 "TF_GraphOperationByName", "TF_AllocateTensor", "TF_TensorData"):
      getattr(self._tf, name).restype = ctypes.c_void_p
    self._tf.TF_Message.restype = ctypes.c_char_p
    self._tf.TF_Dim.restype = ctypes.c_int64
    self._tf.TF_TensorByteSize.restype = ctypes.c_size_t
    self._status = ctypes.c_void_p(self._tf.TF_NewStatus())
    self._graph = ctypes.c_void_p(self._tf.TF_NewGraph())
    tags = (ctypes.c_char_p * 1)(b"serve")
    self._session = ctypes.c_void_p(self._tf.TF_LoadSessionFromSavedModel(
        ctypes.c_void_p(self._tf.TF_NewSessionOptions()), None, folder.encode(), tags, 1, self._graph, None,
        self._status))
    self._check()

  def _check(self):
    code = self._tf.TF_GetCode(self._status)
    if code != _OK:
      raise RuntimeError(f"{code} {self._tf.TF_Message(self._status).decode()}")

  def _output(self, name: str) -> _Output:
    operation, index = name.split(":")
    found = self._tf.TF_GraphOperationByName(self._graph, operation.encode())
    if not found:
      raise KeyError(name)
    return _Output(found, int(index))

  def _tensor(self, array: np.ndarray):
    array = np.ascontiguousarray(array)
    sizes = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = self._tf.TF_AllocateTensor(_NUMBERS[array.dtype], sizes, array.ndim, ctypes.c_size_t(array.nbytes))
    ctypes.memmove(self._tf.TF_TensorData(ctypes.c_void_p(tensor)), array.ctypes.data, array.nbytes)
    return tensor

  def _array(self, tensor: int) -> np.ndarray:
    tensor = ctypes.c_void_p(tensor)
    shape = [self._tf.TF_Dim(tensor, i) for i in range(self._tf.TF_NumDims(tensor))]
    data = ctypes.string_at(self._tf.TF_TensorData(tensor), self._tf.TF_TensorByteSize(tensor))
    return np.frombuffer(data, _DTYPES[self._tf.TF_TensorType(tensor)]).reshape(shape)

  def run(self, feeds, fetches):
    """feeds: {tensor name: array}; fetches: tensor names -> arrays."""
    outputs = (ctypes.c_void_p * len(fetches))()
    self._tf.TF_SessionRun(
        self._session, None, (_Output * len(feeds))(*map(self._output, feeds)),
        (ctypes.c_void_p * len(feeds))(*map(self._tensor, feeds.values())), len(feeds),
        (_Output * len(fetches))(*map(self._output, fetches)), outputs, len(fetches), None, 0, None, self._status)
    self._check()
    return [self._array(tensor) for tensor in outputs]


def main(library, folder, calls, inputs, outputs):
  model = Model(library, folder)
  with open(calls, encoding="utf-8") as file:
    calls = json.load(file)
  results = {}
  with np.load(inputs) as arrays:
    for i, call in enumerate(calls):
      feeds = {tensor: arrays[f"{i}/{name}"] for name, tensor in call["feeds"].items()}
      try:
        values = model.run(feeds, list(call["fetches"].values()))
        results.update({f"{i}/{name}": value for name, value in zip(call["fetches"], values)})
      except RuntimeError as problem:
        results[f"{i}/error"] = np.array(str(problem))
  assert "tensorflow" not in sys.modules
  np.savez(outputs, **results)


if __name__ == "__main__":
  main(*sys.argv[1:])
