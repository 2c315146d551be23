"""Pages in a real browser: their content, requests and size."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")

_QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
    "--no-default-browser-check", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-extensions", "--metrics-recording-only", "--no-pings",
    "--disable-features=OptimizationHints,MediaRouter,Translate,AutofillServerCommunication,NetworkTimeServiceQuerying",
)  # fmt: skip

_BROWSER_HOSTS = (".google.com", ".googleapis.com", ".gvt1.com")
"""Hosts that the browser itself sends requests to, for any page and with any options."""

_FRAMED = """<!DOCTYPE html><html><head><link rel="icon" href="data:,"></head><body><iframe id="page" src="/page.html" width="{width}" height="900"></iframe><script>
addEventListener("load", () => {{
  const inside = document.getElementById("page").contentWindow, page = inside.document;
  const boxes = [...page.querySelectorAll(".scroll")];
  const state = {{
    title: page.title,
    width: inside.innerWidth,
    body: page.documentElement.scrollWidth,
    scrolls: boxes.filter(box => box.scrollWidth > box.clientWidth + 1).length,
    texts: [...page.querySelectorAll("bdi")].map(one => one.textContent),
    scripts: page.scripts.length,
    ground: inside.getComputedStyle(page.body).backgroundColor,
    pictures: [...page.querySelectorAll("svg.frame")].map(one => one.getBoundingClientRect().width),
    marks: [...page.querySelectorAll("svg.track circle")].map(one => one.getBoundingClientRect().width),
  }};
  document.body.dataset.state = JSON.stringify(state);
}});
</script></body></html>"""


def find_browser() -> str:
    """The browser's path; skips the test if there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium)")
    return path


class Browser:
    """A browser with one page, on its own server; all other hosts lead to the same server.

    Attributes:
        asked: the host and path of each request.
    """

    def __init__(self, path: str, folder: Path, port: int, pages: dict[str, str], asked: list[str]) -> None:
        self._path, self._folder, self._port, self._pages = path, folder, port, pages
        self.asked = asked

    def show(self, page: str, width: int, *options: str) -> dict:
        """Show a page in a frame of a width, and return its state."""
        self._pages.update({"/page.html": page, "/framed.html": _FRAMED.format(width=width)})
        dom = self._run("--window-size=1400,1000", "--dump-dom", *options, f"{self._own}/framed.html")
        state = dom.partition('data-state="')[2].partition('"')[0]
        return json.loads(unescape(state))

    def print(self, page: str) -> bytes:
        """Print a page; return the PDF."""
        self._pages["/page.html"] = page
        file = self._folder / "printed.pdf"
        self._run(f"--print-to-pdf={file}", "--no-pdf-header-footer", f"{self._own}/page.html")
        return file.read_bytes()

    @property
    def _own(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _run(self, *arguments: str) -> str:
        command = [
            self._path, *_QUIET, f"--user-data-dir={self._folder / 'profile'}", "--virtual-time-budget=3000",
            f"--host-resolver-rules=MAP * 127.0.0.1:{self._port}", *arguments,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout


@contextmanager
def browsing(path: str, folder: Path) -> Iterator[Browser]:
    """Start a browser and its server, until the block ends."""
    pages: dict[str, str] = {}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            host = (self.headers.get("Host") or "").partition(":")[0]
            if not host.endswith(_BROWSER_HOSTS):
                asked.append(f"{host}{self.path}")
            content = pages.get(self.path, "").encode()
            self.send_response(200 if content else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Browser(path, folder, server.server_address[1], pages, asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
