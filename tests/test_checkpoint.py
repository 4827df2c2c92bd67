"""Checkpoints: written whole or not at all, read whole or refused."""

import gc
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from stic_tf import atomic_file
from stic_tf import checkpoint
from stic_tf import config as config_lib

ARRAYS = {"network/stem/kernel": np.arange(600, dtype=np.float32).reshape(20, 30),
          "counters": np.array([1, 2], np.int64), "pool/images": np.zeros([0, 8, 8, 1], np.float32),
          "spectrum": np.ones([3], np.complex64)}
DESCRIPTION = {"dataset": "digits", "rows": [{"pass": 1, "fid": None, "name": "ä"}]}


@pytest.fixture
def written(tmp_path):
  path = checkpoint.path_of(str(tmp_path / "checkpoints"), 3)
  checkpoint.write(path, ARRAYS, DESCRIPTION)
  return path


def test_what_is_written_is_read(written):
  arrays, description = checkpoint.read(written)
  assert description == DESCRIPTION and set(arrays) == set(ARRAYS)
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(arrays[name], array)
    assert arrays[name].dtype == array.dtype


def test_a_truncated_file_is_refused_wherever_it_ends(written):
  whole = open(written, "rb").read()
  for length in [*range(0, len(whole), 37), len(whole) - 1]:
    with open(written, "wb") as file:
      file.write(whole[:length])
    with pytest.raises(checkpoint.UnreadableCheckpoint, match="truncated or damaged"):
      checkpoint.read(written)


def test_a_flipped_byte_never_passes_for_data(written):
  whole = open(written, "rb").read()
  refused = 0
  # The archive's directory is looked at byte by byte: there a length that is wrong can hide whole entries.
  places = [*range(0, len(whole), 13), *range(whole.index(b"PK\x01\x02"), len(whole))]
  for place in places:
    with open(written, "wb") as file:
      file.write(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1:])
    try:
      arrays, description = checkpoint.read(written)
    except checkpoint.UnreadableCheckpoint:
      refused += 1
      continue
    # Some bytes of a zip mean nothing, as dates do.
    assert description == DESCRIPTION
    assert set(arrays) == set(ARRAYS) and all((arrays[name] == ARRAYS[name]).all() for name in ARRAYS)
  assert refused > 0.7 * len(places)


def test_the_newest_readable_one_is_taken(tmp_path):
  paths = [checkpoint.path_of(str(tmp_path), number) for number in (9, 10, 11, 10000)]
  for number, path in enumerate(paths):
    checkpoint.write(path, {"number": np.array(number)}, {})
  assert checkpoint.available(str(tmp_path)) == paths[::-1]
  for path in paths[2:]:
    os.truncate(path, 100)
  found, arrays, _, problems = checkpoint.read_newest(str(tmp_path))
  assert found == paths[1] and arrays["number"] == 1
  assert [path in problem for path, problem in zip(paths[:1:-1], problems)] == [True, True]


def test_other_files_are_no_checkpoints(tmp_path):
  for name in ("pass_0001.npz.abc.tmp", "pass_1.npz", "xpass_0001.npz", "pass_0001.npz~", "flags.txt"):
    (tmp_path / name).write_bytes(b"")
  assert checkpoint.available(str(tmp_path)) == []
  assert checkpoint.available(str(tmp_path / "absent")) == []
  with pytest.raises(FileNotFoundError, match="no checkpoint in"):
    checkpoint.read_newest(str(tmp_path))


def test_all_damaged_names_each(tmp_path):
  for number in (1, 2):
    checkpoint.write(checkpoint.path_of(str(tmp_path), number), ARRAYS, {})
    os.truncate(checkpoint.path_of(str(tmp_path), number), 50)
  with pytest.raises(FileNotFoundError, match="(?s)pass_0002.*pass_0001"):
    checkpoint.read_newest(str(tmp_path))


@pytest.mark.parametrize("place", ["write", "fsync", "rename"])
def test_a_write_that_fails_leaves_what_was_there(written, monkeypatch, place):
  def full(*args, **settings):
    del args, settings
    raise OSError(28, "No space left on device")

  if place == "write":
    monkeypatch.setattr(np.lib.format, "write_array", full)
  else:
    monkeypatch.setattr(os, {"fsync": "fsync", "rename": "replace"}[place], full)
  with pytest.raises(OSError) as failure:
    checkpoint.write(written, {"other": np.zeros(3)}, {})
  assert atomic_file.is_disk_full(failure.value)
  monkeypatch.undo()
  assert checkpoint.read(written)[1] == DESCRIPTION
  assert os.listdir(os.path.dirname(written)) == ["pass_0003.npz"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.filterwarnings("error")
def test_a_full_disk_is_an_error_and_no_more(written, monkeypatch):
  """In particular nothing is complained of when the half-written archive is thrown away."""
  monkeypatch.setattr(atomic_file, "open", lambda name, mode: open("/dev/full" if mode == "wb" else name, mode),
                      raising=False)
  with pytest.raises(OSError) as failure:
    checkpoint.write(written, {"large": np.zeros(100_000)}, {})
  assert atomic_file.is_disk_full(failure.value)
  del failure
  gc.collect()
  assert os.listdir(os.path.dirname(written)) == ["pass_0003.npz"]


def test_leftovers_go_and_nothing_else(tmp_path):
  for name in ("pass_0001.npz", "pass_0002.npz.x1.tmp", "tmp"):
    (tmp_path / name).write_bytes(b"")
  (tmp_path / "folder").mkdir()
  atomic_file.remove_leftovers(str(tmp_path))
  assert sorted(os.listdir(tmp_path)) == ["folder", "pass_0001.npz", "tmp"]
  atomic_file.remove_leftovers(str(tmp_path / "absent"))


def test_text_is_replaced_whole(tmp_path):
  path = tmp_path / "new" / "flags.txt"
  atomic_file.write_text(str(path), "--dataset=digits\n")
  atomic_file.write_text(str(path), "ä\n")
  assert path.read_text(encoding="utf-8") == "ä\n" and os.listdir(path.parent) == ["flags.txt"]
  assert path.stat().st_mode & 0o777 == 0o644


def _variables(*values):
  return {name: tf.Variable(value) for name, value in zip(("group/first", "group/second", "other/third"), values)}


def test_variables_by_name():
  variables = _variables([1.0, 2.0], 3, tf.complex(1.0, 2.0))
  arrays = checkpoint.collect(variables)
  assert list(arrays) == ["group/first", "group/second", "other/third"]
  others = _variables([0.0, 0.0], 0, tf.complex(0.0, 0.0))
  # Neither their order nor what else there is matters.
  checkpoint.assign({"more": np.zeros(3), **dict(reversed(arrays.items()))}, others)
  for name, variable in variables.items():
    np.testing.assert_array_equal(variable, others[name])


@pytest.mark.parametrize("arrays, says", [
    ({"group/second": np.array(7)}, "group/first is missing or not of shape"),
    ({"group/second": np.array(7), "group/first": np.zeros(3, np.float32)}, r"group/first .* not of shape \(2,\)")])
def test_variables_that_are_not_all_there_leave_all_as_they_were(arrays, says):
  variables = _variables([1.0, 2.0], 3)
  with pytest.raises(ValueError, match=says):
    checkpoint.assign(arrays, dict(reversed(variables.items())))
  np.testing.assert_array_equal(variables["group/first"], [1.0, 2.0])
  assert int(variables["group/second"]) == 3


def _of_format(path, number):
  description = {**DESCRIPTION} if number is None else {**DESCRIPTION, "format": number}
  atomic_file.write_npz(path, {**ARRAYS, "description": np.array(json.dumps(description))})


@pytest.mark.parametrize("number, named", [(None, "1"), (1, "1"), (3, "3")], ids=["none", "older", "newer"])
def test_another_format_is_refused_with_what_to_do(written, number, named):
  """Also by what looks for the newest: it is whole, so that nothing older is to be taken in its place."""
  newer = os.path.join(os.path.dirname(written), "pass_0004.npz")
  _of_format(newer, number)
  for read in (lambda: checkpoint.read(newer), lambda: checkpoint.read_newest(os.path.dirname(written))):
    with pytest.raises(config_lib.ConfigError, match=f"has checkpoint format {named}, and this version reads format 2"):
      read()


def test_an_archive_of_somebody_elses_is_refused(tmp_path):
  path = str(tmp_path / "pass_0001.npz")
  np.savez(path, weights=np.zeros(3))
  with pytest.raises(config_lib.ConfigError, match="pass_0001.npz is no checkpoint of this project"):
    checkpoint.read(path)


def test_a_checkpoint_within_a_pass_lies_between_the_passes(tmp_path):
  places = [(3, 0), (3, 5), (3, 400), (4, 0), (10000, 1000000)]
  paths = [checkpoint.path_of(str(tmp_path), *place) for place in places]
  assert [os.path.basename(path) for path in paths] == [
      "pass_0003.npz", "pass_0003_update_000005.npz", "pass_0003_update_000400.npz", "pass_0004.npz",
      "pass_10000_update_1000000.npz"]
  for path in reversed(paths):
    checkpoint.write(path, {}, {})
  assert checkpoint.available(str(tmp_path)) == paths[::-1]
