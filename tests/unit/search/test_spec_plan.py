"""The plan that a spec stands for, and whether its budget admits it."""

from __future__ import annotations

from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep.preflight import check_budget
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed
from lstm_sweep.spaces.space import Space


def test_the_defaults_of_a_spec_are_those_of_a_plan() -> None:
    assert SweepSpec().plan() == Plan()


def test_a_plan_is_what_the_spec_says() -> None:
    spec = SweepSpec(
        algo="random",
        seed=4,
        trials=7,
        minutes=1.5,
        ladder=False,
        halving=False,
        prior=False,
        early_stopping=0,
        patience=9,
        confirm_configs=1,
        confirm_seeds=2,
    )
    assert spec.plan() == Plan(
        algorithm="random",
        seed=4,
        trials=7,
        seconds=90.0,
        ladder=False,
        halving=False,
        prior=False,
        early_stopping=0,
        patience=9,
        confirm_configs=1,
        confirm_seeds=2,
    )


@pytest.mark.parametrize("name", ["ladder", "halving", "prior"])
@pytest.mark.parametrize("given, taken", [("on", True), ("off", False), (False, False)])
def test_what_is_on_or_off_may_be_switched_in_words(name: str, given: object, taken: bool) -> None:
    spec = SweepSpec.from_mapping({name: given}, "here")
    assert getattr(spec, name) is taken and spec.to_dict()[name] is taken
    with pytest.raises(InputError, match=f"here: {name} is 'no': expected true or false"):
        SweepSpec.from_mapping({name: "no"}, "here")


def test_without_a_time_limit_a_plan_has_none() -> None:
    assert SweepSpec(minutes=None).plan().seconds is None


SIX_RATES = (
    "--trials is {}, but the ladder alone may take 6 (learning rates 1 to 1e-05): "
    "expected at least 7, or --ladder off"
)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"trials": 1}, SIX_RATES.format(1)),
        ({"trials": 6}, SIX_RATES.format(6)),
        (
            {"trials": 3, "space": presets.QUICK},
            "--trials is 3, but the ladder alone may take 3 (learning rates 0.1 to 0.001): "
            "expected at least 4, or --ladder off",
        ),
    ],
)
def test_a_budget_that_ends_with_the_ladder_is_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        check_budget(SweepSpec(**fields))
    assert refused.value.command_line == message
    in_python = message.replace("--ladder off", "ladder=False").replace("--trials", "trials")
    assert str(refused.value) == in_python


@pytest.mark.parametrize(
    "fields",
    [
        {"trials": 7},
        {"trials": 1, "ladder": False},
        {"trials": 4, "space": presets.QUICK},
        {"trials": 1, "space": Space({})},  # one learning rate: no ladder
        {"trials": 1, "space": Space({"learning_rate": Listed("learning_rate", (0.1, 0.01))})},
    ],
)
def test_a_budget_that_goes_beyond_the_ladder_is_taken(fields: dict[str, Any]) -> None:
    check_budget(SweepSpec(**fields))
