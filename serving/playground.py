"""The playground page: one file, and the policy under which a browser shows it."""

import base64
import hashlib
import pathlib
import re
from typing import Dict

PAGE = pathlib.Path(__file__).with_name("playground") / "index.html"
# What may be asked beside /v1: the page itself, and which models there are, which TensorFlow Serving's REST cannot say.
PAGE_PATH, MODELS_PATH = "/", "/playground/models"

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def policy(html: str) -> str:
  """A Content-Security-Policy: the page's own script and style, pictures it made, and its own server, nothing else.

  Scripts and styles are named by their SHA-256, so that text which came in from metadata could not run if it became
  HTML.
  """
  sources = {"script": [], "style": []}
  for kind, text in _INLINE.findall(html):
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    sources[kind].append(f"'sha256-{digest}'")
  return "; ".join([
      "default-src 'none'", *(f"{kind}-src {' '.join(hashes)}" for kind, hashes in sources.items()),
      "img-src data: blob:", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"])


class Page:
  """The file's bytes and the headers it goes out with; read once.

  Raises:
    OSError: the file is not there.
  """

  def __init__(self, path: pathlib.Path = PAGE):
    html = path.read_text(encoding="utf-8")
    self.body = html.encode()
    self.headers: Dict[str, str] = {
        "Content-Security-Policy": policy(html), "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
