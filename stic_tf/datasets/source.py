"""Where the images come from: prepared TFDS folders, found, downloaded or refused with one clear line.

Plain TFDS tries for minutes to download without a network. Here the prepared folder is looked at first, without any
network, and a download starts only after its host has answered.
"""

import os
import re
import threading
from typing import Optional, Tuple

import numpy as np

from stic_tf.config import ConfigError
from stic_tf.datasets.catalog import DatasetSpec

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_TENSORFLOW_NAMES = re.compile(r"\{\{.*?\}\} ?| ?\[Op:.*")


def digits() -> Tuple[np.ndarray, np.ndarray]:
  """Scikit-learn's embedded handwritten digits (1797 real scans of the UCI set), in its own order.

  Returns:
    images uint8 [1797, 8, 8, 1], the stored 0..16 stretched to 0..255; labels int32 [1797].
  """
  from sklearn import datasets  # slow to import, and only this dataset needs it

  stored = datasets.load_digits()
  images = np.round(stored.images[..., None] * (255.0 / 16.0)).astype(np.uint8)
  return images, stored.target.astype(np.int32)


def data_folder(data_dir: Optional[str]) -> str:
  """The absolute folder that holds prepared datasets: `data_dir` with ~ expanded, or TFDS' own default for None."""
  if data_dir is None:
    # As tfds.core.constants.DATA_DIR, whose import would take a second or more of the time a refusal may take.
    data_dir = os.environ.get("TFDS_DATA_DIR", os.path.join("~", "tensorflow_datasets"))
  return os.path.abspath(os.path.expanduser(os.fspath(data_dir)))


def prepared_folder(spec: DatasetSpec, folder: str) -> Optional[str]:
  """The newest prepared version of the dataset below `folder`, or None. Looks at the disk only."""
  parent = os.path.join(folder, *spec.tfds_name.split("/"))
  try:
    versions = [name for name in os.listdir(parent) if _VERSION.fullmatch(name)]
  except OSError:
    return None
  if not versions:
    return None
  return os.path.join(parent, max(versions, key=lambda name: tuple(map(int, name.split(".")))))


def unreadable(spec: DatasetSpec, data_dir: Optional[str], problem: object) -> ConfigError:
  """The error for a prepared folder that is there and is broken, as one line."""
  folder = data_folder(data_dir)
  found = prepared_folder(spec, folder) or _expected_folder(spec, folder)
  return ConfigError(f"--data_dir={folder}: {spec.name} in {found} cannot be read ({_first_line(problem)}); "
                     f"delete that folder, then {_way(spec, folder)}")


def open_builder(spec: DatasetSpec, data_dir: Optional[str], download: bool, timeout_seconds: float):
  """The TFDS builder of a prepared dataset, which is downloaded and prepared first where it is absent.

  Args:
    spec: a dataset with a `tfds_name`.
    data_dir: folder of prepared datasets, may start with ~; None is TFDS' own default.
    download: whether an absent dataset may be fetched.
    timeout_seconds: how long its host has to answer.

  Returns:
    A read-only `tfds.core.DatasetBuilder`.

  Raises:
    ConfigError: absent and not to be had, or not readable; one line with the name, the folder and the way to get it.
  """
  folder = data_folder(data_dir)
  found = prepared_folder(spec, folder)
  if found is None:
    if not download:
      raise _absent(spec, folder, "downloading is off")
    _download(spec, folder, timeout_seconds)
    found = prepared_folder(spec, folder)
    if found is None:
      raise _absent(spec, folder, "the download left nothing there")
  import tensorflow_datasets as tfds

  try:
    return tfds.builder_from_directory(found)
  except Exception as error:  # whatever a half-written or foreign folder makes TFDS, protobuf or json raise
    raise unreadable(spec, data_dir, error) from error


def unreachable_reason(url: str, timeout_seconds: float) -> Optional[str]:
  """Asks for the head of `url` (through the proxies of the environment); None if it is there, else why not.

  Runs in a thread of its own because a name look-up has no timeout: after `timeout_seconds` it is left behind.
  """
  answer = []

  def ask():
    import requests
    try:
      status = requests.head(url, timeout=timeout_seconds, allow_redirects=True).status_code
      answer.append(None if status < 400 else f"answered {status}")
    except Exception as error:  # any failure to ask means the same: no answer
      answer.append(type(error).__name__)

  thread = threading.Thread(target=ask, daemon=True)
  thread.start()
  thread.join(timeout_seconds)
  return answer[0] if answer else f"no answer in {timeout_seconds:g} s"


def _download(spec: DatasetSpec, folder: str, timeout_seconds: float) -> None:
  if spec.manual_files:
    manual = _manual_folder(folder)
    missing = [name for name in spec.manual_files if not os.path.exists(os.path.join(manual, name))]
    if missing:
      raise _absent(spec, folder, f"{' and '.join(missing)} not in {manual}, where TFDS prepares it from")
  elif not spec.download_url:
    raise _absent(spec, folder, "no download of it is known")
  else:
    reason = unreachable_reason(spec.download_url, timeout_seconds)
    if reason is not None:
      raise _absent(spec, folder, f"{spec.download_url.split('/')[2]} cannot be reached: {reason}")
  import tensorflow_datasets as tfds

  try:
    tfds.builder(spec.tfds_name, data_dir=folder).download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False))
  except Exception as error:  # network, disk, checksums, a missing package: TFDS has no common base for them
    raise _absent(spec, folder, f"preparing it failed: {type(error).__name__}: {_first_line(error)}") from error


def _absent(spec: DatasetSpec, folder: str, reason: str) -> ConfigError:
  return ConfigError(f"--data_dir={folder}: {spec.name} is not prepared (looked in {_expected_folder(spec, folder)}) "
                     f"and {reason}; {_way(spec, folder)}")


def _expected_folder(spec: DatasetSpec, folder: str) -> str:
  return os.path.join(folder, *spec.tfds_name.split("/"))


def _manual_folder(folder: str) -> str:
  return os.path.join(folder, "downloads", "manual")


def _way(spec: DatasetSpec, folder: str) -> str:
  """How a user gets the dataset."""
  if spec.manual_files:
    return (f"register at https://image-net.org, put {' and '.join(spec.manual_files)} into {_manual_folder(folder)} "
            "and run again")
  needs = f" (needs pip install {spec.preparation_needs})" if spec.preparation_needs else ""
  return (f"on a machine with network run: python -c \"import tensorflow_datasets as tfds; "
          f"tfds.load('{spec.tfds_name}', data_dir='{folder}')\"{needs}, and pass that folder as --data_dir")


def _first_line(problem: object) -> str:
  """The first line of an error, without TensorFlow's node and op names."""
  lines = [line.strip() for line in _TENSORFLOW_NAMES.sub("", str(problem)).splitlines() if line.strip()]
  return lines[0][:200] if lines else type(problem).__name__
