"""The playground page: served where the flag says so, with a policy under which it runs alone and asks its server."""

import base64
import hashlib
import json
import re
import urllib.error
import urllib.request

import pytest

from serving import flag_error
from serving import playground
from serving import server_config
from tests.serving import running_server
from tests.serving import small_models


def _get(url):
  """(code, body, headers)."""
  try:
    with urllib.request.urlopen(url, timeout=30) as response:
      return response.status, response.read(), response.headers
  except urllib.error.HTTPError as error:
    return error.code, error.read(), error.headers


@pytest.fixture(scope="module")
def with_page(tmp_path_factory, version_folder):
  base = tmp_path_factory.mktemp("models")
  (base / "m").mkdir()
  small_models.copy(version_folder, str(base / "m" / "1"))
  with running_server.in_process("--model_name=m", f"--model_base_path={base / 'm'}", "--playground") as client:
    yield client


def test_the_page_is_there_only_where_the_flag_says_so(with_page, served):
  code, body, headers = _get(with_page.rest + "/")
  assert code == 200 and headers["Content-Type"].startswith("text/html") and body == playground.PAGE.read_bytes()
  assert headers["X-Content-Type-Options"] == "nosniff"
  assert _get(with_page.rest + "/?model=m")[0] == 200
  for path in ("/", "/playground/models"):
    assert _get(served.rest + path)[0] == 404


def test_the_models_are_listed(with_page):
  code, body, headers = _get(with_page.rest + "/playground/models")
  assert (code, json.loads(body), headers["Content-Type"]) == (200, {"models": ["m"]}, "application/json")


def test_what_else_there_is_stays(with_page):
  assert _get(with_page.rest + "/v1/models/m")[0] == 200
  assert _get(with_page.rest + "/index.html")[0] == 404


def test_the_policy_names_the_pages_own_script_and_style(with_page):
  _, body, headers = _get(with_page.rest + "/")
  directives = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
  assert directives["default-src"] == directives["base-uri"] == directives["form-action"] == "'none'"
  assert directives["connect-src"] == "'self'"
  for kind in ("script", "style"):
    texts = re.findall(f"<{kind}[^>]*>(.*?)</{kind}>", body.decode(), re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    assert directives[f"{kind}-src"] == " ".join(f"'sha256-{digest}'" for digest in digests) and len(texts) == 1


def test_a_script_that_is_not_the_pages_has_no_place_in_the_policy():
  policy = playground.policy("<script>a</script><style>b</style><script src='x'></script>")
  assert policy.count("sha256-") == 2 and "unsafe" not in policy and "*" not in policy


def test_the_page_is_one_small_file_with_nothing_from_outside():
  body = playground.PAGE.read_bytes()
  assert len(body) <= 80_000
  html = re.sub(r"http://(www\.w3\.org/2000/svg|127\.0\.0\.1:8501|host:8501)", "", body.decode())
  assert not re.findall(r"https?://\w|//cdn|@import|rel=.?stylesheet|<script src|innerHTML|insertAdjacent|eval\(", html)


def test_the_flag_needs_the_port_where_the_page_is():
  with pytest.raises(flag_error.FlagError, match="--playground=True: needs --rest_port, where the page is"):
    server_config.from_flags(["--model_base_path=/m", "--playground"])
  assert server_config.from_flags(["--model_base_path=/m", "--playground", "--rest_port=1"]).has_playground
  assert not server_config.from_flags(["--model_base_path=/m", "--playground=false"]).has_playground
