from __future__ import annotations

import math
import random
import re
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from lstm_sweep.search.driver.read_back import FEWEST_TRIALS, importance
from lstm_sweep.search.process.files import REPORT_MARK
from lstm_sweep.search.report import report_page
from lstm_sweep.search.report.figures import Findings
from lstm_sweep.search.report.report_page import advice
from lstm_sweep.search.values.trial import RETURNED_LOSS, Objective, Outcome, Phase, Trial
from lstm_sweep.spaces.template.template import TemplateConfig
from tests.unit.search.report.found import HOSTILE, SVG, confirmation, findings, parsed, trial


def test_the_answer_is_the_best_trial_in_nats_and_bits() -> None:
    found = findings(trial(0, 1.5), trial(1, math.log(2)), trial(2, None, outcome="error"))
    assert report_page.headline(found) == "s/1 is best: 0.6931 nats = 1.0000 bits per symbol"
    assert report_page.comparisons(found) == [
        "That is 1.3069 nats below naive bayes (2.0000), the best of the baselines, on the same "
        "validation targets.",
        "Its perplexity is 2.00: it is as unsure of the next symbol as if 2.00 symbols were "
        "equally likely.",
    ]


@pytest.mark.parametrize(
    "more, said",
    [
        ({"p": 0.01}, "+- 0.1000 over 3 further seeds, first run 1.2000; worse: p = 0.01"),
        ({"p": 0.59}, "+- 0.1000 over 3 further seeds, first run 1.2000; as good: p = 0.59"),
        (
            {"p": None, "is_best": False, "losses": (1.2,), "failed": {Outcome.DIVERGED: 2}},
            "over 1 of 3 further seeds; 2 diverged, first run 1.2000",
        ),
    ],
)
def test_other_configs_are_compared_with_that_of_the_best_trial(
    more: dict[str, Any], said: str
) -> None:
    again = (confirmation(0, 1.1, None), confirmation(1, 1.2, **more))
    found = findings(trial(0, 1.0), trial(1, 1.1), confirmed=again)
    first, *others = report_page.certainty(found)
    assert first == (
        "Trained again, the config of s/0: 1.1000 +- 0.1000 over 3 further seeds, first run 1.1000."
    )
    assert others == [f"Trained again, the config of s/1: 1.2000 {said}."]


def given(*trials: Any, **more: Any) -> Findings:
    """A sweep with so many trials of the past that a budget is no matter, and a sure leader."""
    first = 100 - 40
    others = [trial(first + n, 2.5 + n / 100) for n in range(40)]
    sure = (confirmation(0, 1.1, None), confirmation(1, 1.5, 0.001))
    return findings(*trials, *others, **({"confirmed": sure} | more))


def texts(found: Findings) -> str:
    return "\n".join(f"{one.text} | {one.command}" for one in advice(found))


def test_a_bound_that_the_best_configs_touch_is_named_with_a_further_range() -> None:
    largest = [trial(n, 1.0 + n / 10, config={"layer_size": 128}) for n in range(3)]
    said = texts(given(*largest))
    assert "touch the upper bound of layer_size, 128" in said and "--set layer_size=32..256" in said
    deep = [trial(n, 1.0 + n / 10, config={"layers": 3}) for n in range(3)]
    assert "--set layers=1..4" in texts(given(*deep))


def test_a_budget_that_was_too_small_is_doubled() -> None:
    few = findings(*(trial(n, 1.0 + n / 100) for n in range(9)), spec={"minutes": 5.0})
    assert "9 trials are few for 4 hyperparameters" in texts(few)
    assert "lstm-sweep resume s --trials 100 --minutes 10" in texts(few)
    late = given(trial(99_000, 1.0))
    late = findings(*late.attempts[1:], late.attempts[0])
    assert "came in the last fifth of the trials" in texts(late)


def page(found: Findings) -> tuple[Element, str]:
    """The root of a page, which has to be balanced and to load nothing, and its text."""
    html = report_page.report_page(found, "Written by a test.")
    xml = re.sub(r"<(meta[^>]*)>", r"<\1/>", html[html.index("<html") :])
    root = ElementTree.fromstring(xml.replace("<details open>", "<details>"))
    tags = {one.tag.removeprefix(SVG) for one in root.iter()}
    assert not {"script", "link", "img", "iframe", "object", "embed"} & tags
    assert not {"src", "href", "onload", "onclick"} & {
        name for one in root.iter() for name, _ in one.items()
    }
    outside = re.findall(r"https?://[^\"' <]+", html)
    assert set(outside) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(", html)
    return root, html


def text(root: Element) -> str:
    return " ".join(" ".join(root.itertext()).split())


TRIALS = [
    trial(0, 2.2, phase=Phase.LADDER, config={"learning_rate": 0.1}),
    trial(1, None, phase=Phase.LADDER, outcome="diverged", config={"learning_rate": 1.0}),
    trial(2, 1.5),
    trial(3, 1.6, outcome="pruned", losses=(1.6,)),
    trial(4, None, outcome="out_of_memory", reason="no room on the GPU", seconds=30.0),
    trial(5, 1.45, phase=Phase.CONFIRM),
]


def test_the_page_has_the_answer_first_and_all_its_parts() -> None:
    again = (confirmation(2, 1.5, None), confirmation(3, 1.7, 0.01))
    shares = {"learning_rate": 0.6, "layers": 0.1}
    root, html = page(findings(*TRIALS, confirmed=again, importance=shares))
    said = text(root)
    parts = [
        "s/5 is best: 1.4500 nats = 2.0919 bits per symbol", "0.5500 nats below naive bayes",
        "Trained again, the config of s/2: 1.5000 +- 0.1000", "first run 1.7000; worse: p = 0.01",
        "Against the baselines", "How sure this is", "What to try next", "To use it",
        "lstm-sweep export s --to s-best", "lstm-sweep rerun s/5", "Learning curves",
        "The ladder of learning rates", "The best was 0.1", "The best loss over time",
        "Parameters and loss", "0.1 to 10 parameters for each of the 100k training symbols",
        "What matters", "learning_rate explains most, 60%",
        "Where the time went", "Failures and what they cost",
        "1 of 6 attempts failed, for 30 s, 37.5% of the time of all trials", "no room on the GPU",
        "What it was about", "Written by a test.",
    ]  # fmt: skip
    places = [said.index(part) for part in parts]
    assert places == sorted(places)
    drawings = re.findall(r"<svg xmlns=.*?</svg>(?=</div>)", html, re.DOTALL)
    assert len(drawings) == 7
    for one in drawings:
        parsed(one)
    assert len([*root.iter("figcaption")]) == len([*root.iter("details")]) == 8


@pytest.mark.parametrize(
    "found",
    [
        findings(),
        findings(state="running", why="", baselines={}, spec={"space": {}}, time=None, now=0.0),
        findings(*(trial(n, None, outcome="error", reason="x" * 500) for n in range(9))),
        findings(trial(0, 1.0)),
        findings(trial(0, 1.0, outcome="running"), state="running"),
        findings(trial(0, -0.5, parameters=0), objective=RETURNED_LOSS),
        findings(trial(0, 1e100), trial(1, 5e-324), trial(2, None, losses=(None,))),
        findings(trial(0, 1.0), state="failed", spec={"size_rule": "off"}, training_symbols=0),
    ],
)
def test_any_sweep_has_a_page(found: Findings) -> None:
    _, html = page(found)
    assert REPORT_MARK in html[:500]


def test_what_matters_is_what_the_loss_depends_on() -> None:
    def drawn(rng: random.Random, number: int) -> Trial:
        direction, rate = rng.choice(("uni", "bi")), rng.uniform(-3, -1)
        # equal shares of the variance
        loss = 1 + (direction == "bi") + math.sqrt(3) * (rate + 3) / 2
        config = {"direction": direction, "learning_rate": 10**rate, "layers": rng.randint(1, 3)}
        return trial(number, loss / 2, config=config)

    rng = random.Random(1)
    trials = [drawn(rng, number) for number in range(200)]
    found = importance(findings(*trials))
    assert sum(found.values()) == pytest.approx(1)
    assert 0.35 < found["direction"] < 0.65 and 0.35 < found["learning_rate"] < 0.65
    assert importance(findings(*trials[: FEWEST_TRIALS - 1])) == {}
    accidents = [trial(300 + n, None, outcome="lost") for n in range(FEWEST_TRIALS)]
    assert importance(findings(*accidents)) == {}
    diverged = [trial(400 + n, None, outcome="diverged") for n in range(FEWEST_TRIALS)]
    assert importance(findings(*diverged)).keys() == found.keys()


@pytest.mark.full
def test_to_import_scikit_learn_leaves_the_environment_as_it_was() -> None:
    program = (
        "import os; before = dict(os.environ)\n"
        "from lstm_sweep.search.driver.read_back import importance\n"
        "from tests.unit.search.report.found import findings, trial\n"
        "assert importance(findings(*(trial(n, n / 9) for n in range(30))))\n"
        "print({**before} == {**os.environ})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_hostile_names_are_shown_as_they_are() -> None:
    odd: dict[str, Any] = {"sweep": HOSTILE, "reason": HOSTILE, "phase": Phase.LADDER}
    trials = [
        trial(0, 1.0, **odd, config=TemplateConfig(((HOSTILE, HOSTILE),))),
        trial(1, None, **odd, outcome="error"),
    ]
    root, html = page(
        findings(
            *trials, name=HOSTILE, why=HOSTILE, state=HOSTILE, baselines={HOSTILE: 2.0},
            spec={"space": {HOSTILE: [HOSTILE, "b"]}}, importance={HOSTILE: 0.5},
            about={HOSTILE: HOSTILE}, objective=Objective(name=HOSTILE),
        )
    )  # fmt: skip
    assert "<script" not in html and "\x1b" not in html and "\x00" not in html
    assert "</svg><script>alert('1')</script>" in "".join(root.itertext())
    html.encode()


def test_a_thousand_trials_make_a_page_that_can_be_sent() -> None:
    trials = [
        trial(
            n, 1 + n / 1000, config={"layers": 1 + n % 3}, rounds_per_epoch=4,
            losses=[3 - e / 50 + n / 1000 for e in range(1, 25)],
        )
        for n in range(1000)
    ]  # fmt: skip
    root, html = page(findings(*trials))
    assert len(html) < 1_000_000
    assert "The first 40 of 1000; all: lstm-sweep trials s" in text(root)
