"""benchmarks/solvers.py: what ways of drawing are compared by, and what is refused."""

import json

import pytest

from benchmarks import claims_page
from benchmarks import solvers
from tests.systems import command


class _Run:
  """Of seed s: the second way has an FID higher by .1 and a judge that reads .05 more, whatever s is."""

  def __init__(self, run_dir, arguments):
    self._seed = int(run_dir[-1])

  def drawn(self, its_flags, count, seeds):
    lead = 0.1 * ("steps=8" in its_flags)
    return {"evaluations": 8, "fid_over_floor": [1.0 + self._seed + lead] * seeds, "acceptance": [1.0] * seeds,
            "agreement": [0.8 + 0.02 * self._seed + lead / 2] * seeds, "seconds": [1.0] * seeds}


def _folders(tmp_path, *seeds):
  for seed in seeds:
    (tmp_path / f"seed{seed}").mkdir()
    (tmp_path / f"seed{seed}" / "settings.json").write_text(json.dumps({"dataset": "digits", "seed": seed}))
    (tmp_path / f"seed{seed}" / "summary.json").write_text('{"git_commit": "abc"}')
  return [f"--run_dir={tmp_path / f'seed{seed}'}" for seed in seeds]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
  monkeypatch.setattr(solvers.measure, "pin_threads", lambda threads: None)
  monkeypatch.setattr(solvers, "register_systems", lambda: None)
  monkeypatch.setattr(solvers, "_Run", _Run)


def test_ways_are_compared_with_the_first_over_runs_and_added_to_a_page(tmp_path, monkeypatch, capsys):
  page = tmp_path / "claims.md"
  command.run(monkeypatch, solvers, *_folders(tmp_path, 0, 1, 2), "--way=ten: --num_steps=10",
              "--way=eight: --num_steps=8", f"--out={tmp_path / 'out.json'}", f"--page={page}", "--name=E6",
              "--split=test")
  claims = json.loads((tmp_path / "out.json").read_text())["claims"]
  assert {claim["figure"]: claim["verdict"] for claim in claims} == {
      "fid_over_floor": "does not hold: the opposite does", "agreement": "holds"}
  assert [claim["difference"]["mean"] for claim in claims] == pytest.approx([0.1, 0.05])
  assert "eight − ten, fid_over_floor: +0.1000" in capsys.readouterr().out
  table = claims_page.held(page)["E6"]
  assert table["command"] == (
      "benchmarks/solvers.py '--way=ten: --num_steps=10' '--way=eight: --num_steps=8' --split=test")
  assert table["commit"] == "abc" and table["seeds"] == [0, 1, 2] and "`--num_steps=8`" in page.read_text()


def test_one_run_has_figures_and_no_claims(tmp_path, monkeypatch, capsys):
  command.run(monkeypatch, solvers, *_folders(tmp_path, 1), "--way=a:", "--way=b: --num_steps=8",
              f"--out={tmp_path / 'out.json'}")
  report = json.loads((tmp_path / "out.json").read_text())
  assert "claims" not in report and list(report["ways"]) == ["a", "b"]
  assert "b: 8 evaluations, FID over floor 2.100 (2.100-2.100)" in capsys.readouterr().out


@pytest.mark.parametrize("seeds, flags, said", [
    ((0, 1), ["--way=a: --num_steps=8", "--way=a: --num_steps=9"], "each of its own name"),
    ((0, 1), ["--way=a:", "--seeds=0"], "--seeds=0: must be at least 1"),
    ((0, 1), ["--way=a: --num_steps=much"], "--way=--num_steps=much: "), ((0, 1), ["--way=a: --no_such=1"], "no_such"),
    ((0, 1), ["--way=a: num_steps=8"], "has num_steps=8, which is no flag of a drawing"),
    ((0, 1), ["--way=a: --width=8"], "has width, which is no flag of a drawing"),
    ((0, 1), ["--way=a:", "--page=claims.md", "--name=E6"], "takes two ways or more"),
    ((0, 1), ["--way=a:", "--page=claims.md"], "goes with --page"),
    ((0,), ["--way=a:", "--page=claims.md", "--name=E6"], "takes differences over several runs"),
    ((0, 1), ["--way=a:", "--page=claims.txt", "--name=E6"], "--page=claims.txt: must be a file that ends in .md")])
def test_bad_input_is_one_line(tmp_path, seeds, flags, said, monkeypatch):
  line = command.refusal(monkeypatch, solvers, *_folders(tmp_path, *seeds), *flags, f"--out={tmp_path / 'out.json'}")
  assert line.startswith("error: ") and said in line and "\n" not in line
  assert not (tmp_path / "out.json").exists()


def test_its_own_figures_and_those_of_the_page_are_two_files(tmp_path, monkeypatch):
  line = command.refusal(monkeypatch, solvers, *_folders(tmp_path, 0, 1), "--way=a:", "--way=b:", "--name=E6",
                         f"--page={tmp_path / 'out.md'}", f"--out={tmp_path / 'out.json'}")
  assert "--out=" in line and "must be another file than" in line and "\n" not in line
  assert not (tmp_path / "out.json").exists()


def test_a_run_twice_is_not_two(tmp_path, monkeypatch):
  folders = _folders(tmp_path, 3)
  line = command.refusal(monkeypatch, solvers, *folders, *folders, "--way=a:", f"--out={tmp_path / 'out.json'}")
  assert "must be runs of different seeds" in line
