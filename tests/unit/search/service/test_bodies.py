"""The fields of requests are those of a sweep file, with the same defaults."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from lstm_sweep.models.data.source import SYMBOLS
from lstm_sweep.search.service.bodies import Changes, Networks, SweepSubmission
from lstm_sweep.search.spec import MAY_CHANGE, SweepSpec


def fields_of(model: Any) -> dict[str, Any]:
    """Fields of a body with their defaults, as JSON has them."""
    return {name: field.get_default(call_default_factory=True) for name, field in
            model.model_fields.items()}  # fmt: skip


def test_a_submission_has_the_fields_of_a_sweep_file() -> None:
    given = fields_of(SweepSubmission)
    assert given.pop("priority") == 0
    assert given.pop("space") == "default"  # whose spec has the dimensions
    assert given.pop("set") == []  # which changes them
    expected = {
        field.name: list(field.default) if isinstance(field.default, tuple) else field.default
        for field in dataclasses.fields(SweepSpec)
        if field.name != "space"
    }
    assert given == expected


def test_changes_are_those_that_a_resumed_sweep_may_have() -> None:
    assert {*Changes.model_fields} == {*MAY_CHANGE, "spec", "template"} - {"name"}


def test_networks_have_fields_of_a_submission() -> None:
    known = fields_of(SweepSubmission)
    for name, default in fields_of(Networks).items():
        assert name == "data" or known[name] == default


def test_a_field_is_described_and_left_to_the_core_to_check() -> None:
    described = SweepSubmission.model_json_schema()
    assert described["additionalProperties"] is False
    seed = described["properties"]["seed"] | {"title": ""}
    assert seed == {
        "default": 0, "maximum": 2**64, "minimum": 0, "title": "", "type": "integer",
    }  # fmt: skip
    assert described["properties"]["symbols"]["enum"] == [*SYMBOLS]
    odd = {"trials": "many", "trails": 5}
    assert SweepSubmission.model_validate(odd).given() == odd


@pytest.mark.parametrize("body", [None, [], "a", 1])
def test_what_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(ValueError, match="valid dictionary"):
        SweepSubmission.model_validate(body)
