"""Writes docs/flags.md: every setting of a run, its default, what reads it and what it is.

    .venv/bin/python tools/flags_page.py
"""

import dataclasses
import html
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from absl import flags  # noqa: E402

from stic_tf import config as config_lib  # noqa: E402
from trainers import flags as trainer_flags  # noqa: E402

PAGE = ROOT / "docs" / "flags.md"
_ANY_SHAPE = (32, 32, 3)  # who reads a setting does not depend on it
_HEAD = """# Flags

Written by `tools/flags_page.py` from `trainers/flags.py` and `stic_tf/config.py`. `trainers/main.py` takes all of them;
`stic_tf.STIC(…)`, `ScoreSTIC` and `AttentiveSTIC` those of the first six tables as keywords (there `compile`
chooses the optimizer). In training, a flag that the chosen system or network does not read is refused.
"""
_TITLES = {"network": "Networks", "sampler": "Drawing", "training": "Training",
           "walk": "Walks of STIC and Attentive-STIC", "strokes": "Strokes", "score": "Score-STIC"}


def _read_by(name: str) -> str:
  found = config_lib.RunConfig().readers(name, _ANY_SHAPE)
  return ", ".join(f"`{reader}`" for reader in found[2]) if found else "all"


def _table(title: str, rows) -> str:
  lines = [f"## {title}", "", "| flag | default | read by | what it is |", "|---|---|---|---|"]
  for name, default, read_by, meaning in rows:
    shown = "" if default in (None, "") else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    lines.append(f"| `--{name}` | {shown} | {read_by} | {html.escape(meaning, quote=False)} |")
  return "\n".join(lines) + "\n"


def page() -> str:
  """The text of docs/flags.md."""
  known, defaults = flags.FLAGS, config_lib.RunConfig().flat()
  tables = [_table(_TITLES[part], [(field.name, defaults[field.name], _read_by(field.name), known[field.name].help)
                                   for field in dataclasses.fields(fields)])
            for part, fields in config_lib.PARTS.items()]
  own = [flag for flag in known.get_key_flags_for_module(trainer_flags)
         if flag.name == "model" or flag.name not in defaults]
  tables.append(_table("The command", [(flag.name, flag.default, "all", flag.help) for flag in own]))
  return "\n".join([_HEAD, *tables])


if __name__ == "__main__":
  PAGE.write_text(page(), encoding="utf-8")
