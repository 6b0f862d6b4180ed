"""Arguments of the Python API's `launch` become a spec."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import lstm_sweep as ls
from lstm_sweep._launch import spec_of
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.spaces.dimension import Listed, Range

ROOT = Path(__file__).resolve().parents[3]


def documented_fields() -> dict[str, str]:
    """What the docstring of `SweepFields` says of each field."""
    return dict(
        re.findall(r"^    (\w+): (.+)$", inspect.getdoc(ls.SweepFields) or "", re.MULTILINE)
    )


def test_launch_takes_the_fields_of_a_file() -> None:
    fields = [field.name for field in dataclasses.fields(SweepSpec)]
    assert {*ls.SweepFields.__annotations__} == {*fields, "set"}
    assert [*documented_fields()] == [*ls.SweepFields.__annotations__]


def test_the_defaults_that_are_documented_are_those_of_a_sweep() -> None:
    found = 0
    for name, text in documented_fields().items():
        if default := re.search(r"\(default: `?([\w.-]+)`?\)|`([\w-]+)` \(default\)", text):
            found += 1
            used = getattr(SweepSpec(), name)
            written = f"{used:g}" if isinstance(used, float) else str(used)
            expected = default[1] or default[2]
            assert written == ("None" if expected == "never" else expected)
    assert found >= 15


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"trails": 3}, "launch: 'trails' is no field: did you mean 'trials'? possible: data, "),
        ({"trials": 0}, "launch: trials is 0: expected a whole number from 1"),
        ({"set": {"layer": 3}}, "launch: set: 'layer' is no field of a config: did you mean"),
        ({"set": {"dropout": 2}}, "launch: set: dropout is 2: expected a number"),
        ({"set": [3]}, "launch: set is [3]: expected a mapping of fields to values"),
        ({"space": "quck"}, "launch: space 'quck': no such file"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ls.InputError) as caught:
        spec_of(fields)
    assert str(caught.value).startswith(message)


def test_arguments_become_a_spec(tmp_path: Path) -> None:
    space = {"layer_size": [64, 128], "dropout": "0..0.5"}
    changes = {"dropout": 0.25, "batch_size": "32,64"}
    spec = spec_of({"data": tmp_path, "space": space, "set": changes, "minutes": None})
    assert (spec.data, spec.minutes, spec.trials) == (str(tmp_path), 30, None)
    assert spec.space["layer_size"] == Listed("layer_size", (64, 128))
    assert spec.space["dropout"] == Listed("dropout", (0.25,))
    assert spec.space["batch_size"] == Listed("batch_size", (32, 64))
    assert isinstance(spec_of({"space": space}).space["dropout"], Range)


def test_a_template_brings_what_varies() -> None:
    template = ROOT / "tests/templates/dense.py"
    assert spec_of({"template": template}).template
    with pytest.raises(ls.InputError, match="set is given with a template"):
        spec_of({"template": template, "set": {"dropout": 0.5}})
