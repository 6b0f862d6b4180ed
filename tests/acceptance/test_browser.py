"""The pages of `serve` in a browser, by clicks and keys: from a file to a model."""

from __future__ import annotations

import contextlib
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page
from playwright.sync_api import TimeoutError as NotShownError

from tests import browser as browsers
from tests.browser import CONTRAST, FAINT, HUE_ALONE, WITHIN_S, Tab
from tests.conftest import TINY, run_here, run_program, write_text
from tests.servers import served, serving

pytestmark = pytest.mark.full

#: networks that train fast
FIELDS = "layer_size=6,8\nlayers=2\ndropout=0..0.5\nsequence_length=8\nstride=8\nbatch_size=32"
#: lets a page believe that its tab is hidden, or seen again
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
#: more trials than end before the sweep is stopped
TRIALS = 60


@dataclass(frozen=True)
class Site:
    """A service that asks for tokens, and one of them."""

    url: str
    token: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.running() as found:
        yield found


@pytest.fixture(scope="module")
def site(workplace: Callable[[str], Path], browser: Browser) -> Iterator[Site]:
    folder = workplace("pages")
    token = run_program("token", "add", "ann", "--role", "run", "--json", cwd=folder).json["token"]
    options = ("--login", "--slots", "2", "--no-mlflow")
    with serving(folder, *options, LSTM_SWEEP_SLOTS=str(folder / "slots")) as (told, _):
        yield Site(told["url"], token)


def logged_in(browser: Browser, site: Site, *, javascript: bool = True) -> Tab:
    """A tab of a browser into which the token was typed."""
    tab = Tab(browser, site.url, javascript=javascript)
    tab.go("/login").get_by_label("Token").fill(site.token)
    tab.page.get_by_role("button", name="Log in").click()
    tab.page.wait_for_url(f"{site.url}/")
    return tab


def test_a_token_lets_a_browser_in_and_nothing_else_does(browser: Browser, site: Site) -> None:
    tab = Tab(browser, site.url)
    for path in ("/", "/launch", "/sweeps/first"):
        assert tab.go(path).url == f"{site.url}/login"
    tab.page.get_by_label("Token").fill("guessed")
    tab.page.keyboard.press("Enter")
    assert "the token is not known" in tab.page.get_by_role("alert").inner_text()
    faults = tab.faults()

    tab.page.get_by_label("Token").fill(site.token)
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url(f"{site.url}/")
    assert tab.page.get_by_role("heading", name="Sweeps").is_visible()
    [cookie] = tab.page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert tab.page.evaluate("() => document.cookie") == ""
    faults += tab.faults()

    tab.page.get_by_role("button", name="Log out").click()
    assert tab.go("/").url == f"{site.url}/login"
    assert (faults, tab.elsewhere()) == ([], [])
    refused = "error: Failed to load resource: the server responded with a status of 401"
    assert [said for said in tab.said if not said.startswith(refused)] == []


def test_a_sweep_goes_from_a_file_to_a_model_by_keys_and_clicks(
    browser: Browser, site: Site, data: Path, tmp_path: Path
) -> None:
    tab = logged_in(browser, site)
    faults = launch_by_keys(tab, data)
    page = tab.page
    page.evaluate("() => { window.loaded = 'once'; }")
    assert page.get_by_text("No trial has begun.").is_visible()
    page.locator("#trials td", has_text="running").first.wait_for()
    curves = page.locator("#pictures figure", has_text="Learning curves")
    curves.locator("svg").first.wait_for()
    before = curves.locator(".scroll").first.inner_html()
    until(lambda: curves.locator(".scroll").first.inner_html() != before, "the curves grow")
    assert page.evaluate("() => window.loaded") == "once"  # all that was live
    faults += tab.faults()

    page.evaluate(HIDE, True)
    until(lambda: listeners(tab) == 0, "a hidden tab listens no more")
    page.evaluate(HIDE, False)
    until(lambda: listeners(tab) == 1, "it listens again")

    tab.tab_to("Pause")
    page.keyboard.press("Enter")
    badge(page, "paused").wait_for()
    ended = ended_trials(page)
    another = without_javascript(browser, site)
    assert ended_trials(page) == ended < TRIALS

    page.get_by_role("button", name="Resume").click()
    until(lambda: ended_trials(page) > ended, "it goes on")
    page.get_by_role("button", name="Stop").click()
    badge(page, "stopped").wait_for()
    assert page.get_by_role("button", name="Resume").is_visible()
    faults += tab.faults()

    faults += take_home(tab, tmp_path, another)
    assert (faults, tab.elsewhere(), tab.said) == ([], [], [])


def take_home(tab: Tab, folder: Path, another: str) -> list[str]:
    """Sort, rerun and export the trials of the sweep, and compare it; faults of the pages."""
    page = tab.page
    for order in ("ascending", "descending"):
        page.get_by_role("columnheader", name="loss").get_by_role("link").click()
        page.locator(f"#trials th[aria-sort={order}]").wait_for()
        shown = page.locator("#trials tbody td:nth-child(4)").all_inner_texts()
        losses = [float(text) for text in shown if text]
        assert losses == sorted(losses, reverse=order == "descending") and len(losses) > 1

    faults = report(tab)
    page.get_by_role("button", name="Rerun the best trial").click()
    page.wait_for_url("**/reruns/*")
    rerun = page.url
    faults += tab.faults() + export(tab.go("/sweeps/mine"), tab, folder)
    page.goto(rerun)
    page.locator("#state", has_text="verdict: identical").wait_for()
    return faults + tab.faults() + compare(tab, "mine", another)


def report(tab: Tab) -> list[str]:
    """Look at the report of the sweep, and come back; its faults."""
    tab.page.get_by_role("link", name="Report").click()
    tab.page.get_by_role("heading", name="How it came about").wait_for()
    faults = tab.faults()
    tab.page.evaluate("() => document.documentElement.style.setProperty('--s0', '#808080')")
    assert tab.page.evaluate(FAINT, 5) != [] == tab.page.evaluate(FAINT, CONTRAST)
    tab.page.add_style_tag(content=".drawing .stroke.s1 { stroke-dasharray: none !important; }")
    assert tab.page.evaluate(HUE_ALONE) == ["s0 and s1"]
    tab.page.go_back()
    return faults


def launch_by_keys(tab: Tab, data: Path) -> list[str]:
    """Fill the form in and send it without a mouse; its faults."""
    page = tab.go("/launch")
    # the browser tells of file choosers from now on: asked at the key itself it may be too late
    page.on("filechooser", lambda chooser: None)
    faults = tab.faults()
    way = tab.tab_to("A file of yours")
    assert way[:3] == ["To the content", "Sweeps", "Launch a sweep"]
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(data)
    for name, keys in [("Space", "quick"), ("Trials at most", str(TRIALS))]:
        tab.tab_to(name)
        page.keyboard.type(keys)
    tab.tab_to("More about the search")
    page.keyboard.press("Enter")
    tab.tab_to("Values of fields of the space, a field a line")
    page.keyboard.type(f"{FIELDS}\nepochs=16")
    for name, keys in [("Find the best learning rate first, from high to low", "of"),
                       ("Let trials wait that fall behind, and prune them", "of"),
                       ("How many of the best configs are trained again in the end", "0"),
                       ("What happens to networks of an unsuitable size", "o"),
                       ("Name (may be empty)", "mine")]:  # fmt: skip
        tab.tab_to(name)
        page.keyboard.type(keys)
    tab.tab_to("Launch")
    page.keyboard.press("Enter")
    page.wait_for_url("**/sweeps/mine")
    return faults


def without_javascript(browser: Browser, site: Site) -> str:
    """Run a sweep of one trial on the file that is there, by pages as they are; its name."""
    tab = logged_in(browser, site, javascript=False)
    page = tab.go("/launch")
    page.get_by_label("Or a sample").select_option(label="words.txt (6,000 bytes)")
    page.get_by_label("Trials at most").fill("many")
    page.get_by_text("More about the search").click()
    page.get_by_label("Values of fields").fill(f"{FIELDS}\nepochs=1")
    page.get_by_label("Find the best learning rate first").select_option("off")
    page.get_by_label("How many of the best configs").fill("0")
    page.get_by_label("What happens to networks of an unsuitable size").select_option("off")
    page.get_by_role("button", name="Launch").click()
    assert "trials is 'many'" in page.get_by_role("alert").inner_text()
    page.get_by_label("Trials at most").fill("1")  # all else is still there
    page.get_by_role("button", name="Launch").click()
    page.wait_for_url("**/sweeps/*")
    name = page.url.rpartition("/")[2]

    def has_ended() -> bool:
        page.reload()
        return badge(page, "finished").is_visible()

    until(has_ended, "a sweep of one trial ends")
    assert page.locator("#pictures svg").first.is_visible()
    page.get_by_text("The numbers").first.click()
    assert page.locator("#pictures td").first.is_visible()
    page.get_by_role("link", name=f"{name}/0").click()
    page.get_by_role("table", name="Metrics after each round").wait_for()
    assert tab.elsewhere() == []
    return name


def export(page: Page, tab: Tab, folder: Path) -> list[str]:
    """Take the best model home, and look into it; the faults of the page of its trial."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Export the best model").click()
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    with zipfile.ZipFile(file) as packed:
        assert packed.testzip() is None
        names = {Path(one).name for one in packed.namelist()}
    assert file.name.startswith("mine-") and names >= {"model.keras", "README.md"}
    page.get_by_role("rowheader").get_by_role("link").first.click()
    page.get_by_role("heading", name="Rounds").wait_for()
    return tab.faults()


def compare(tab: Tab, *sweeps: str) -> list[str]:
    """Tick sweeps in the list, which stays up to date meanwhile, and compare them; the faults."""
    page = tab.go("/")
    for name in sweeps:
        page.get_by_label(f"Compare {name}").check()
    with page.expect_response(f"{tab.base}/"):
        pass
    assert all(page.get_by_label(f"Compare {name}").is_checked() for name in sweeps)
    page.get_by_role("button", name="Compare what is ticked").click()
    page.get_by_role("heading", name="The best losses").wait_for()
    assert all(page.get_by_role("columnheader", name=name).is_visible() for name in sweeps)
    return tab.faults()


def listeners(tab: Tab) -> int:
    """How many streams of events are open, as the service says."""
    text = tab.page.request.get(f"{tab.base}/metrics").text()
    [found] = re.findall(r"^lstm_sweep_listeners (\S+)", text, re.MULTILINE)
    return int(float(found))


def ended_trials(page: Page) -> int:
    """How many trials have ended, as the page of a sweep says."""
    return int(page.get_by_role("progressbar").get_attribute("value") or "")


def badge(page: Page, state: str) -> Locator:
    """The state of a sweep, if it is this one."""
    return page.locator("#state .badge", has_text=state)


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something."""
    end = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.3)


# What a browser shows of a sweep on MLflow's own pages, from the address of its experiment on


#: milliseconds after which a page that shows no chart is loaded again
LOADED_MS = 60_000
#: times that it is loaded
LOADS = 4
TWO = ("--trials", "2", "--confirm-configs", "0")


@pytest.fixture(scope="module")
def tab(workplace: Callable[[str], Path], browser: Browser) -> Iterator[Tab]:
    """A tab of a browser, and the MLflow UI on a store with a sweep of two trials."""
    folder = workplace("mlflow-pages")
    write_text(folder / "words.txt")
    done = run_here("launch", "--data", "words.txt", "--name", "w", *TINY, *TWO, cwd=folder)
    assert done.code == 0, done.err
    with served(folder) as address:
        yield Tab(browser, address)


def test_the_address_of_the_experiment_leads_to_learning_curves(tab: Tab) -> None:
    page = tab.go("/#/experiments/1")
    # no click: MLflow's own first message lies above the page
    link = page.locator("a", has_text="learning curves").get_attribute("href")
    cards = page.get_by_test_id("experiment-view-compare-runs-card")
    curve = cards.first.locator(".scatterlayer .trace").first
    for _ in range(LOADS):
        page.goto("about:blank")  # or only what is behind the # changes, and nothing is loaded
        page.goto(f"{tab.base}/{link}")
        with contextlib.suppress(NotShownError):
            curve.wait_for(timeout=LOADED_MS)
            break
    for number, over in enumerate(("Step", "epochs_done")):  # those that are in sight
        card = cards.nth(number)
        assert card.locator(".xtitle").text_content() == over
        assert card.inner_text().startswith("val_loss")


def test_the_run_of_a_sweep_begins_with_its_result(tab: Tab) -> None:
    view = "workflowType=machine_learning&viewStateShareKey=lstm-sweep"
    page = tab.go(f"/#/experiments/1/runs?{view}")
    page.get_by_role("link", name="w", exact=True).first.click()
    page.get_by_text("is the best trial").wait_for()
    assert page.get_by_text("bits per symbol").first.is_visible()
