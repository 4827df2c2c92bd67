"""The page in a browser, as a test uses it: by keyboard and pointer, waiting for what it shows."""

import tempfile
import time

PATIENCE_SECONDS = 60
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
          "--disable-component-update", "--disable-sync", "--force-prefers-reduced-motion", "--window-size=1280,900")


def start(chromium: str, chromedriver: str, folder: str):
  """A headless Chromium with a profile of its own that stores downloads in `folder`."""
  from selenium import webdriver
  from selenium.webdriver.chrome.service import Service

  options = webdriver.ChromeOptions()
  options.binary_location = chromium
  for flag in (*_FLAGS, f"--user-data-dir={tempfile.mkdtemp(dir=folder)}"):
    options.add_argument(flag)
  options.add_experimental_option("prefs", {"download.default_directory": folder})
  options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
  return webdriver.Chrome(options=options, service=Service(chromedriver))


class Page:
  """The page at `address`.

  Attributes:
    driver: Selenium's.
    address: of the page without a fragment.
    downloads: where files are saved.
  """

  def __init__(self, driver, address: str, downloads: str = ""):
    self.driver, self.address, self.downloads = driver, address, downloads

  def open(self, state: str) -> "Page":
    """Loads the page anew at a state, such as model=m&tool=mix, and waits until it knows the model."""
    self.load(state)
    self.wait("model !== null")
    return self

  def load(self, state: str) -> None:
    self.driver.get("about:blank")  # another fragment alone would not load it
    self.driver.get(f"{self.address}#{state}")

  def js(self, expression: str, *arguments):
    """The value of an expression; `args` are the arguments."""
    return self.driver.execute_script(f"const args = arguments; return ({expression});", *arguments)

  def wait(self, expression: str, *arguments):
    """Polls until it is true, and gives its value."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (value := self.js(expression, *arguments)):
      assert time.monotonic() < end, (expression, arguments, self.js("$('noticeText').textContent"), self.hash())
      time.sleep(0.02)
    return value

  def find(self, selector: str):
    return self.driver.find_element("css selector", selector)

  def texts(self, selector: str):
    return self.js("[...document.querySelectorAll(args[0])].map(one => one.textContent)", selector)

  def keys(self, selector: str, *keys: str) -> None:
    """Focuses an element as Tab would, and types."""
    from selenium.webdriver.common.action_chains import ActionChains
    self.js("document.querySelector(args[0]).focus()", selector)
    ActionChains(self.driver, duration=0).send_keys(*keys).perform()

  def drag(self, selector: str, *places) -> None:
    """Presses the pointer at the first (x, y), shares of the element's width and height, and moves through the rest."""
    from selenium.webdriver.common.action_chains import ActionChains
    found = self.find(selector)
    size, actions = found.size, ActionChains(self.driver, duration=10)
    for number, (x, y) in enumerate(places):
      actions.move_to_element_with_offset(found, round((x - 0.5) * size["width"]), round((y - 0.5) * size["height"]))
      if not number:
        actions.click_and_hold()
    actions.release().perform()

  def hash(self) -> str:
    return self.js("location.hash")

  def drawn(self, selector: str, beginning: str = "") -> str:
    """Waits until an element says that it shows what begins so; the whole of what it says."""
    return self.wait("(one => one && one.startsWith(args[1]) && one)(document.querySelector(args[0]).dataset.drawn)",
                     selector, beginning)

  def notice(self, text: str) -> None:
    """Waits for a sentence on the page that has `text` in it."""
    self.wait("!$('notice').hidden && $('noticeText').textContent.includes(args[0])", text)

  def calm(self) -> None:
    """Waits until there is none."""
    self.wait("$('notice').hidden")
