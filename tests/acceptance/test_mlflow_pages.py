"""What a browser shows of a sweep on MLflow's own pages, from the address of its experiment on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import TimeoutError as NotShownError

from tests import browser as browsers
from tests.browser import Tab
from tests.conftest import run_here, write_text
from tests.servers import served

pytestmark = pytest.mark.full
#: milliseconds after which a page that shows no chart is loaded once more
LOADED_MS = 60_000
TWO = [
    *("--set", "layer_size=6,8", "--set", "sequence_length=8", "--set", "batch_size=32"),
    *("--set", "stride=8", "--set", "learning_rate=0.01", "--epochs", "2", "--size-rule", "off"),
    *("--targets", "100", "--trials", "2", "--ladder", "off", "--confirm-configs", "0"),
    *("--halving", "off"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.running() as found:
        yield found


@pytest.fixture(scope="module")
def tab(workplace: Callable[[str], Path], browser: Browser) -> Iterator[Tab]:
    """A tab of a browser, and the MLflow UI on a store with a sweep of two trials."""
    folder = workplace("mlflow-pages")
    write_text(folder / "words.txt")
    done = run_here("launch", "--data", "words.txt", "--name", "w", *TWO, cwd=folder)
    assert done.code == 0, done.err
    with served(folder) as address:
        yield Tab(browser, address)


def test_the_address_of_the_experiment_leads_to_learning_curves(tab: Tab) -> None:
    page = tab.go("/#/experiments/1")
    # no click: MLflow's own first message lies above the page
    link = page.locator("a", has_text="learning curves").get_attribute("href")
    page.goto(f"{tab.base}/{link}")
    cards = page.get_by_test_id("experiment-view-compare-runs-card")
    curve = cards.first.locator(".scatterlayer .trace").first
    try:
        curve.wait_for(timeout=LOADED_MS)
    except NotShownError:  # seen once, for no known reason: no chart after four minutes
        page.reload()
        curve.wait_for()
    for number, over in enumerate(("Step", "epochs_done")):  # those that are in sight
        card = cards.nth(number)
        assert card.locator(".xtitle").text_content() == over
        assert card.inner_text().startswith("val_loss")


def test_the_run_of_a_sweep_begins_with_its_result(tab: Tab) -> None:
    page = tab.go(
        "/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=lstm-sweep"
    )
    page.get_by_role("link", name="w", exact=True).first.click()
    page.get_by_text("is the best trial").wait_for()
    assert page.get_by_text("bits per symbol").first.is_visible()
