"""docs/flags.md says what the flags are."""

import importlib.util
import pathlib

# resolve(): under Bazel this file is a link into the checkout.
SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "tools" / "flags_page.py"


def test_the_page_is_what_its_script_writes():
  spec = importlib.util.spec_from_file_location("flags_page", SCRIPT)
  script = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(script)
  assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run tools/flags_page.py"
