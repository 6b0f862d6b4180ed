from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.actions.rerun import (
    TOLERANCE,
    Comparison,
    Rounds,
    _check_proposed,
    compare,
    with_losses,
)
from lstm_sweep.search.driver.template_task import TemplateTask
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.journal import spec_tags
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.spaces.template.template import Template

FIRST: Rounds = [{"loss": 3.0, "val_loss": 2.0}, {"loss": 2.0, "val_loss": 1.0}]


@pytest.mark.parametrize(
    "now, first",
    [
        (
            [{"loss": math.nan, "val_loss": 2.0}, FIRST[1]],
            {"epoch": 1, "metric": "loss", "was": 3.0, "is": "nan"},
        ),
        (
            [FIRST[0], {"loss": -math.inf, "val_loss": 1.0}],
            {"epoch": 2, "metric": "loss", "was": 2.0, "is": "-inf"},
        ),
        ([{"loss": 3.0}], {"epoch": 1, "metric": "val_loss", "was": 2.0, "is": None}),
    ],
)
def test_an_infinite_difference_is_null_in_json_and_is_told(
    now: Rounds, first: dict[str, Any]
) -> None:
    found = compare(FIRST, now).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["verdict"], found["max_difference"]) == ("different", None)
    assert found["first_difference"] == first


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


def changed(epoch: int, metric: str, value: float) -> Rounds:
    """The first run with one other value."""
    return [
        {**metrics, metric: value} if number == epoch else metrics
        for number, metrics in enumerate(WAS, start=1)
    ]


@given(
    epochs=st.lists(
        st.fixed_dictionaries({"loss": st.floats(0, 10), "val_loss": st.floats(0, 10)}), max_size=5
    ),
    cut_short=st.booleans(),
)
def test_any_run_is_identical_to_itself(epochs: Rounds, cut_short: bool) -> None:
    assert compare(epochs, epochs, cut_short=cut_short).verdict == "identical"


def test_a_small_difference_is_within_tolerance() -> None:
    found = compare(WAS, changed(2, "val_loss", 1.0 + TOLERANCE / 2))
    assert found.verdict == "within_tolerance"
    assert found.max_difference == pytest.approx(TOLERANCE / 2)
    assert found.first_difference == {
        "epoch": 2,
        "metric": "val_loss",
        "was": 1.0,
        "is": 1.0 + TOLERANCE / 2,
    }


@pytest.mark.parametrize("sign", [1, -1])
def test_a_larger_difference_is_different(sign: int) -> None:
    found = compare(WAS, changed(3, "loss", 1.5 + sign * 1.5 * TOLERANCE * 2))
    assert found.verdict == "different"
    assert found.max_difference == pytest.approx(1.5 * TOLERANCE * 2)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_different(value: float) -> None:
    found = compare(WAS, changed(1, "loss", value))
    assert (found.verdict, found.max_difference) == ("different", math.inf)


@pytest.mark.parametrize("was, now", [(None, 0.5), (0.5, None)])
def test_a_result_against_none_is_different(was: float | None, now: float | None) -> None:
    found = with_losses(compare(WAS, WAS), was, now)
    assert (found.verdict, found.max_difference) == ("different", math.inf)
    assert found.first_difference == {"epoch": 3, "metric": "loss", "was": was, "is": now}


@pytest.mark.parametrize("cut_short", [False, True])
def test_fewer_epochs_than_before_are_different(cut_short: bool) -> None:
    assert compare(WAS, WAS[:2], cut_short=cut_short) == Comparison(
        "different", 2, 0.0, {"epoch": 3, "metric": "epochs", "was": 3, "is": 2}
    )


def test_more_epochs_than_a_run_that_was_cut_short_are_no_difference() -> None:
    assert compare(WAS[:2], WAS, cut_short=True) == Comparison("identical", 2, 0.0, None)


def test_a_run_that_was_cut_short_is_compared_as_far_as_it_went() -> None:
    now = changed(2, "loss", 7.0)
    assert compare(WAS[:2], now, cut_short=True).verdict == "different"
    assert compare(WAS[:1], now, cut_short=True).verdict == "identical"
