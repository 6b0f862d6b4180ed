from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.rerun import (
    TOLERANCE,
    Comparison,
    Rounds,
    _check_comparable,
    _check_proposed,
    compare,
)
from lstm_sweep.search.driver.template_task import TemplateTask
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.journal import spec_tags
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Ended, Outcome
from lstm_sweep.spaces.template.template import Template


@pytest.mark.parametrize("more", [{}, {"sweep.phase": "rerun"}])
def test_no_value_beyond_its_space_gets_into_a_template(
    more: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def data():\n    return 1\ndef create_model(x):\n    return {{uniform(0, 1)}}\n"
    )
    template = Template.read(str(file))
    [label] = template.hyperparameters
    spec = SweepSpec(template=template, space=template.space(), name="s")

    def run_with(tags: dict[str, str]) -> Any:
        data = SimpleNamespace(tags={"sweep.name": "s"} | tags, params={}, metrics={})
        return SimpleNamespace(
            data=data,
            info=SimpleNamespace(run_id="r", status="FINISHED", start_time=0, end_time=None),
        )

    store: Any = SimpleNamespace(run=lambda run_id: run_with(spec_tags(spec, "s")))
    for value, fits in [(0.5, True), (1e9, False)]:
        own = {"sweep.trial": "0", "sweep.phase": "search", "sweep.seed": "1"}
        own |= {"sweep.config": json.dumps({label: value}), "mlflow.parentRunId": "p"}
        record = reader.read_trial(run_with(own | TemplateTask(template).tags() | more))
        if fits:
            _check_proposed(store, record, str(file))
            continue
        with pytest.raises(BadRunError, match="expected a value of the sweep's space"):
            _check_proposed(store, record, str(file))


WAS: Rounds = [
    {"loss": 3.0, "val_loss": 2.0},
    {"loss": 2.0, "val_loss": 1.0},
    {"loss": 1.5, "val_loss": 0.5},
]
#: what is within tolerance of 1, and what is not
NEAR, FAR = 1.0 + TOLERANCE / 2, 1.0 - TOLERANCE * 2


def changed(epoch: int, metric: str, value: float) -> Rounds:
    """The first run with one other value."""
    return [{**one, metric: value} if n == epoch else one for n, one in enumerate(WAS, start=1)]


@given(
    epochs=st.lists(
        st.fixed_dictionaries({"loss": st.floats(0, 10), "val_loss": st.floats(0, 10)}), max_size=5
    ),
    cut_short=st.booleans(),
)
def test_any_run_is_identical_to_itself(epochs: Rounds, cut_short: bool) -> None:
    assert compare(epochs, epochs, cut_short=cut_short).verdict == "identical"


@pytest.mark.parametrize(
    ("now", "verdict", "difference", "first"),
    [
        (changed(2, "val_loss", NEAR), "within_tolerance", NEAR - 1, (2, "val_loss", 1.0, NEAR)),
        (changed(2, "val_loss", FAR), "different", 1 - FAR, (2, "val_loss", 1.0, FAR)),
        (changed(1, "loss", math.nan), "different", None, (1, "loss", 3.0, "nan")),
        (changed(2, "loss", -math.inf), "different", None, (2, "loss", 2.0, "-inf")),
        ([{"loss": 3.0}, *WAS[1:]], "different", None, (1, "val_loss", 2.0, None)),
        (changed(2, "loss", math.inf), "different", None, (2, "loss", 2.0, "inf")),
        (WAS[:2], "different", 0.0, (3, "epochs", 3, 2)),
        ([*WAS, WAS[0]], "different", 0.0, (4, "epochs", 3, 4)),
    ],
)
def test_the_first_difference_and_the_largest_are_told(
    now: Rounds, verdict: str, difference: float | None, first: tuple[Any, ...]
) -> None:
    found = compare(WAS, now)
    assert (found.verdict, found.max_difference) == (verdict, difference)
    assert found.first_difference == dict(zip(("epoch", "metric", "was", "is"), first, strict=True))
    json.dumps(vars(found), allow_nan=False)


@pytest.mark.parametrize("was, now", [(None, 0.5), (0.5, None)])
def test_a_result_against_none_is_different(was: float | None, now: float | None) -> None:
    found = compare(WAS, WAS, returned=(was, now))
    assert (found.verdict, found.max_difference) == ("different", None)
    assert found.first_difference == {"epoch": 3, "metric": "loss", "was": was, "is": now}


def test_an_infinite_metric_is_the_same_as_itself_alone() -> None:
    infinite = changed(2, "loss", math.inf)
    assert compare(infinite, infinite) == Comparison("identical", 3, 0.0, None)
    found = compare(infinite, [WAS[0], {"val_loss": 1.0}, WAS[2]])
    assert (found.verdict, found.max_difference) == ("different", None)
    assert found.first_difference == {"epoch": 2, "metric": "loss", "was": "inf", "is": None}


def test_a_run_that_was_cut_short_is_compared_as_far_as_it_went() -> None:
    now = changed(2, "loss", 7.0)
    assert compare(WAS[:2], now, cut_short=True).verdict == "different"
    assert compare(WAS[:1], now, cut_short=True) == Comparison("identical", 1, 0.0, None)
    assert compare(WAS, WAS[:2], cut_short=True).verdict == "different"


def test_a_trial_without_a_round_to_compare_with_is_refused() -> None:
    tags = Tags.of("r", {})
    pruned = TrialRecord(
        sweep="s", number=2, config=TrialConfig(), seed=1, tags=tags, ended=Ended(Outcome.PRUNED)
    )
    with pytest.raises(InputError, match="trial 's/2' was pruned before its first round: expected"):
        _check_comparable(pruned, [], {})
    _check_comparable(pruned, [{"val_loss": 1.0}], {})
    _check_comparable(pruned, [], {"dropout": {"was": 0.0, "is": 0.5}})
    _check_comparable(replace(pruned, ended=Ended(Outcome.LOST)), [], {})
