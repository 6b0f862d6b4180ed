"""Takes the pictures of pages in this folder: service.png, report.png and run_list.png.

    python docs/pictures.py http://127.0.0.1:8000 SWEEP

A service has to run there beside its MLflow server, without a login, with a sweep that has ended.
It needs what the tests of pages need: Playwright, and Chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

DOCS = Path(__file__).resolve().parent
#: ms that MLflow's page may take to show what it has loaded
SETTLES_MS = 4_000
#: what opens the list of runs with the columns of a search
VIEW = "&viewStateShareKey=lstm-sweep"
#: px between the two parts of report.png, and their height
GAP, HEIGHT = 20, 1150


def shot(page: Page, width: int, height: int) -> Image.Image:
    """What is seen of a page in a window of this size, in px."""
    page.set_viewport_size(ViewportSize(width=width, height=height))
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def service(page: Page) -> Image.Image:
    """The upper part of the page of a sweep."""
    return shot(page, 1000, 1098)


def report(page: Page) -> Image.Image:
    """The answer of a report on a light screen, and its curves on a dark phone."""
    screen = shot(page, 780, HEIGHT)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(ViewportSize(width=390, height=HEIGHT))
    page.get_by_role("heading", name="How it came about").evaluate("one => one.scrollIntoView()")
    phone = shot(page, 390, HEIGHT)
    whole = Image.new("RGB", (screen.width + GAP + phone.width, HEIGHT), "#c9ced4")
    whole.paste(screen, (0, 0))
    whole.paste(phone, (screen.width + GAP, 0))
    return whole


def run_list(page: Page) -> Image.Image:
    """The list of runs in the MLflow UI, without what MLflow shows around it at a first visit."""
    page.set_viewport_size(ViewportSize(width=1900, height=780))
    page.get_by_role("gridcell").first.wait_for()
    for name in ("Close", "Hide banner", "Toggle sidebar"):
        button = page.get_by_role("button", name=name, exact=True)
        if button.count():
            button.first.click()
    page.wait_for_timeout(SETTLES_MS)
    return shot(page, 1900, 780)


def write(picture: Image.Image, name: str) -> None:
    """Save a picture of a page, which has few colours."""
    picture.quantize(256).save(DOCS / name, optimize=True)


def take(browser: Browser, url: str, sweep: str) -> None:
    """Write the pictures of a sweep.

    Raises:
        RuntimeError: the page of the sweep has no link into MLflow.
    """
    page = browser.new_context(color_scheme="light").new_page()
    page.goto(f"{url}/sweeps/{sweep}")
    link = page.get_by_role("link", name="In MLflow")
    address = link.get_attribute("href") if link.count() else None
    if not address:
        raise RuntimeError(f"{url}/sweeps/{sweep}: expected a sweep with a link into MLflow")
    write(service(page), "service.png")
    page.goto(f"{url}/sweeps/{sweep}/report")
    write(report(page), "report.png")
    page.emulate_media(color_scheme="light")
    page.goto(f"{address.partition('/runs/')[0]}/runs?workflowType=machine_learning{VIEW}")
    write(run_list(page), "run_list.png")


def main(arguments: list[str]) -> int:
    """Take the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(description="take the pictures of pages in docs/")
    parser.add_argument("url", help="address of a service")
    parser.add_argument("sweep", help="name of a sweep that has ended")
    given = parser.parse_args(arguments)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        take(browser, given.url.rstrip("/"), given.sweep)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
