"""How requests are merged."""

import dataclasses
import os


@dataclasses.dataclass(frozen=True)
class BatchSettings:
  """tensorflow_model_server's BatchingParameters with its defaults.

  Attributes:
    max_batch_size: rows of one run at most.
    batch_timeout_seconds: how long clients that were answered together are waited for while a batch thread is free.
    max_enqueued_batches: rows that may wait, in batches.
    num_batch_threads: runs at a time.
  """

  max_batch_size: int = 1000
  batch_timeout_seconds: float = 0.0
  max_enqueued_batches: int = 10
  num_batch_threads: int = os.cpu_count() or 1
