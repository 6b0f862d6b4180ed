"""A spec that is kept in several tags, and grows and shrinks across them."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store import archive, journal
from lstm_sweep.spaces.space import from_mapping

SPACE = from_mapping({"layer_size": [6, 7, 8]}, "test")


def spec_with(trials: int) -> SweepSpec:
    return SweepSpec(space=SPACE, trials=trials)


def run_with(tags: dict[str, str]) -> Any:
    """A sweep's run that has these tags."""
    return SimpleNamespace(
        data=SimpleNamespace(tags={"sweep.name": "s"} | tags), info=SimpleNamespace(run_id="r")
    )


def length(trials: int) -> int:
    return len(json.dumps(spec_with(trials).to_dict() | {"name": "s"}))


@given(st.lists(st.integers(1, 10**18), min_size=2, max_size=4), st.data())
def test_a_spec_is_read_however_long_the_one_before_it_was(
    sizes: list[int], data: st.DataObject
) -> None:
    near = length(data.draw(st.sampled_from(sizes))) + data.draw(st.integers(-2, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "CHUNK", max(1, near // data.draw(st.integers(1, 3))))
        left: dict[str, str] = {}
        kept: dict[str, str] = {}
        for trials in sizes:
            spec = spec_with(trials)
            left |= journal.spec_tags(spec, "s")  # parts of the longer one stay
            kept |= journal.spec_tags(spec, "s", kept)
            for tags in (left, kept):
                assert archive.read_spec(run_with(tags)) == replace(spec, name="s")
            assert "".join(kept[key] for key in kept if key.startswith("sweep.spec.")) == (
                json.dumps(spec.to_dict() | {"name": "s"})
            )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "run r: tag sweep.spec.0 is '{': expected the beginning of a spec in JSON"),
        (
            "[" * 100_000,
            r"run r: tag sweep.spec.0 is '\[+\.\.\..*: expected the beginning of a spec",
        ),
        ('"text"', "run r: tag sweep.spec.0 is '\"text\"': expected the beginning of a spec"),
        ("{}", "sweep 's': its spec has digest"),
    ],
)
def test_what_is_no_spec_is_one_clear_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}"):
        archive.written_spec(run_with({"sweep.spec.0": text, "sweep.spec_digest": "0"}))
