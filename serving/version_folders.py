"""What lies under a model's base path: numbered folders, complete or still being copied."""

import os
from typing import Callable, Dict, Mapping, Optional, Tuple

_GRAPH_FILES = ("saved_model.pb", "saved_model.pbtxt")
_LARGEST_VERSION = 2 ** 63 - 1

# Of each file or folder inside: path, size, time of last change. Equal fingerprints: nothing was written in between.
Fingerprint = Tuple[Tuple[str, int, int], ...]


def find(base_path: str) -> Optional[Dict[int, str]]:
  """Version number -> folder, for each folder whose name is a number; None where the base path cannot be read."""
  try:
    names = sorted(os.listdir(base_path))
  except OSError:
    return None
  versions = {}
  for name in names:
    if name.isdecimal() and name.isascii() and int(name) <= _LARGEST_VERSION:
      path = os.path.join(base_path, name)
      if os.path.isdir(path):
        versions.setdefault(int(name), path)
  return versions


def fingerprint(path: str) -> Tuple[Fingerprint, float]:
  """(fingerprint, seconds since 1970 of the newest change) of a folder; unreadable parts count as empty."""
  entries, newest = [], 0.0
  for folder, _, files in os.walk(path):
    for name in ["", *files]:
      full = os.path.join(folder, name)
      try:
        stat = os.stat(full)
      except OSError:
        continue
      entries.append((os.path.relpath(full, path), stat.st_size, stat.st_mtime_ns))
      # The time of the inode's change: a copy that preserves times does not hide behind it.
      newest = max(newest, stat.st_ctime)
  return tuple(sorted(entries)), newest


def has_graph(path: str) -> bool:
  """Whether the folder holds a SavedModel's graph, which exporters write last."""
  return any(os.path.isfile(os.path.join(path, name)) for name in _GRAPH_FILES)


def wanted(policy, found: Mapping[int, str], is_usable: Callable[[int], bool]) -> Dict[int, str]:
  """The usable versions a ServableVersionPolicy asks for; the latest one where it is empty.

  `is_usable` reads a whole folder, so it is asked no more often than needed.
  """
  choice = policy.WhichOneof("policy_choice")
  if choice in ("all", "specific"):
    asked = found if choice == "all" else policy.specific.versions
    return {version: found[version] for version in asked if version in found and is_usable(version)}
  latest = {}
  for version in sorted(found, reverse=True):
    if len(latest) == max(1, policy.latest.num_versions):
      break
    if is_usable(version):
      latest[version] = found[version]
  return latest
