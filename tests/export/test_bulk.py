"""Bulk drawing: the same bytes however the work was divided, broken off or damaged, and a folder that TFDS reads."""

import dataclasses
import hashlib
import inspect
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from export import bulk_images
from export import bulk_model
from export import bulk_request
from export import bulk_shard
from stic_tf import loading
from stic_tf import zoo
from stic_tf.config import ConfigError

pytest.importorskip("apache_beam", reason="requirements-beam.txt is not installed")

from export import bulk_pipeline  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
BULK = str(ROOT / "export" / "bulk.py")
MODEL = zoo.find("digits_score")
_REQUEST = bulk_request.Request("draw", bulk_model.fingerprint(MODEL), "digits", 90, 40, seed=5, num_steps=2)


def _work(out, request=_REQUEST, **settings) -> bulk_shard.Work:
  return bulk_shard.Work(request, str(out), run_dir=MODEL, threads=0, **settings)


def _run(work) -> dict:
  work.folder.claim()
  return bulk_pipeline.run(work, bulk_pipeline.options("DirectRunner", 1, []), say=lambda line: None)


def _hashes(out) -> list:
  with open(os.path.join(out, "manifest.json"), encoding="utf-8") as file:
    return json.load(file)["shards"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> str:
  """A folder that was made in one go."""
  out = str(tmp_path_factory.mktemp("bulk") / "whole")
  done = _run(_work(out, rows_at_once=32))
  assert (done["made"], done["found"]) == (90, 0)
  return out


def _read(out) -> dict:
  """The columns of the records, as TFDS reads them."""
  records = tfds.builder_from_directory(str(out)).as_dataset(
      split="train", read_config=tfds.ReadConfig(interleave_cycle_length=1))
  rows = list(tfds.as_numpy(records))
  return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _read_elsewhere(out) -> dict:
  """The same in a process without this project."""
  script = ("import sys; import numpy as np; import tensorflow_datasets as tfds\n" + inspect.getsource(_read)
            + "np.savez(sys.argv[2], **{'of_' + name: column for name, column in _read(sys.argv[1]).items()})")
  columns = os.path.join(out, "columns.npz")
  finished = subprocess.run([sys.executable, "-I", "-c", script, str(out), columns], capture_output=True, text=True,
                            check=False)
  assert finished.returncode == 0, finished.stderr
  with np.load(columns) as found:
    os.unlink(columns)
    return {name[len("of_"):]: found[name] for name in found.files}


def test_tfds_reads_what_the_live_model_draws(whole):
  records = _read_elsewhere(whole)
  live = bulk_model.load(None, MODEL, 0)
  seeds = np.stack([np.full(90, 5), np.arange(90)], axis=1)
  drawn = live.draw(np.eye(10)[np.arange(90) % 10], seeds, num_steps=2)
  np.testing.assert_array_equal(records["image"], drawn["images"])
  np.testing.assert_array_equal(records["log_density"], drawn["log_density"])
  np.testing.assert_array_equal(records["seed"], seeds)
  np.testing.assert_array_equal(records["label"], np.arange(90) % 10)
  np.testing.assert_array_equal(records["class_weights"].argmax(1), np.arange(90) % 10)


def test_the_manifest_has_the_hashes_of_the_shards(whole):
  shards = _hashes(whole)
  manifest = json.loads(pathlib.Path(whole, "manifest.json").read_text("utf-8"))
  assert manifest["images"] == 90 and manifest["request"]["seed"] == 5
  assert [(shard["first"], shard["count"]) for shard in shards] == [(0, 40), (40, 40), (80, 10)]
  for shard in shards:
    data = pathlib.Path(whole, shard["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == shard["sha256"] and len(data) == shard["bytes"]
  checked = subprocess.run("sha256sum --check *.sha256", shell=True, cwd=whole, capture_output=True, check=False)
  assert checked.returncode == 0
  assert not os.path.exists(os.path.join(whole, "parts"))


def test_guidance_is_that_of_the_flag(tmp_path):
  """From a run and from its export alike, and not that of the model itself."""
  from export import exporter
  own = bulk_model.load(None, MODEL, 0)
  exporter.export_run(MODEL, str(tmp_path / "digits_score"))
  exported = bulk_model.load(str(tmp_path / "digits_score"), None, 0)
  rows = np.eye(10)[:6], np.stack([np.full(6, 5), np.arange(6)], axis=1), 2
  own_guidance = loading.load(MODEL).guidance
  drawn = own.draw(*rows, guidance=own_guidance + 2)
  expected = loading.load(MODEL).with_settings(guidance=own_guidance + 2).draw(rows[0], rows[1], num_steps=2)
  np.testing.assert_array_equal(drawn["images"], expected.images)
  for name, values in exported.draw(*rows, guidance=own_guidance + 2).items():
    np.testing.assert_array_equal(values, drawn[name], err_msg=name)
  assert np.any(own.draw(*rows)["images"] != drawn["images"])
  np.testing.assert_array_equal(own.draw(*rows, guidance=own_guidance)["images"], own.draw(*rows)["images"])


def test_blocks_of_another_size_give_the_same_bytes(whole, tmp_path):
  assert _run(_work(tmp_path, rows_at_once=7))["made"] == 90
  assert _hashes(tmp_path) == _hashes(whole)


def test_what_is_there_is_kept_and_what_is_damaged_made_again(whole, tmp_path):
  work = _work(tmp_path, rows_at_once=16)
  _run(work)
  shard = pathlib.Path(work.folder.shard(1))
  good = shard.read_bytes()
  shard.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
  os.unlink(work.folder.shard(2))
  done = _run(work)
  assert (done["made"], done["found"]) == (50, 40)
  assert shard.read_bytes() == good and _hashes(tmp_path) == _hashes(whole)


def test_a_kill_loses_a_block(whole, tmp_path, monkeypatch):
  """One that is broken off leaves the parts it had made; a part that is cut short is made again."""
  work, calls = _work(tmp_path, rows_at_once=16), []
  work.folder.claim()
  draw = bulk_model.Model.draw

  def killed(self, *inputs):
    calls.append(1)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return draw(self, *inputs)

  monkeypatch.setattr(bulk_model.Model, "draw", killed)
  with pytest.raises(KeyboardInterrupt):
    bulk_shard.make(work, 0)
  monkeypatch.undo()
  assert bulk_pipeline.rows_done(work) == 32 and not os.path.exists(work.folder.shard(0))
  part = pathlib.Path(work.folder.part(0, range(16, 32)))
  part.write_bytes(part.read_bytes()[:-3])
  done = _run(work)
  assert (done["made"], done["found"]) == (74, 16)
  assert _hashes(tmp_path) == _hashes(whole)


def test_what_was_begun_in_blocks_of_another_size_is_ended(whole, tmp_path, monkeypatch):
  """Rows 0 to 15 of 40 are there in blocks of 8; a part by its number alone would stand for the rows 32 to 39."""
  work, write, written = _work(tmp_path, rows_at_once=8), bulk_shard._write_records, []
  work.folder.claim()

  def killed(path, records):
    if len(written) == 2:
      raise KeyboardInterrupt
    write(path, records)
    written.append(path)

  monkeypatch.setattr(bulk_shard, "_write_records", killed)
  with pytest.raises(KeyboardInterrupt):
    bulk_shard.make(work, 0)
  monkeypatch.undo()
  assert bulk_pipeline.rows_done(work) == 16
  assert _run(_work(tmp_path, rows_at_once=32))["made"] == 90
  assert _hashes(tmp_path) == _hashes(whole) and not os.path.exists(work.folder.parts())


def test_a_data_set_that_does_not_fit_in_memory_is_one_line(monkeypatch):
  from stic_tf.datasets import dataset
  large = dataset.StreamedDataset.__new__(dataset.StreamedDataset)
  large.sizes = {"test": 9}
  monkeypatch.setattr(dataset, "load", lambda name, data_dir: large)
  with pytest.raises(ConfigError, match="dataset=lsun: does not fit in memory"):
    bulk_images.of_dataset("lsun", "test", None)


def test_what_an_export_would_cut_is_refused():
  model = bulk_model.Model((8, 8, 1), ["0"], 3, 1.0, None, None, (), max_steps=12, temperature_range=(0.5, 2.0))
  model.check(12, 2.0)
  model.check(None, None)
  with pytest.raises(ConfigError, match="guidance=1.0: cannot be chosen of this model"):
    model.check(None, None, 1.0)
  for num_steps, temperature, said in ((13, None, "num_steps=13: must be at most 12"),
                                       (None, 3.0, r"temperature=3.0: must lie in \[0.5, 2\]")):
    with pytest.raises(ConfigError, match=said):
      model.check(num_steps, temperature)


def test_two_processes_killed_and_started_again(whole, tmp_path):
  """The command itself: a SIGKILL as soon as there is a part, then to its end."""
  out = tmp_path / "out"
  command = [sys.executable, BULK, f"--run_dir={MODEL}", "--num_images=90", "--images_per_shard=40", "--num_steps=2",
             "--seed=5", "--name=digits", "--rows_at_once=8", f"--out={out}", "--processes=2"]
  with open(tmp_path / "log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log,
                                                             start_new_session=True) as process:
    until = time.monotonic() + 200
    while not list(out.glob("parts/*.tfrecord")) and time.monotonic() < until and process.poll() is None:
      time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
  assert (out / "request.json").exists() and not (out / "manifest.json").exists()
  finished = subprocess.run(command, capture_output=True, text=True, check=False)
  assert finished.returncode == 0, finished.stderr
  assert _hashes(out) == _hashes(whole)
  assert not list(out.rglob("*.tmp"))


def test_a_full_disk(tmp_path):
  """A limit on the size of files stands in for the disk: one line, and no shard."""
  script = ("import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); sys.argv = sys.argv[1:]; "
            "runpy.run_path(sys.argv[0], run_name='__main__')")
  out = tmp_path / "out"
  finished = subprocess.run(
      [sys.executable, "-c", script, BULK, f"--run_dir={MODEL}", "--num_images=90", "--images_per_shard=90",
       "--num_steps=1", "--rows_at_once=16", f"--out={out}"], capture_output=True, text=True, check=False)
  assert finished.returncode == 2, finished.stderr
  last = finished.stderr.splitlines()[-1]
  assert last.startswith(f"error: --out={out}") and "disk is full" in last
  assert not list(out.glob("*.tfrecord*")) and not list(out.rglob("*.tmp"))


@pytest.mark.parametrize("changed, said", [({"seed": 6}, "seed 5 there, 6 here"),
                                           ({"num_rows": 91}, "num_rows 90 there, 91 here")])
def test_the_folder_of_another_request_is_refused(whole, changed, said):
  with pytest.raises(ConfigError, match=said):
    _work(whole, dataclasses.replace(_REQUEST, **changed)).folder.claim()


def test_a_folder_of_other_things_is_refused(tmp_path):
  (tmp_path / "thesis.txt").write_text("mine")
  with pytest.raises(ConfigError, match="must be empty"):
    _work(tmp_path).folder.claim()
  assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_split_is_classified(tmp_path):
  from stic_tf.datasets import dataset
  images, labels = dataset.load("digits", None).arrays("test")
  request = dataclasses.replace(_REQUEST, task="classify", num_rows=len(images), source="digits/test", num_steps=None)
  _run(_work(tmp_path, request, dataset="digits", split="test"))
  records = _read(tmp_path)
  np.testing.assert_array_equal(records["index"], np.arange(len(images)))
  np.testing.assert_array_equal(records["label"], labels)
  assert np.mean(records["predicted"] == records["label"]) > 0.97
  np.testing.assert_allclose(records["probabilities"].sum(1), 1.0, rtol=1e-5)


def test_the_command_classifies_a_split(tmp_path):
  """With a thread each, as it has by itself: TensorFlow must not have begun before that is set."""
  out = tmp_path / "out"
  finished = subprocess.run([sys.executable, BULK, f"--run_dir={MODEL}", "--task=classify", "--dataset=digits",
                             f"--out={out}"], capture_output=True, text=True, check=False)
  assert finished.returncode == 0, finished.stderr
  records = _read(out)
  assert np.mean(records["predicted"] == records["label"]) > 0.97


def test_a_model_that_changed_meanwhile_is_refused(tmp_path):
  """Of all processes: what they make has one fingerprint."""
  with pytest.raises(ConfigError, match=f"run_dir={MODEL}: is not the model it was when this was asked for"):
    _run(_work(tmp_path / "out", dataclasses.replace(_REQUEST, model="another")))


def test_a_saved_model_of_others_is_refused(tmp_path):
  (tmp_path / "1").mkdir()
  (tmp_path / "1" / "saved_model.pb").write_bytes(b"")
  with pytest.raises(ConfigError, match=f"export_dir={tmp_path}: was not made by export/main.py"):
    bulk_model.load(str(tmp_path), None, 0)


def test_picture_files_have_a_density(tmp_path):
  """Of any size and mode; noise is less likely than a digit."""
  pictures = tmp_path / "pictures"
  pictures.mkdir()
  from stic_tf.datasets import dataset
  digit = dataset.load("digits", None).arrays("test")[0][0, :, :, 0]
  Image.fromarray(digit).convert("RGBA").resize((16, 16), Image.NEAREST).save(pictures / "a.png")
  Image.fromarray(np.random.default_rng(0).integers(0, 255, [8, 8]).astype(np.uint8)).save(pictures / "b.png")
  request = dataclasses.replace(_REQUEST, task="log_density", num_rows=2, source=str(pictures), num_steps=None)
  out = tmp_path / "out"
  _run(_work(out, request, images=str(pictures)))
  records = _read(out)
  assert list(records["file"]) == [b"a.png", b"b.png"]
  assert records["log_density"][0] > records["log_density"][1] + 10


def test_pictures_that_changed_are_another_request(tmp_path):
  """Of the same number: a file renamed stands elsewhere in the order."""
  for name in ("a.png", "b.png"):
    Image.new("L", (8, 8), 7 * (name == "b.png")).save(tmp_path / name)
  before = bulk_images.source(str(tmp_path))
  assert bulk_images.source(str(tmp_path)) == before
  os.rename(tmp_path / "a.png", tmp_path / "c.png")
  bulk_images.files.cache_clear()
  renamed = bulk_images.source(str(tmp_path))
  Image.new("L", (8, 8), 9).resize((9, 9)).save(tmp_path / "b.png")
  assert len({before, renamed, bulk_images.source(str(tmp_path))}) == 3


def test_a_file_that_is_no_picture_is_named(tmp_path):
  (tmp_path / "in").mkdir()
  (tmp_path / "in" / "a.png").write_bytes(b"no picture")
  request = dataclasses.replace(_REQUEST, task="classify", num_rows=1, source="x", num_steps=None)
  with pytest.raises(ConfigError, match=r"a\.png: cannot be read as an image"):
    _run(_work(tmp_path / "out", request, images=str(tmp_path / "in")))


_BAD_INPUT = [
    (["--out="], "--out=: must name a folder"),
    (["--run_dir="], "--export_dir=: must name an exported model"),
    (["--run_dir=", "--export_dir=/nonexistent"], "--export_dir=/nonexistent: holds no exported version"),
    (["--run_dir=nonesuch"], "--run_dir=nonesuch: is neither a folder nor a model of the zoo"),
    (["--num_images=0"], "--num_images=0: must be at least 1"),
    (["--task=sing"], "--task=sing: must be one of draw, classify, log_density"),
    (["--task=classify"], "--num_images=9: is not read by --task=classify"),
    (["--dataset=digits"], "--dataset=digits: is not read by --task=draw"),
    (["--runner=Sprinter"], "--runner=Sprinter: "),
    (["--classes=3,11"], "--classes=11: must be numbers in 0..9 or class names"),
    (["--class_weights=0:0.7"], "weights must be non-negative and sum to 1"),
    (["--guidance=-3"], "--guidance=-3.0: must lie in [-1, inf]"),
    (["--guidance=nan"], "--guidance=nan: must be a finite number"),
    (["--", "--direct_num_workers=4"], "--direct_num_workers=4: is what --processes sets"),
    (["--name=My Set"], "--name=My Set: must be lower-case letters"),
    (["bulk"], "unexpected argument 'bulk'"),
]
# All in one process, which has none of the other commands' flags.
_ASK = """
import contextlib, io, json, sys
from absl import flags
from export import bulk
for changed in json.loads(sys.argv[1]):
  flags.FLAGS.unparse_flags()
  for name in flags.FLAGS:
    flags.FLAGS[name].unparse()
  said = io.StringIO()
  with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
    bulk.main(flags.FLAGS(["bulk.py", *sys.argv[2:], *changed]))
  print(json.dumps(said.getvalue()))
"""


def test_bad_input_is_one_line(tmp_path):
  asked = [json.dumps([flags for flags, _ in _BAD_INPUT]), f"--run_dir={MODEL}", "--num_images=9",
           f"--out={tmp_path / 'out'}"]
  finished = subprocess.run([sys.executable, "-c", _ASK, *asked], capture_output=True, text=True, check=False, cwd=ROOT)
  assert finished.returncode == 0, finished.stderr
  answers = [json.loads(line) for line in finished.stdout.splitlines()]
  assert len(answers) == len(_BAD_INPUT)
  for (_, said), answer in zip(_BAD_INPUT, answers):
    assert answer.startswith("error: ") and answer.count("\n") == 1 and said in answer, (said, answer)
  assert not os.path.exists(tmp_path / "out")


def test_pixels_are_png(whole):
  import tensorflow as tf
  path = sorted(pathlib.Path(whole).glob("*.tfrecord-00000-of-00003"))[0]
  record = next(iter(tf.data.TFRecordDataset(str(path)))).numpy()
  example = tf.train.Example.FromString(record)
  data = example.features.feature["image"].bytes_list.value[0]
  assert Image.open(io.BytesIO(data)).format == "PNG"
