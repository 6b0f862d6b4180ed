"""The plan that a spec stands for, and whether its budget admits it."""

from __future__ import annotations

from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep.preflight import ladder_notes
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.space import Space


def test_the_defaults_of_a_spec_are_those_of_a_plan() -> None:
    assert SweepSpec(trials=50).plan() == Plan()


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
    assert SweepSpec(trials=9, minutes=None).plan().seconds is None


@pytest.mark.parametrize(
    "fields, note",
    [
        ({"trials": 7}, ""),
        ({"trials": 6}, "6 trials are too few to try 6 learning rates first; rates about 0.01"),
        ({"trials": 1}, "1 trial is too few to try 6 learning rates first; rates about 0.01"),
        ({"trials": 3, "space": presets.QUICK}, "3 trials are too few to try 3 learning rates"),
        ({"trials": 4, "space": presets.QUICK}, ""),
        ({"trials": 1, "ladder": False}, ""),
        ({"trials": 1, "space": Space({})}, ""),  # one learning rate: no ladder
    ],
)
def test_a_ladder_that_might_take_all_trials_is_left_out_and_said_to_be(
    fields: dict[str, Any], note: str
) -> None:
    notes = ladder_notes(SweepSpec(**fields))
    assert len(notes) == bool(note) and note in "".join(notes)
