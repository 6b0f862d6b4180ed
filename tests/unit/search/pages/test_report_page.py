from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from lstm_sweep.search.pages import figures, report_page
from lstm_sweep.search.pages.charts import MOST_STEPS, Axis
from lstm_sweep.search.pages.findings import Findings, TrialFinding
from lstm_sweep.search.process.new_paths import REPORT_MARK
from tests.unit.search.pages.drawn import HOSTILE, parsed
from tests.unit.search.pages.found import confirmation, findings, trial


class Page(HTMLParser):
    """The elements, texts and attributes of a page; it must be balanced."""

    VOID = ("meta", "path", "circle", "rect", "line")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag
        elif self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page(found: Findings) -> tuple[Page, str]:
    html = report_page.report_page(found, "Written by a test.")
    read = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(read.tags)
    names = {name for name, _ in read.attributes}
    assert not {"src", "href", "onload", "onclick"} & names
    outside = re.findall(r"https?://[^\"' <]+", html)
    assert set(outside) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(", html)
    return read, html


def text(read: Page) -> str:
    return " ".join(" ".join(read.texts).split())


TRIALS = [
    trial(0, 2.2, phase="ladder", config={"learning_rate": 0.1}),
    trial(1, None, phase="ladder", outcome="diverged", config={"learning_rate": 1.0}),
    trial(2, 1.5),
    trial(3, 1.6, outcome="pruned", curve=((1, 1.6),), epochs=1),
    trial(4, None, outcome="out_of_memory", reason="no room on the GPU", seconds=30.0),
    trial(5, 1.45, phase="confirm"),
]


def test_the_page_has_the_answer_first_and_all_its_parts() -> None:
    again = (confirmation(2, 1.5, None), confirmation(3, 1.7, 0.01))
    shares = {"learning_rate": 0.6, "layers": 0.1}
    read, html = page(findings(*TRIALS, confirmed=again, importance=shares))
    said = text(read)
    parts = [
        "s/5 is best: 1.4500 nats = 2.0919 bits per symbol", "0.5500 nats below naive bayes",
        "trained again with other seeds", "s/3 (1.7000 \u00b1 0.1000) is worse: p = 0.01",
        "Against the baselines", "How sure this is", "What to try next", "To use it",
        "lstm-sweep export s --to s-best", "lstm-sweep rerun s/5", "Learning curves",
        "The ladder of learning rates", "The best was 0.1", "The best loss over time",
        "Parameters and loss", "0.1 to 10 parameters for each of the 100k training symbols",
        "Hyperparameters of the good trials", "What matters", "learning_rate explains most, 60%",
        "Where the time went", "Failures and what they cost",
        "1 of 6 attempts failed, for 30 s, 37.5% of the time of all trials", "no room on the GPU",
        "What it was about", "Written by a test.",
    ]  # fmt: skip
    places = [said.index(part) for part in parts]
    assert places == sorted(places)
    drawings = re.findall(r"<svg xmlns=.*?</svg>(?=</div>)", html, re.DOTALL)
    assert len(drawings) == 2 * 9
    for one in drawings:
        parsed(one)
    assert read.tags.count("figcaption") == read.tags.count("details") == 9


@pytest.mark.parametrize(
    "found",
    [
        findings(),
        findings(state="running", why="", baselines={}, axes=(), time={}, seconds=0.0),
        findings(*(trial(n, None, outcome="error", reason="x" * 500) for n in range(9))),
        findings(trial(0, 1.0)),
        findings(trial(0, 1.0, outcome="running"), state="running"),
        findings(
            trial(0, -0.5, parameters=None), in_nats=False, loss_name="loss", round_name="of rounds"
        ),
        findings(trial(0, 1e100), trial(1, 5e-324), trial(2, 1.0, curve=((1, None),))),
        findings(trial(0, 1.0), state="failed", size_rule=None, training_symbols=0, rate=None),
    ],
)
def test_any_sweep_has_a_page(found: Findings) -> None:
    _, html = page(found)
    assert REPORT_MARK in html[:500]


def caption(found: Findings) -> str:
    """The sentence below the best loss over time."""
    [drawn] = figures.over_time(found)
    return drawn.caption.replace("\u00a0", " ")


def test_the_last_gain_is_when_its_round_was_reported_not_when_its_trial_ended() -> None:
    ended = (trial(0, 2.0), trial(1, 1.0))
    gains = ((20.0, 2.5), (50.0, 2.0), (90.0, 1.0))
    found = findings(*ended, gains=gains)
    assert caption(found) == "The last gain came after 1 min 30 s of 10 min 00 s."
    assert found.best_over_time == [*gains, (600.0, 1.0)]
    [drawn] = figures.over_time(found)
    assert [row[1] for row in drawn.table.rows] == ["2.5000", "2.0000", "1.0000"]


@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_trial_that_has_not_ended_may_have_the_last_gain(state: str) -> None:
    runs = trial(1, 1.0, outcome=state)
    gains = ((20.0, 2.0), (50.0, 1.0))
    said = caption(findings(trial(0, 2.0), runs, state="running", gains=gains))
    assert said == "The last gain came after 50 s of 10 min 00 s, by s/1, which has not ended."
    alone = caption(findings(runs, state="running", gains=gains[1:]))
    assert "by s/1, which has not ended" in alone
    behind = findings(trial(0, 1.0), runs, state="running", gains=gains)
    assert behind.open_leader is None and "not ended" not in caption(behind)


def test_a_trial_that_has_not_ended_and_leads_is_the_best_on_the_whole_page() -> None:
    runs = trial(1, 1.0, outcome="running", config={"layer_size": 96})
    found = findings(trial(0, 1.5), runs, state="running", time={})
    read, _ = page(found)
    said = text(read)
    assert "s/1, which has not ended, is best so far: 1.0000 nats" in said
    assert "layer_size 96" in said and "layer_size 64" not in said
    [losses] = figures.losses(found)
    [curves] = figures.curves(found)
    for one in (losses, curves):
        assert one.table.rows[0][0] == "s/1"
    [sizes] = figures.parameters(found)
    assert sizes.caption.endswith("the best one 50,001.")
    typed = {one.purpose: one.text for one in report_page.commands(found)}
    assert typed["the best network that has ended, as a folder of its own"].startswith(
        "lstm-sweep export s "
    )
    assert typed["the best trial, round by round"] == "lstm-sweep show s/1"
    assert "lstm-sweep rerun s/0" in typed.values()


def test_trials_that_have_not_ended_are_among_the_best_by_the_losses_that_they_have() -> None:
    open_ones = [
        trial(number, loss, outcome=outcome)
        for number, loss, outcome in (
            (1, 1.25, "paused"),
            (2, 1.5, "running"),
            (3, None, "running"),
        )
    ]
    found = findings(trial(0, 1.5), *open_ones, trial(4, 1.0), state="running")
    assert [one.number for one in found.best_first] == [4, 1, 0, 2, 3]
    assert found.leader == found.best and found.open_leader is None
    [curves] = figures.curves(found)
    assert [row[0] for row in curves.table.rows] == ["s/4", "s/1", "s/0", "s/2", "s/3"]


@pytest.mark.parametrize("state", ["broken off", "stopped", "paused"])
def test_where_nothing_runs_only_trials_that_have_ended_are_results(state: str) -> None:
    runs = trial(1, 1.0, outcome="running")
    found = findings(trial(0, 1.5), runs, state=state, gains=((20.0, 1.5), (50.0, 1.0)))
    assert found.leader == found.best == found.trials[0]
    assert found.best_first == found.trials
    assert findings(runs, state=state).leader is None


def test_a_gain_whose_trial_is_not_known_yet_changes_no_leader() -> None:
    runs = trial(1, 1.25, outcome="running")
    gains = ((20.0, 1.5), (50.0, 1.0))
    found = findings(trial(0, 1.5), runs, state="running", gains=gains)
    assert found.leader == runs and "not ended" not in caption(found)


def test_many_gains_are_the_last_ones_in_the_table() -> None:
    gains = tuple((float(n), 2000.0 - n) for n in range(1000))
    [drawn] = figures.over_time(findings(trial(0, 1001.0), gains=gains))
    assert drawn.table.note == "The last 40 of 1000 gains."
    assert drawn.table.rows[-1][1] == "1001.0000" and len(drawn.table.rows) == 40
    assert drawn.wide.count("<circle") <= MOST_STEPS


def test_a_large_corpus_has_a_lower_bound_of_its_own() -> None:
    said = text(page(findings(*TRIALS, training_symbols=831_000_000))[0])
    assert "allows 200k to 8.31G parameters for 831M training symbols." in said


def test_hostile_names_are_shown_as_they_are() -> None:
    odd: dict[str, Any] = {"id": HOSTILE, "label": HOSTILE, "reason": HOSTILE, "phase": "ladder"}
    trials = [
        trial(0, 1.0, **odd, config={HOSTILE: HOSTILE}),
        trial(1, None, **odd, outcome="error"),
        TrialFinding(id="s/2", number=2, phase="search", outcome=HOSTILE, loss=2.0),
    ]
    read, html = page(
        findings(
            *trials, sweep=HOSTILE, why=HOSTILE, state=HOSTILE, baselines={HOSTILE: 2.0},
            axes=(Axis(HOSTILE, words=(HOSTILE, "b")),), importance={HOSTILE: 0.5},
            time={HOSTILE: 1.0}, about={HOSTILE: HOSTILE}, loss_name=HOSTILE,
        )
    )  # fmt: skip
    assert "<script" not in html and "\x1b" not in html and "\x00" not in html
    assert "</svg><script>alert('1')</script>" in "".join(read.texts)
    html.encode()


def test_a_thousand_trials_make_a_page_that_can_be_sent() -> None:
    trials = [
        trial(
            n, 1 + n / 1000, config={"layers": 1 + n % 3},
            curve=tuple((e / 4, 3 - e / 50 + n / 1000) for e in range(1, 25)),
        )
        for n in range(1000)
    ]  # fmt: skip
    read, html = page(findings(*trials))
    assert len(html) < 1_000_000
    assert "The first 40 of 1000; all: lstm-sweep trials s" in text(read)


def test_the_style_has_colours_for_all_classes_in_both_themes() -> None:
    style = report_page.style()
    light, dark = style.split("@media screen and (prefers-color-scheme: dark)")[:2]
    names = set(re.findall(r"var\((--[a-z0-9]+)\)", style))
    defined = [set(re.findall(r"(--[a-z0-9]+):", part)) for part in (light, dark.split("*")[0])]
    assert names == defined[0] == defined[1]


def contrast(one: str, two: str) -> float:
    """Contrast of two colours by WCAG 2."""

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    brighter, darker = sorted((light(one), light(two)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_texts_and_lines_stand_out_from_the_paper(theme: int) -> None:
    block = report_page.style().split("prefers-color-scheme: dark")[theme]
    colours = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", block))
    paper = colours["paper"]
    for name in ("ink", "soft", "accent"):
        assert contrast(colours[name], paper) >= 4.5, name
        assert contrast(colours[name], colours["panel"]) >= 4.5, name
    for name in ("s0", "s1", "s2", "s3", "s4", "q0", "first", "failed"):
        assert contrast(colours[name], paper) >= 3, name


def test_pages_and_drawings_are_well_formed_together() -> None:
    _, html = page(findings(*TRIALS))
    body = html[html.index("<main>") : html.index("</main>") + 7]
    ElementTree.fromstring(body)
