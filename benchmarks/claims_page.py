"""docs/claims.md and the JSON beside it: tables of arms and claims by name, to which each benchmark adds its own."""

import json
import pathlib
import shlex
import sys
from typing import Dict, List

import numpy as np

from benchmarks import verdicts
from stic_tf import atomic_file
from stic_tf import provenance
from stic_tf.config import ConfigError
from stic_tf.config import require

_PLACES = ("--run_dir", "--data_dir", "--cache_dir", "--out", "--page", "--name", "--threads")  # change no figure


def text_of(report: Dict[str, dict]) -> str:
  """docs/claims.md."""
  lines = ["# Claims", "", "Written by `benchmarks/claims.py` and others of `benchmarks/`, not by hand. A difference",
           "is the mean over seeds of the first arm less the second, with its paired 95 % interval. That is of one",
           "claim: of 40 without any effect one would be said to hold, and one its opposite. What was chosen on",
           "some seeds is for others to confirm.", ""]
  for experiment, result in report.items():
    lines += [f"## {experiment}", "", f"    {result['command']}", "",
              f"Commit {result['commit']}, seeds {', '.join(map(str, result['seeds']))}"
              f"{', measured at ' + result['measured_at'] if 'measured_at' in result else ''}.", "",
              "| claim | arms | figure | difference (95 %) | verdict |", "|---|---|---|---|---|"]
    for claim in result["claims"]:
      difference = verdicts.text_of(claim["difference"])
      arms = f"{claim['better']} − {claim['than']}"
      lines.append(f"| {claim['text']} | {arms} | {claim['figure']} | {difference} | {claim['verdict']} |")
    lines += ["", "| arm | what it is | " + " | ".join(next(iter(result["arms"].values()))) + " |",
              "|---|---|" + "---|" * len(next(iter(result["arms"].values())))]
    for arm, figures in result["arms"].items():
      cells = [_cell(figure, values) for figure, values in figures.items()]
      what, own = result["what"][arm]
      lines.append(f"| {arm} | {what}{': `' + ' '.join(own) + '`' if own else ''} | " + " | ".join(cells) + " |")
    lines.append("")
  return "\n".join(lines)


def _cell(figure: str, values: verdicts.Figures) -> str:
  """A mean and its range; of rollbacks how many in all; and how many runs have none."""
  ended = [value for value in values if value not in (None, verdicts.GAVE_UP)]
  lost = "".join(f", {count} {why}" for kind, why in ((verdicts.GAVE_UP, "gave up"), (None, "without"))
                 if (count := list(values).count(kind)))
  if figure == "rollbacks":
    return f"{sum(ended)}{lost}"
  if not ended:
    return f"–{lost}"
  return f"{np.mean(ended):.4f} ({min(ended):.4f} – {max(ended):.4f}){lost}"


def _beside(out) -> pathlib.Path:
  """The file that has every figure of a page."""
  return pathlib.Path(out).with_suffix(".json")


def held(out: pathlib.Path, flag: str = "out") -> Dict[str, dict]:
  """What is in the JSON beside a page, by name; nothing where there is none.

  Raises:
    ConfigError: it is no such file.
  """
  beside = _beside(out)
  if not beside.exists():
    return {}
  try:
    found = json.loads(beside.read_text("utf-8"))["experiments"]
    text_of(found)
  except (ValueError, KeyError, TypeError, AttributeError) as problem:
    raise ConfigError(f"--{flag}={out}: {beside} is not what this command writes ({problem!r})") from problem
  return found


def check_name(out: str, flag: str) -> None:
  """Raises ConfigError, by the name of its flag, unless `out` is a page, or none yet."""
  require(out.endswith(".md"), flag, out, "must be a file that ends in .md")
  held(pathlib.Path(out), flag)


def add_flags(parser) -> None:
  """Those by which a benchmark of several runs adds its table."""
  parser.add_argument("--page", default=None, help="FILE.md, as claims.py writes it, to add the table to")
  parser.add_argument("--name", default=None, help="of the table there")


def check(arguments) -> None:
  """Raises ConfigError where a table cannot be added as `add_flags` has it."""
  require(bool(arguments.page) == bool(arguments.name), "name", arguments.name, "goes with --page, and that with it")
  require(not arguments.page or len(arguments.run_dirs) > 1, "page", arguments.page,
          "takes differences over several runs, --run_dir=… --run_dir=…")
  if arguments.page:
    check_name(arguments.page, "page")
    beside = _beside(arguments.page)
    require(pathlib.Path(arguments.out).absolute() != beside.absolute(), "out", arguments.out,
            f"must be another file than {beside}, which is of --page={arguments.page}")


def add_of_runs(arguments, what: Dict[str, str], arms: dict, claims: List[dict]) -> None:
  """Adds the table of a benchmark whose `arguments` have commit, run_seeds, page and name; it says when it measured."""
  own = [argument for argument in sys.argv[1:] if not argument.startswith(_PLACES)]
  command = shlex.join([f"benchmarks/{pathlib.Path(sys.argv[0]).name}", *own])
  add(arguments.page, {arguments.name: {
      "command": command, "commit": arguments.commit, "seeds": arguments.run_seeds, "claims": claims, "arms": arms,
      "measured_at": provenance.git_commit(), "versions": provenance.versions(),
      "what": {arm: (what[arm], ()) for arm in arms}}})


def add(out: str, tables: Dict[str, dict]) -> str:
  """Writes a page with these tables, in the place of older ones of their names; gives its text.

  Args:
    out: FILE.md; FILE.json beside it has every figure.
    tables: {name: {"command": what gave it, "commit", "seeds", "what": {arm: (words, flags)}, "arms": {arm: {figure: a
      value a seed}}, "claims": as verdicts.judged gives them}}.
  """
  report = {**held(pathlib.Path(out)), **tables}
  text = text_of(report)
  atomic_file.write_text(str(_beside(out)), json.dumps({"experiments": report}, indent=1))
  atomic_file.write_text(out, text)
  return text
