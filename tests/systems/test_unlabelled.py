"""benchmarks/unlabelled.py: sheets in the key's order, which nobody could know before, and honest counts."""

import json
import types

import numpy as np
import pytest
from PIL import Image

from benchmarks import unlabelled
from stic_tf import loading
from tests.systems import command

_CLASSES = ["dark", "grey", "light"]


@pytest.fixture(autouse=True)
def classifier(monkeypatch):
  """Draws an even image whose shade is its class."""

  def draw(labels, seeds):
    assert len(seeds) == len(labels)
    return types.SimpleNamespace(images=np.full([len(labels), 8, 8, 1], 0, np.uint8)
                                 + np.asarray(labels)[:, None, None, None].astype(np.uint8) * 100)

  monkeypatch.setattr(loading, "load", lambda run_dir: types.SimpleNamespace(class_names=_CLASSES, draw=draw))


def _named_by_shade(folder):
  shades = []
  for number in (1, 2):
    sheet = np.asarray(Image.open(folder / f"sheet_{number}.png"))
    cell = unlabelled._SIDE + 2
    shades += [sheet[row * cell + cell // 2, column * cell + cell // 2] for row in range(sheet.shape[0] // cell)
               for column in range(5)]
  return [_CLASSES[shade // 100] if shade in (0, 100, 200) else "none" for shade in shades[:30]]


def test_who_names_what_the_sheets_show_is_right(tmp_path, monkeypatch, capsys):
  command.run(monkeypatch, unlabelled, "--run_dir=any", "--num_images=30", f"--out={tmp_path / 'a'}")
  names = _named_by_shade(tmp_path / "a")
  key = json.loads((tmp_path / "a" / "key.json").read_text())
  assert key["asked"] == names and sorted(names) == sorted(_CLASSES * 10) and names != _CLASSES * 10
  names[names.index("grey")] = "light"
  (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
  command.run(monkeypatch, unlabelled, f"--names={tmp_path / 'names.txt'}", f"--out={tmp_path / 'a'}")
  found = json.loads(capsys.readouterr().out)
  assert (found["right"], found["of"]) == (29, 30) and found["taken"] == {"grey for light": 1}
  assert found["by_class"] == {"dark": "10 of 10", "grey": "9 of 10", "light": "10 of 10"}


def test_two_keys_differ(tmp_path, monkeypatch):
  # By chance alone two are the same once in 5·10¹² times.
  for name in "ab":
    command.run(monkeypatch, unlabelled, "--run_dir=any", "--num_images=30", f"--out={tmp_path / name}")
  first, second = (json.loads((tmp_path / name / "key.json").read_text()) for name in "ab")
  assert first["asked"] != second["asked"] and first["seeds"] != second["seeds"]


@pytest.mark.parametrize("flags, said", [
    (["--run_dir=any", "--num_images=31"], "must be a multiple of the 3 classes"), ([], "or --names, and not both"),
    (["--run_dir=any", "--names=names.txt"], "or --names, and not both"), (["--names=none.txt"], "none.txt")])
def test_bad_input_is_one_line(tmp_path, monkeypatch, flags, said):
  line = command.refusal(monkeypatch, unlabelled, f"--out={tmp_path / 'out'}", *flags)
  assert line.startswith("error: ") and said in line and "\n" not in line and not (tmp_path / "out").exists()


def test_a_key_is_not_drawn_over_and_names_must_be_classes(tmp_path, monkeypatch):
  out = f"--out={tmp_path / 'a'}"
  command.run(monkeypatch, unlabelled, "--run_dir=any", "--num_images=3", out)
  assert "has a key already" in command.refusal(monkeypatch, unlabelled, "--run_dir=any", "--num_images=3", out)
  for names, said in (("dark\ngrey\nblue", "blue: must be among dark, grey, light"), ("dark", "must be 3")):
    (tmp_path / "names.txt").write_text(names)
    assert said in command.refusal(monkeypatch, unlabelled, f"--names={tmp_path / 'names.txt'}", out)
