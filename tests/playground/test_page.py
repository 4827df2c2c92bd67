"""The page around its tools: the address, servers that fail, other origins, names from metadata, access for all."""

import json
import os
import pathlib
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest

from serving import playground
from tests.playground import page as page_lib
from tests.playground import page_models
from tests.playground.conftest import HOSTILE
from tests.serving import running_server

ENTER, SPACE, END = "\ue007", " ", "\ue010"
STATES = {"mix": "model=score&tool=mix&w=1:30,4:70&seed=9&steps=6&t=0.9&g=1.5",
          "pad": "model=score&tool=pad&class=6&strength=0.75",
          "watch": "model=strokes&tool=watch&class=5&frame=4",
          "path": "model=score&tool=path&from=2&to=9&n=6&frame=3",
          "gallery": "model=score&tool=gallery&class=7&seed=3"}


def _shown(page, tool):
  """Waits until a tool shows all it has."""
  if tool == "pad":
    page.wait("$('padBars').dataset.label && !seeing.running")
  else:
    page.drawn({"mix": "#mixImage", "watch": "#watchFrame", "path": "#pathFrame", "gallery": "#grid"}[tool])
    page.wait("!drawing.running")


# ---- the address ----

@pytest.mark.parametrize("tool", STATES)
def test_the_address_brings_everything_back(page, tool):
  page.open(STATES[tool])
  _shown(page, tool)
  if tool == "pad":
    page.drag("#pad", (0.2, 0.2), (0.8, 0.8))
    page.wait("location.hash.includes('pad=')")
  page.wait("!addressTimer")
  before = page.hash()
  given = {name: value for name, (value,) in urllib.parse.parse_qs(STATES[tool]).items()}
  kept = {name: value for name, (value,) in urllib.parse.parse_qs(before[1:]).items()}
  assert given.items() <= kept.items()
  what = page.js("[$('mixImage').src, film && film.frames.map(one => one.b64), JSON.stringify(padImage.pixels())]")
  page.open(before[1:])
  _shown(page, tool)
  page.wait("JSON.stringify(padImage.pixels()) === args[0]", what[2])
  page.wait("!addressTimer")
  assert page.hash() == before
  assert page.js("[$('mixImage').src, film && film.frames.map(one => one.b64)]") == what[:2]


@pytest.mark.parametrize("state", [
    "seed=1e99&steps=-4&t=0&g=nan&w=99:5,a:b,,1:-3&class=77&from=x&to=1e9&n=900&strength=7&corners=1:2,3&frame=-2",
    "tool=nope&mode=<b>&pad=%00%FF&corners=9:9,9:9,9:9", "w=0:0", "model=score&pad=iVBORw0KGgo",
    "mode=triangle&corners=-1:1,-9:0,1:0"])
def test_an_address_of_nonsense_does_no_harm(page, state):
  page.open("model=score&" + state)
  _shown(page, "mix")
  page.calm()
  assert page.js("state.steps >= 1 && state.steps <= 60 && state.cls <= 9 && Number.isSafeInteger(state.seed)")


# ---- servers that fail ----

def test_a_server_that_is_gone_and_comes_back(driver, model_folder):
  flags = (f"--model_config_file={page_models.config(model_folder, 'strokes')}", "--playground", "--drain_seconds=0")
  with running_server.in_process(*flags) as client:
    port = client.rest.rsplit(":", 1)[1]
    page = page_lib.Page(driver, f"http://127.0.0.1:{port}/").open("model=strokes&w=0:100&seed=1")
    page.drawn("#mixImage", "0:100|1|")
  page.keys("#class-3", END)
  page.notice(f"The server at http://127.0.0.1:{port}/v1 does not answer. Trying again …")
  page.keys("#class-5", END)
  assert page.js("$('mixImage').dataset.drawn").startswith("0:100|1|")
  with running_server.in_process(*flags, f"--rest_port={port}"):
    page.drawn("#mixImage", "0:100,3:100,5:100|1|")
    page.calm()


def test_a_busy_server_is_asked_again(driver, tmp_path):
  page_models.save_named("slow", str(tmp_path), ["a", "b"], delay_rounds=20_000)
  flags = (f"--model_config_file={page_models.config(str(tmp_path), 'slow')}", "--playground", "--grpc_max_threads=1",
           "--max_queued_requests=0")
  with running_server.in_process(*flags) as client:
    page = page_lib.Page(driver, client.rest.replace("localhost", "127.0.0.1") + "/").open("model=slow&w=0:100")
    page.drawn("#mixImage", "0:100|")
    stop = threading.Event()

    def occupy():
      body = json.dumps({"signature_name": "synthesize_png", "inputs": {
          "class_weights": [[1, 0]], "seed": [[0, 0]], "num_steps": [1], "temperature": [1]}}).encode()
      while not stop.is_set():
        try:
          urllib.request.urlopen(f"{client.rest}/v1/models/slow:predict", body, timeout=60).read()
        except urllib.error.HTTPError as error:
          assert error.code == 429

    others = [threading.Thread(target=occupy) for _ in range(2)]
    for other in others:
      other.start()
    try:
      for number in range(200):
        page.js("(state.weights.set(1, args[0]), changed(true))", 1 + number % 100)
        if page.js("!$('notice').hidden"):
          break
      page.notice("The server is busy. Trying again …")
    finally:
      stop.set()
      for other in others:
        other.join()
    page.wait("$('mixImage').dataset.drawn === mixKey()")
    page.calm()


def test_a_wrong_model_is_a_sentence_and_another_can_be_picked(page):
  page.load("model=nope%3Cb%3E&seed=4")
  page.notice("There is no model “nope<b>” on this server.")
  assert page.texts("#model option") == ["score", "strokes", "plain", "hostile", "many", "nope<b>"]
  page.keys("#model", "strokes")
  page.drawn("#mixImage", "0:100|4|")
  page.calm()


def test_what_was_asked_for_meanwhile_outlives_a_problem_that_stays(page):
  """A drawing of too many steps is refused, and the one of fewer that waits behind it is not."""
  page.open("model=score&w=0:100")
  page.drawn("#mixImage", "0:100|")
  page.wait("!drawing.running")
  page.js("""(() => { const real = window.fetch;
    window.fetch = (address, options) => {
      window.fetch = real;
      return new Promise(resolve => { window.refuse = () => resolve(new Response(
        JSON.stringify({error: "no"}), {status: 400, headers: {"content-type": "application/json"}})); });
    };
    window.slide = value => {
      $('steps').value = value;
      $('steps').dispatchEvent(new Event('input', {bubbles: true}));
    };
  })()""")
  page.js("window.slide(5)")
  page.wait("drawing.running && !!window.refuse")
  page.js("window.slide(3)")
  page.wait("drawing.next !== null")
  page.js("window.refuse()")
  page.drawn("#mixImage", "0:100|0|3|")


def test_another_model_is_picked_while_a_path_plays(page):
  page.open("model=score&tool=path&from=1&to=7&n=5")
  page.drawn("#pathFrame", "1|7|5|")
  page.find("#pathPlay").click()
  page.wait("timer !== null && state.frame > 0")
  page.js("window.threw = []")
  page.js("window.addEventListener('error', event => window.threw.push(event.message))")
  page.keys("#model", "strokes")
  page.wait("state.model === 'strokes' && film !== null && timer === null")
  assert page.js("window.threw") == []


def test_a_drag_makes_no_queue(page):
  page.open("model=score&w=0:100")
  page.drawn("#mixImage", "0:100|")
  page.wait("!drawing.running")
  before = page.js("drawing.sent")
  page.js("""(() => { let inFlight = 0; const real = window.fetch;
    window.most = 0;
    window.fetch = (...all) => {
      window.most = Math.max(window.most, ++inFlight);
      return real(...all).finally(() => { inFlight--; });
    };
    for (let value = 1; value <= 60; value++) {
      $('class-1').value = value;
      $('class-1').dispatchEvent(new Event('input', {bubbles: true}));
    }
  })()""")
  page.drawn("#mixImage", "0:100,1:60|")
  page.wait("!drawing.running")
  assert page.js("drawing.sent") - before == 2 and page.js("window.most") == 1


# ---- where it may go ----

def test_it_asks_its_own_server_alone(page):
  page.driver.get_log("performance")
  for tool, state in STATES.items():
    page.open(state)
    _shown(page, tool)
  asked = []
  for entry in page.driver.get_log("performance"):
    message = json.loads(entry["message"])["message"]
    if message["method"] == "Network.requestWillBeSent":
      asked.append(message["params"]["request"]["url"])
  assert [url for url in asked if url.startswith(page.address + "v1/")]
  assert not [url for url in asked if not url.startswith((page.address, "data:", "blob:", "about:"))]


def test_the_policy_holds(page):
  """Against a script that came in as HTML, an address elsewhere and a picture from elsewhere."""
  page.open("model=strokes")
  page.js("(() => { window.broken = []; document.addEventListener('securitypolicyviolation', "
          "event => broken.push(event.effectiveDirective)); const box = document.createElement('div');"
          "box.innerHTML = '<img src=http://127.0.0.1:9/x.png onerror=\"window.taken = 1\">';"
          "document.body.append(box); fetch('http://127.0.0.1:9/').catch(() => 0); })()")
  page.wait("['img-src', 'connect-src', 'script-src-attr'].every(one => broken.includes(one))")
  assert page.js("window.taken === undefined")


def test_another_origin(driver, page):
  """The file itself, opened from the disk, against a server with CORS."""
  other = page_lib.Page(driver, f"{playground.PAGE.resolve().as_uri()}?server={page.address}v1&models=strokes,score")
  other.open("model=strokes&w=2:100")
  other.drawn("#mixImage", "2:100|")
  assert other.texts("#model option") == ["strokes", "score"]
  other.find("#tab-pad").click()
  other.wait("$('padBars').dataset.label")
  other.wait("location.hash.includes('tool=pad')")


def test_another_origin_without_leave(driver, model_folder):
  with running_server.in_process(f"--model_config_file={page_models.config(model_folder, 'strokes')}") as client:
    server = client.rest.replace("localhost", "127.0.0.1") + "/v1"
    page = page_lib.Page(driver, f"{playground.PAGE.resolve().as_uri()}?server={server}")
    page.load("model=strokes")
    page.notice(f"The server at {server} does not answer.")


def test_the_served_page_says_that_it_may_not_go_elsewhere(driver, page):
  other = page_lib.Page(driver, f"{page.address}?server=http://127.0.0.1:9/v1")
  other.load("model=strokes")
  other.notice("This page may ask no server but its own; open its file to ask http://127.0.0.1:9/v1.")
  page_lib.Page(driver, f"{page.address}?server=javascript:alert(1)").load("model=strokes")
  page.notice("is no address")


# ---- names from metadata ----

def test_names_are_text(page):
  page.open("model=hostile&w=0:50,2:50")
  page.drawn("#mixImage", "0:50,2:50|")
  labels = page.texts("#classSliders label")
  assert labels[0] == HOSTILE[0] and labels[1] == HOSTILE[1] and labels[3] == "&amp;" and labels[4] == "class 4"
  assert 70 < len(labels[2]) <= 80 and page.texts("#mixBars .name") == labels
  for tool in STATES:
    page.find(f"#tab-{tool}").click()
    page.wait("!drawing.running && !seeing.running")
    assert page.js("document.title === 'STIC playground' && !document.querySelector('main b:not(.bars b)')")
    assert page.js("document.documentElement.scrollWidth <= innerWidth")


def test_a_thousand_classes_have_a_search(page):
  page.open("model=many&w=3:100")
  page.drawn("#mixImage", "3:100|")
  assert page.texts("#classSliders label") == ["thing 3"] and page.js("$('mixBars').children.length") == 8
  page.keys("#classSearch", "thing 77", ENTER)
  page.drawn("#mixImage", "3:100,77:100|")
  assert page.texts("#classSliders label") == ["thing 3", "thing 77"]
  page.find("#classSliders li:nth-child(1) button").click()
  page.drawn("#mixImage", "77:100|")
  page.keys("#classSearch", "no such thing", ENTER)
  page.notice("No class is called “no such thing”.")
  page.find("#tab-gallery").click()
  page.js("$('choose-class-galleryClass').value = ''")
  page.keys("#choose-class-galleryClass", "999", ENTER)
  page.drawn("#grid", "999|0")


# ---- access for all ----

@pytest.fixture(scope="module")
def axe() -> str:
  folder = os.environ.get("STIC_AXE_DIR")
  if not folder:
    package = pytest.importorskip("axe_core_python", reason="no axe-core: its package is there from Python 3.10")
    folder = pathlib.Path(package.__file__).parent
  return pathlib.Path(folder, "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_has_nothing_to_say(page, axe, colours):
  page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
      {"name": "prefers-color-scheme", "value": colours}]})
  found = {}
  for tool, state in {**STATES, "triangle": "model=score&mode=triangle", "search": "model=many"}.items():
    page.open(state)
    _shown(page, {"triangle": "mix", "search": "mix"}.get(tool, tool))
    page.driver.execute_script(axe)
    # Colours are all that differs in the dark.
    rules = {"runOnly": ["color-contrast"]} if colours == "dark" else {}
    answer = page.driver.execute_async_script("axe.run(arguments[0]).then(arguments[1])", rules)
    found[tool] = [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in answer["violations"]]
  page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
  assert not any(found.values()), found


def test_a_phone_shows_all_of_it(page):
  page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
      "width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True})
  try:
    for tool, state in STATES.items():
      page.open(state)
      _shown(page, tool)
      assert page.js("document.documentElement.scrollWidth") <= 390, tool
  finally:
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_who_wants_no_motion_gets_none(page):
  page.open(STATES["watch"].replace("&frame=4", ""))
  _shown(page, "watch")
  assert page.js("matchMedia('(prefers-reduced-motion: reduce)').matches && timer === null && state.frame === 15")
