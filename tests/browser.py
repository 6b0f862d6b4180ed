"""Chromium without a window, what it says of the pages that it shows, and the proxy before them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, sync_playwright

from tests.postgres import do_without
from tests.servers import free_port, wait_for_answer

#: what tests may not do without if `LSTM_SWEEP_TESTS_NEED` has it
NAME = "chromium"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
#: it asks for nothing by itself, and runs as root of a container
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
           "--disable-background-networking", "--disable-component-update"]  # fmt: skip
#: seconds that anything may take on a machine that does other things too
WITHIN_S = 240.0
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDE, NARROW = ViewportSize(width=1100, height=800), ViewportSize(width=390, height=800)
#: how the element with the focus is seen, and what it is called
FOCUSED = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  const label = one.labels && one.labels[0] && one.labels[0].textContent;
  const box = one.getBoundingClientRect();
  return {
    name: (one.getAttribute("aria-label") || label || one.textContent).trim().replace(/\\s+/g, " "),
    outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
    shown: box.width > 0 && box.right > 0 && box.bottom > 0,
  };
}"""
#: marks, lines and bars of drawings that stand out from the page by less than a number, by class; a
#: line that is thinner than a pixel covers only a part of it
FAINT = """(least) => {
  const light = (colour) => {
    const parts = colour.match(/[0-9.]+/g).slice(0, 3).map((text) => Number(text) / 255);
    const [r, g, b] = parts.map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor), found = new Set();
  const ratio = (l) => (Math.max(l, paper) + 0.05) / (Math.min(l, paper) + 0.05);
  const parts = ".drawing :is(.stroke, .mark, .bar, .level, .axis)";
  for (const one of document.querySelectorAll(parts)) {
    const style = getComputedStyle(one);
    const seen = (one.matches(".stroke, line") ? [style.stroke] : [style.stroke, style.fill])
      .filter((colour) => colour.startsWith("rgb"));
    if (!one.getClientRects().length || !seen.length) continue;
    const covered = one.matches(".stroke, line") ? Math.min(1, parseFloat(style.strokeWidth)) : 1;
    const contrast = 1 + covered * (Math.max(...seen.map(light).map(ratio)) - 1);
    if (contrast < least) found.add(one.getAttribute("class"));
  }
  return [...found];
}"""
#: pairs of curves of one drawing that differ in nothing but their hue, by class
HUE_ALONE = """() => {
  const found = new Set();
  for (const drawing of document.querySelectorAll(".drawing")) {
    const styles = new Map();
    for (const one of drawing.querySelectorAll("path.stroke")) {
      const name = [...one.classList].find((name) => /^s[0-9]$/.test(name));
      if (!name || !one.getClientRects().length) continue;
      const dashes = getComputedStyle(one).strokeDasharray, other = styles.get(dashes) || name;
      if (other !== name) found.add([other, name].sort().join(" and "));
      styles.set(dashes, other);
    }
  }
  return [...found];
}"""
#: contrast of parts of a picture to what is beside them, WCAG 2.2, 1.4.11
CONTRAST = 3
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@contextlib.contextmanager
def running() -> Iterator[Browser]:
    """A browser; without Chromium the test is skipped, or fails if told to."""
    found = [path for path in map(shutil.which, PROGRAMS) if path]
    if not found:
        do_without(NAME, "Chromium is not installed, expected Debian's package `chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0], args=OPTIONS)
        yield browser
        browser.close()


class Tab:
    """A page of a browser; what the browser says of it, and where it asks, is kept."""

    def __init__(self, browser: Browser, base: str, *, javascript: bool = True) -> None:
        context = browser.new_context(java_script_enabled=javascript, viewport=WIDE)
        context.set_default_timeout(1000 * WITHIN_S)
        self.base, self.page = base, context.new_page()
        self.said, self.asked = list[str](), list[str]()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _note(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.said.append(f"{said.type}: {said.text}")

    def go(self, path: str) -> Page:
        """Show a page of the service."""
        self.page.goto(self.base + path)
        return self.page

    def elsewhere(self) -> list[str]:
        """What was asked for at other places than the service."""
        here = urlsplit(self.base).netloc
        asked = [url for url in self.asked if not url.startswith("data:")]
        return [url for url in asked if urlsplit(url).netloc != here]

    def tab_to(self, name: str) -> list[str]:
        """Press Tab until the element of this name has the focus; names on the way, this included.

        Each has to show that it has the focus.
        """
        names = list[str]()
        while not names or names[-1] != name:
            assert len(names) < 60, f"{name} is not among {names}"
            self.page.keyboard.press("Tab")
            focused = self.page.evaluate(FOCUSED)
            assert focused["shown"] and focused["outline"] >= 2, focused
            names.append(focused["name"])
        return names

    def faults(self) -> list[str]:
        """Faults of a page in both themes, and where it is wider than a narrow screen.

        They are what axe-core finds, what hardly stands out in a drawing, and curves that who sees
        no colours cannot tell apart.
        """
        found = list[str]()
        for theme in THEMES:
            self.page.emulate_media(color_scheme=theme)
            for fault in Axe().run(self.page).response["violations"]:
                where = [node["target"] for node in fault["nodes"]]
                found.append(f"{self.page.url} {theme}: {fault['id']} at {json.dumps(where)}")
            for faint in self.page.evaluate(FAINT, CONTRAST):
                found.append(f"{self.page.url} {theme}: '{faint}' hardly stands out")
        for pair in self.page.evaluate(HUE_ALONE):
            found.append(f"{self.page.url}: {pair} differ in hue alone")
        self.page.set_viewport_size(NARROW)
        if self.page.evaluate(OVERFLOW):
            found.append(f"{self.page.url}: wider than {NARROW['width']} pixels")
        self.page.set_viewport_size(WIDE)
        return found


CADDYFILE = Path(__file__).parents[1] / "docker" / "Caddyfile"


@contextlib.contextmanager
def caddy(folder: Path, file: Path = CADDYFILE, **given: str) -> Iterator[str]:
    """The proxy with a settings file and what that takes from the environment; its address."""
    program = shutil.which("caddy")
    if program is None:
        do_without("caddy", "Caddy is not installed, expected Debian's package `caddy`")
    listen = f"127.0.0.1:{free_port()}"
    given["LISTEN"] = f"http://{listen}"
    with (folder / "proxy.log").open("w") as log:
        process = subprocess.Popen(
            [program, "run", "--config", file, "--adapter", "caddyfile"],
            env=os.environ | given | {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for_answer(f"http://{listen}/api/v1/health", process, folder / "proxy.log")
        yield f"http://{listen}"
    finally:
        process.terminate()
        process.wait(20)
