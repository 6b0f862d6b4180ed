"""Findings of made-up sweeps."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from lstm_sweep.models.config import LIMITS, TrialConfig
from lstm_sweep.search.report.figures import Findings
from lstm_sweep.search.values.sweep import Confirmed, TimeSpent
from lstm_sweep.search.values.trial import Ended, Outcome, Trial, ranked
from lstm_sweep.spaces.template.template import TemplateConfig

SPACE = {
    "layers": [1, 2, 3],
    "learning_rate": {"low": 0.001, "high": 0.1, "scale": "log"},
    "layer_size": {"low": 32, "high": 128, "scale": "log"},
    "direction": ["uni", "bi"],
}

NOTHING: dict[str, Any] = {}


def trial(
    number: int,
    loss: float | None,
    outcome: str = "complete",
    config: dict[str, Any] | TemplateConfig = NOTHING,
    **more: Any,
) -> Trial:
    """A trial of sweep `s` that has come to its end after three epochs, or with these `losses`."""
    values: dict[str, Any] = {"layers": 2, "learning_rate": 0.01 + number % 1000 / 1e4}
    values |= {"layer_size": 64, "direction": "uni", "epochs": 3}
    made = TrialConfig(**values | config) if isinstance(config, dict) else config
    losses = more.pop("losses", () if loss is None else (loss + 1, loss, loss + 0.1))
    ended = None if outcome == "running" else Ended(Outcome(outcome), more.pop("reason", ""))
    given: dict[str, Any] = {
        "sweep": "s",
        "number": number,
        "config": made,
        "seed": 0,
        "ended": ended,
        "rounds": [{} if one is None else {"val_loss": one} for one in losses],
        "parameters": 50_000 + number,
        "seconds": 10.0,
    }
    return Trial(**(given | more))


def findings(*trials: Trial, **more: Any) -> Findings:
    """A finished sweep over a corpus with these trials, each of which has ended after 10 s."""
    gains = list[tuple[float, float]]()
    for one in trials:
        own = one.ranked_loss
        if own is not None and all(own < loss for _, loss in gains):
            gains.append((10.0 * (one.number + 1), own))
    spec = {"space": SPACE, "size_low": 0.1, "size_high": 10.0, "trials": 50}
    given: dict[str, Any] = {
        "name": "s",
        "run_id": "0" * 32,
        "state": "finished",
        "why": "the budget is spent",
        "limits": LIMITS,
        "takes_epochs": True,
        "running": dict(enumerate(one for one in trials if one.is_open)),
        "finished": tuple(one for one in trials if not one.is_open),
        "ranked": tuple(ranked(one for one in trials if not one.is_open)),
        "baselines": {"unigram": 3.0, "naive_bayes": 2.0},
        "spec": spec | more.pop("spec", {}),
        "now": 600.0,
        "training_symbols": 100_000,
        "best_over_time": tuple(gains),
        "time": TimeSpent(ladder=10.0, best=20.0),
    }
    return Findings(**(given | more))


def confirmation(number: int, mean: float, p: float | None, **more: Any) -> Confirmed:
    """A config of sweep `s` that was trained again with three seeds; without `p` it is the best."""
    given: dict[str, Any] = {"losses": (mean - 0.1, mean, mean + 0.1), "is_best": p is None}
    return Confirmed(f"s/{number}", mean, **(given | {"p": p, "above": 0.1} | more))


# What a drawing shows, read back from its SVG


SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</svg><script>alert('1')</script> & \"x\" \x00\x1b[31m\ud800"


def parsed(drawing: str) -> Element:
    """The root of a drawing, which has to be well-formed, with nothing but shapes."""
    root = ElementTree.fromstring(drawing)
    assert root.tag == f"{SVG}svg" and root.get("aria-label")
    allowed = {"svg", "text", "line", "path", "circle", "rect", "title"}
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= allowed
    numbers = (value for one in root.iter() for name, value in one.items() if name in POSITIONS)
    for value in numbers:
        assert re.fullmatch(r"-?[0-9]+(\.[0-9])?", value), value
    return root


POSITIONS = {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height"}


def texts(root: Element) -> list[str]:
    """All texts that are seen."""
    return [one.text or "" for one in root.iter(f"{SVG}text")]


def with_class(root: Element, *words: str) -> list[Element]:
    """Elements that have all these classes."""
    return [one for one in root.iter() if set(words) <= set((one.get("class") or "").split())]


def points(path: Element) -> list[tuple[float, float]]:
    """The corners of a path."""
    numbers = [float(one) for one in re.findall(r"-?[0-9.]+", path.get("d") or "")]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def centre(mark: Element) -> tuple[float, float]:
    """Where a circle stands."""
    return float(mark.attrib["cx"]), float(mark.attrib["cy"])
