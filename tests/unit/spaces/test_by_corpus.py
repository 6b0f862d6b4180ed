"""A range of the built-in spaces that is another one for a small corpus."""

from __future__ import annotations

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.spaces.by_corpus import SMALL_CORPUS, ByCorpus
from lstm_sweep.spaces.dimension import Dimension, Listed, Range
from lstm_sweep.spaces.field_values import parse
from lstm_sweep.spaces.presets import DEFAULT, QUICK
from lstm_sweep.spaces.space import from_mapping, with_settings

LARGE = Range("sequence_length", 20, 160, step=10, log=True)
SMALL = Range("sequence_length", 3, 160, step=1, log=True)


def three() -> int:
    return 3


@pytest.mark.parametrize(
    ("symbols", "windows"), [(SMALL_CORPUS - 1, SMALL), (SMALL_CORPUS, LARGE), (10**9, LARGE)]
)
def test_the_default_space_has_short_windows_for_small_corpora_only(
    symbols: int, windows: Range
) -> None:
    settled = DEFAULT.settled(symbols, three)
    assert settled["sequence_length"] == windows
    assert type(settled["sequence_length"]) is Range
    others = {name: d for name, d in DEFAULT.items() if name != "sequence_length"}
    assert {name: d for name, d in settled.items() if name in others} == others
    assert settled.settled(5, three) is settled, "a space that is settled stays as it is"


def test_until_the_corpus_is_known_it_is_auto_as_users_write_it() -> None:
    assert DEFAULT.describe()["sequence_length"] == "auto"
    assert from_mapping(DEFAULT.describe(), "file").describe() == DEFAULT.describe()
    assert parse("sequence_length", " auto", "here") == DEFAULT["sequence_length"]
    assert DEFAULT["sequence_length"].values() == LARGE.values()
    assert DEFAULT["sequence_length"].between(35, 80) == LARGE.between(35, 80)


def test_windows_that_the_user_names_do_not_depend_on_the_corpus() -> None:
    for given in ("20..160", "20,40"):
        space = with_settings(DEFAULT, [f"sequence_length={given}"])
        assert not isinstance(space["sequence_length"], ByCorpus)
        assert space.settled(5, three) is space
    assert QUICK.settled(5, three) is QUICK


def test_no_other_field_is_auto() -> None:
    with pytest.raises(InputError, match="here: layer_size is 'auto': expected an integer from"):
        parse("layer_size", "auto", "here")


def test_a_large_corpus_is_not_counted_for_it() -> None:
    def order() -> int:
        raise AssertionError

    assert DEFAULT.settled(SMALL_CORPUS, order)["sequence_length"] == LARGE


@pytest.mark.parametrize(
    ("other", "may"),
    [
        (LARGE, True),
        (SMALL, True),
        (DEFAULT["sequence_length"], True),
        (Range("sequence_length", 3, 150, step=1, log=True), False),
        (Range("sequence_length", 20, 160, step=1, log=True), False),
        (Listed("sequence_length", (30, 40)), False),
        (None, False),
    ],
)
def test_what_it_may_have_become_is_told_from_other_windows(
    other: Dimension | None, may: bool
) -> None:
    default = DEFAULT["sequence_length"]
    assert isinstance(default, ByCorpus) and default.may_be(other) is may
