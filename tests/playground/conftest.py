"""One browser and one server for all tests of the page; skipped where there is no browser."""

import shutil

import pytest

from tests.playground import page as page_lib
from tests.playground import page_models
from tests.serving import running_server

HOSTILE = ["<img src=x onerror=\"document.title='taken'\">", "<b>bold</b>", "x" * 10_000, "&amp;", "", "𝔘" * 300]
NAMED = {"strokes": list("0123456789"), "plain": list("0123456789"), "hostile": HOSTILE,
         "many": [f"thing {number}" for number in range(1000)]}


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
  """Selenium's driver of a headless Chromium."""
  pytest.importorskip("selenium", reason="selenium is not installed: requirements-test.txt has it")
  found = [shutil.which(name) for name in ("chromium", "chromedriver")]
  if not all(found):
    pytest.skip("no browser: Debian's chromium and chromium-driver are not installed")
  browser = page_lib.start(*found, str(tmp_path_factory.mktemp("downloads")))
  yield browser
  browser.quit()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> str:
  """A folder of all models of the tests."""
  base = str(tmp_path_factory.mktemp("models"))
  page_models.save_real("score", base)
  for name, class_names in NAMED.items():
    page_models.save_named(name, base, class_names, in_strokes=name == "strokes")
  return base


@pytest.fixture(scope="session")
def address(driver, model_folder) -> str:
  """Of a server of them with the page, and open to pages of other origins."""
  flags = (f"--model_config_file={page_models.config(model_folder, 'score', *NAMED)}", "--playground",
           "--rest_api_enable_cors_support")
  with running_server.in_process(*flags) as client:
    yield client.rest.replace("localhost", "127.0.0.1") + "/"


@pytest.fixture
def page(driver, address, tmp_path) -> page_lib.Page:
  """The page, in a window of 1280 pixels."""
  driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
  return page_lib.Page(driver, address, str(tmp_path))
