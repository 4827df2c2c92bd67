"""The five tools, each by keyboard and by pointer."""

import json
import os
import pathlib

import numpy as np
import PIL.Image
import pytest

from tests.serving import running_server

# What Selenium calls keys.
LEFT, UP, RIGHT, DOWN, END, HOME, SPACE, ENTER, SHIFT = "\ue012\ue013\ue014\ue015\ue010\ue011 \ue007\ue008"


def _seen(page, bars):
  """The classes of a list of bars, by their numbers."""
  return page.texts(f"#{bars} .name"), page.texts(f"#{bars} b")


# ---- mix ----

def test_mix_by_keyboard(page):
  page.open("model=score&tool=mix&w=0:100&seed=3")
  first = page.js("$('mixImage').src") if page.drawn("#mixImage", "0:100|3|") else None
  page.keys("#class-7", END)
  page.drawn("#mixImage", "0:100,7:100|3|8|1|0.5")
  assert page.js("$('mixImage').src") != first
  assert page.texts("#classSliders output")[7] == "50 %" and "log density" in page.js("$('mixCaption').textContent")
  names, shares = _seen(page, "mixBars")
  assert names == list("0123456789") and all(share.endswith(" %") for share in shares)
  page.wait("location.hash.includes('w=0:100,7:100')")
  page.wait("$('live').textContent.includes('the classifier sees')")


def test_mix_by_pointer(page):
  page.open("model=score&tool=mix&w=0:100")
  page.drag("#class-2", (0.02, 0.5), (0.4, 0.5), (0.98, 0.5))
  page.wait("state.weights.get(2) > 90")
  page.wait("$('mixImage').dataset.drawn === mixKey()")


@pytest.mark.parametrize("way", ["keyboard", "pointer"])
def test_the_triangle(page, way):
  page.open("model=score&mode=triangle&corners=1:1,4:1,7:1")
  page.drawn("#mixImage", "1:0.333,4:0.333,7:0.333|")
  if way == "keyboard":
    page.keys("#triangle", *[UP] * 16)
  else:
    page.drag("#triangle", (0.5, 0.6), (0.5, 0.1))
  page.wait("state.point[0] > 0.9")
  page.wait("$('mixImage').dataset.drawn === mixKey()")
  assert page.find("#triangle").get_attribute("aria-label").startswith("Mix of 1 ")


def test_guidance_is_offered_where_the_model_has_it(page):
  page.open("model=score")
  page.drawn("#mixImage", "0:100|0|8|1|0.5")
  page.keys("#guidance", END)
  page.drawn("#mixImage", "0:100|0|8|1|4")
  page.open("model=strokes")
  page.drawn("#mixImage", "0:100|0|5|1|")
  assert page.js("$('guidanceField').hidden")


# ---- pad ----

def test_pad_by_pointer(page):
  page.open("model=score&tool=pad&class=3&seed=5")
  page.wait("$('padBars').dataset.label")
  before = page.js("context.getImageData(0, 0, 8, 8).data.reduce((a, b) => a + b)")
  page.drag("#pad", (0.2, 0.2), (0.8, 0.2), (0.4, 0.8))
  assert page.js("context.getImageData(0, 0, 8, 8).data.reduce((a, b) => a + b)") > before
  page.wait("!seeing.running")
  page.find("#finish").click()
  page.drawn("#padImage", "3|0.5|5")
  first = page.js("$('padImage').src")
  page.keys("#strength", END)
  page.drawn("#padImage", "3|1|5")
  assert page.js("$('padImage').src") != first
  page.find("#keep").click()
  page.wait("location.hash.includes('pad=')")
  page.find("#undo").click()
  page.find("#clear").click()
  assert page.js("padImage.pixels().flat(2).every(value => value === 0)")


def test_pad_by_keyboard(page):
  page.open("model=strokes&tool=pad")
  page.keys("#pad", SPACE, DOWN, DOWN, SPACE)
  pixels = np.array(page.js("padImage.pixels()"))
  assert pixels.shape == (8, 8, 1) and pixels[4, 4] > 100 and pixels[6, 4] > 100 and pixels[1, 1] == 0
  page.wait("!seeing.running && $('padBars').dataset.label")
  page.keys("[name=pen]:checked", RIGHT)
  page.keys("#pad", SPACE)
  assert np.array(page.js("padImage.pixels()"))[6, 4] < pixels[6, 4]
  page.keys("#finish", ENTER)
  page.drawn("#padImage", "0|0.5|0")


def test_an_address_with_a_scribble_is_seen_where_the_page_is_open_already(page):
  page.open("model=score&tool=pad")
  page.keys("#pad", SPACE, DOWN, DOWN, SPACE)
  page.wait("location.hash.includes('pad=')")
  shared, pixels = page.hash(), page.js("padImage.pixels()")
  page.find("#clear").click()
  page.wait("location.hash !== args[0]", shared)
  page.js("location.hash = args[0]", shared)
  page.wait("JSON.stringify(padImage.pixels()) === args[0]", json.dumps(pixels, separators=(",", ":")))
  # Another model ends what could be drawn on.
  page.keys("#finish", ENTER)
  page.wait("!$('keep').disabled")
  page.js("location.hash = 'model=strokes&tool=pad'")
  page.wait("model !== null && state.model === 'strokes'")
  assert page.js("$('keep').disabled") and page.js("$('steps').disabled")


def test_a_film_is_of_its_own_tool(page):
  page.open("model=score&tool=watch&class=1")
  page.drawn("#watchFrame", "1|0|8|1|")
  page.find("#tab-path").click()
  assert page.js("film === null || 'name' in film")
  page.drawn("#pathFrame", "0|1|")
  assert page.js("film.name") == "score_0_to_1_seed_0"


@pytest.mark.parametrize("mode, size, suffix", [
    ("RGB", (300, 40), "jpg"), ("RGBA", (9, 9), "png"), ("I;16", (32, 32), "png"), ("CMYK", (50, 50), "jpg"),
    ("P", (8, 8), "gif"), ("1", (1, 1), "bmp"), ("L", (3000, 2000), "webp")], ids=str)
def test_a_picture_of_any_kind(page, tmp_path, mode, size, suffix):
  page.open("model=score&tool=pad")
  path = tmp_path / f"picture.{suffix}"
  colours = {"I;16": 65535, "RGBA": (0, 0, 0, 0), "CMYK": (0, 0, 0, 0), "P": 1}
  PIL.Image.new(mode, size, colours.get(mode, "white")).save(path)
  page.find("#file").send_keys(str(path))
  page.wait("$('padCaption').textContent.includes(args[0])", f"8 × 8 from {size[0]} × {size[1]} pixels")
  if mode != "P":  # white, or white because it is transparent
    assert page.js("Math.min(...padImage.pixels().flat(2))") >= 250


def test_what_is_no_picture_is_one_sentence(page, tmp_path):
  page.open("model=score&tool=pad")
  path = tmp_path / "picture.png"
  path.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
  page.find("#file").send_keys(str(path))
  page.notice("“picture.png” is not a picture that this browser can read.")


# ---- watch ----

def test_watch_by_keyboard(page):
  page.open("model=strokes&tool=watch&class=2")
  page.drawn("#watchFrame", "2|0|5|")
  assert page.js("$('watchFrame').max") == "15" and page.js("$('watchCaption').textContent") == "after 5 of 5 steps"
  last = page.js("$('watchImage').src")
  page.keys("#watchFrame", HOME)
  assert page.js("$('watchCaption').textContent") == "after 1 of 5 steps" and page.js("$('watchImage').src") != last
  assert page.js("$('tiles').children.length") == 16 and not page.js("$('tiles').hidden")
  page.keys("#tilesOn", SPACE)
  assert page.js("$('tiles').hidden")


def test_watch_by_pointer(page):
  page.open("model=strokes&tool=watch&class=2&frame=3")
  page.drawn("#watchFrame", "2|")
  assert page.js("state.frame") == 3
  page.drag("#watchFrame", (0.5, 0.5), (0.01, 0.5))
  assert page.js("state.frame") == 0
  page.find("#watchPlay").click()
  page.wait("state.frame === 15 && $('watchPlay').textContent === 'Play'")


def test_a_model_that_cannot_record_is_watched_in_more_and_more_steps(page):
  page.open("model=plain&tool=watch&class=1&steps=8")
  page.drawn("#watchFrame", "1|0|8|")
  assert page.js("film.frames.length") == 8 and page.js("$('watchCaption').textContent") == "drawn in 8 of 8 steps"
  assert page.js("$('tilesField').hidden && $('watchHint').textContent.includes('cannot record')")


# ---- path ----

def _saved(page, name, press):
  press()
  path = pathlib.Path(page.downloads, name)
  running_server.wait_until(path.exists, f"the download of {name} among {os.listdir(page.downloads)}")
  return PIL.Image.open(path)


def test_path_by_keyboard_and_its_files(page):
  page.open("model=score&tool=path&from=1&to=7&n=5&seed=2")
  page.drawn("#pathFrame", "1|7|5|2|")
  assert page.js("$('strip').children.length") == 5 and page.js("$('pathCaption').textContent") == "100 % “1”, 0 % “7”"
  page.keys("#pathFrame", END)
  assert page.js("$('pathCaption').textContent") == "0 % “1”, 100 % “7”"
  strip = _saved(page, "score_1_to_7_seed_2.png", lambda: page.keys("#savePng", ENTER))
  film = _saved(page, "score_1_to_7_seed_2.gif", lambda: page.keys("#saveGif", ENTER))
  assert strip.size == (5 * 224, 224) and film.size == (224, 224) and film.n_frames == 8 and film.info["loop"] == 0
  for place, number in enumerate([0, 1, 2, 3, 4, 3, 2, 1]):
    film.seek(place)
    tile = strip.crop((224 * number, 0, 224 * (number + 1), 224)).convert("RGB")
    np.testing.assert_array_equal(np.asarray(film.convert("RGB")), np.asarray(tile))


def test_path_by_pointer(page):
  page.open("model=score&tool=path&from=0&to=3&n=4")
  page.drawn("#pathFrame", "0|3|4|")
  page.find("#strip li:nth-child(3) button").click()
  assert page.js("state.frame") == 2
  page.find("#swap").click()
  page.drawn("#pathFrame", "3|0|4|")
  page.find("#pathPlay").click()
  page.wait("state.frame > 0")
  page.find("#pathPlay").click()
  assert page.js("timer === null")


def test_a_gif_of_many_colours_and_more_codes_than_it_has(page):
  """Noise fills the table of codes again and again; colours beyond 256 go to the nearest of the palette."""
  made = page.open("model=score").js(
      "(() => { const one = new ImageData(90, 70); let x = 1;"
      " for (let i = 0; i < one.data.length; i++) { x = x * 48271 % 2147483647;"
      "   one.data[i] = i % 4 === 3 ? 255 : x % 256; }"
      " return [[...gif([one], 5)], [...one.data]]; })()")
  path = pathlib.Path(page.downloads, "noise.gif")
  path.write_bytes(bytes(made[0]))
  got = np.asarray(PIL.Image.open(path).convert("RGB")).astype(int)
  given = np.array(made[1]).reshape(70, 90, 4)[..., :3]
  assert np.abs(got - given).max() <= 26


# ---- gallery ----

@pytest.mark.parametrize("way", ["keyboard", "pointer"])
def test_gallery(page, way):
  page.open("model=score&tool=gallery&class=4&seed=10")
  page.drawn("#grid", "4|10")
  assert page.js("document.querySelectorAll('#grid img').length") == 64
  assert page.find("#grid li:nth-child(6) a").get_attribute("aria-label").startswith("Seed 15, log density ")
  assert page.js("[...document.querySelectorAll('.meter i')].every(one => one.style.transform.startsWith('scaleX('))")
  chosen = page.js("document.querySelectorAll('#grid img')[5].src")
  if way == "keyboard":
    page.keys("#grid li:nth-child(6) a", ENTER)
  else:
    page.find("#grid li:nth-child(6) a").click()
  page.drawn("#mixImage", "4:100|15|")
  assert page.js("$('mixImage').src") == chosen and page.js("!$('mix').hidden")


def test_tabs_by_keyboard(page):
  page.open("model=score&tool=mix")
  for expected in ("pad", "watch", "path", "gallery", "mix"):
    page.keys("[role=tab][tabindex='0']", RIGHT)
    assert page.js("state.tool") == expected and page.js("document.activeElement.id") == "tab-" + expected
  page.keys("[role=tab][tabindex='0']", END)
  assert page.js("state.tool") == "gallery"


def test_the_die_gives_another_seed(page):
  page.open("model=many&tool=mix&seed=-5")
  page.drawn("#mixImage", "0:100|-5|")
  page.find("#die").click()
  page.wait("state.seed >= 0 && $('mixImage').dataset.drawn === mixKey()")
