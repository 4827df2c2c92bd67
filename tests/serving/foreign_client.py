"""Run by test_foreign_client.py in its own process, as ovmsclient brings protos that clash with TensorFlow's.

    python foreign_client.py localhost:GRPC localhost:REST

Prints one JSON object.
"""

import json
import sys

import numpy as np
import ovmsclient

# Its default version is 0, which it sends, and which tensorflow_model_server takes for the version of that number.
VERSION = 1

ours = {}
x = np.float32([1.0, 2.5])
for name, make, address in (("grpc", ovmsclient.make_grpc_client, sys.argv[1]),
                            ("rest", ovmsclient.make_http_client, sys.argv[2])):
  client = make(address)
  found = ours[name] = {"status": client.get_model_status("m", VERSION, timeout=30)}
  if name == "grpc":  # over REST it knows OpenVINO's spelling of the metadata only
    metadata = client.get_model_metadata("m", VERSION, timeout=30)
    found["metadata"] = [metadata["model_version"], sorted(metadata["inputs"]), sorted(metadata["outputs"])]
  answer = client.predict({"x": x}, "m", VERSION, timeout=30)
  found["y"] = np.asarray(answer["y"]).tolist()
  for case, call in (("model", lambda: client.predict({"x": x}, "zz", VERSION, timeout=30)),  # noqa: B023
                     ("input", lambda: client.predict({"q": x}, "m", VERSION, timeout=30))):  # noqa: B023
    try:
      call()
    except Exception as problem:
      found[case] = [type(problem).__name__, str(problem)]
print(json.dumps(ours))
