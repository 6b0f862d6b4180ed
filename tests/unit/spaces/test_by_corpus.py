"""Ranges of the built-in spaces that are settled once the corpus is known."""

from __future__ import annotations

import pytest

from lstm_sweep.spaces.dimension import (
    SMALL_CORPUS,
    ByCorpus,
    CorpusFacts,
    Dimension,
    Listed,
    Range,
)
from lstm_sweep.spaces.presets import DEFAULT, QUICK
from lstm_sweep.spaces.space import from_mapping, parse_dimension, with_settings

LARGE = Range("sequence_length", 20, 160, step=10, log=True)
SMALL = Range("sequence_length", 3, 160, step=1, log=True)


USUAL_LAYERS = Range("layer_size", 32, 512, step=16, log=True)
WIDE_LAYERS = Range("layer_size", 32, 1024, step=16, log=True)


def of(symbols: int, *, room: bool = False) -> CorpusFacts:
    return CorpusFacts(symbols, lambda: 3, lambda units: room and units == 1024)


@pytest.mark.parametrize(
    ("symbols", "windows"), [(SMALL_CORPUS - 1, SMALL), (SMALL_CORPUS, LARGE), (10**9, LARGE)]
)
def test_the_default_space_has_short_windows_for_small_corpora_only(
    symbols: int, windows: Range
) -> None:
    settled = DEFAULT.settled(of(symbols))
    assert settled["sequence_length"] == windows
    assert type(settled["sequence_length"]) is Range
    others = {name: d for name, d in DEFAULT.items() if not isinstance(d, ByCorpus)}
    assert {name: d for name, d in settled.items() if name in others} == others
    assert settled.settled(of(5)) is settled, "a space that is settled stays as it is"


@pytest.mark.parametrize(("room", "sizes"), [(False, USUAL_LAYERS), (True, WIDE_LAYERS)])
def test_the_default_space_has_large_layers_where_there_is_room(room: bool, sizes: Range) -> None:
    settled = DEFAULT.settled(of(SMALL_CORPUS, room=room))
    assert settled["layer_size"] == sizes
    assert type(settled["layer_size"]) is Range
    assert settled["sequence_length"] == LARGE


@pytest.mark.parametrize(
    ("field", "usual"), [("sequence_length", LARGE), ("layer_size", USUAL_LAYERS)]
)
def test_until_the_corpus_is_known_it_is_auto_as_users_write_it(field: str, usual: Range) -> None:
    assert DEFAULT.describe()[field] == "auto"
    assert from_mapping(DEFAULT.describe(), "file").describe() == DEFAULT.describe()
    assert parse_dimension(field, " auto", "here") == DEFAULT[field]
    assert DEFAULT[field].values() == usual.values()
    assert DEFAULT[field].between(35, 80) == usual.between(35, 80)


def test_what_the_user_names_does_not_depend_on_the_corpus() -> None:
    for given in ("20..160", "20,40"):
        settings = [f"{field}={given}" for field in ("sequence_length", "layer_size")]
        space = with_settings(DEFAULT, settings)
        assert not any(isinstance(one, ByCorpus) for one in space.values())
        assert space.settled(of(5)) is space
    assert QUICK.settled(of(5)) is QUICK


@pytest.mark.parametrize(
    ("field", "other", "may"),
    [
        ("sequence_length", LARGE, True),
        ("sequence_length", SMALL, True),
        ("sequence_length", DEFAULT["sequence_length"], True),
        ("sequence_length", Range("sequence_length", 3, 150, step=1, log=True), False),
        ("sequence_length", Listed("sequence_length", (30, 40)), False),
        ("sequence_length", None, False),
        ("layer_size", USUAL_LAYERS, True),
        ("layer_size", Range("layer_size", 32, 768, step=16, log=True), False),
    ],
)
def test_what_it_may_have_become_is_told_from_other_values(
    field: str, other: Dimension | None, may: bool
) -> None:
    default = DEFAULT[field]
    assert isinstance(default, ByCorpus) and default.may_be(other) is may
