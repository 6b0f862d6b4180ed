from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import hyperopt.pyll.stochastic
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.errors import InputError
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import (
    SMALL_CORPUS,
    ByCorpus,
    CorpusFacts,
    Dimension,
    Listed,
    Range,
)
from lstm_sweep.spaces.presets import DEFAULT, QUICK
from lstm_sweep.spaces.space import Space, from_mapping, parse_dimension, with_settings

SMALL = Space(
    {
        "direction": Listed("direction", ("uni", "bi")),
        "layers": Range("layers", 1, 3, step=1),
        "dropout": Listed("dropout", (0.0, 0.5)),
    }
)
SPACES = {"default": presets.DEFAULT, "quick": presets.QUICK, "small": SMALL, "fixed": Space({})}
each_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


@each_space
def test_samples_are_admitted_and_come_back_from_their_points(space: Space) -> None:
    rng, again = (np.random.default_rng(1) for _ in range(2))
    for _ in range(100):
        config = space.sample(rng)
        assert space.admits(config) and config == space.sample(again)
        point = space.encode(config)
        assert set(point) == set(space.expression()) == set(space.varying)
        assert space.decode(point) == config
    assert from_mapping(space.describe(), "here") == space


@pytest.mark.parametrize(
    "changed",
    [
        Listed("layers", (1, 2)),  # shorter
        Listed("layers", (1, 2, 4)),
        Range("layers", 1, 5, step=1),
        Range("layers", 1, 3, step=1, log=True),  # the same values on another scale
        Listed("epochs", (3,)),  # a fixed value
        Listed("direction", ("bi", "uni")),  # the raw numbers of words depend on their order
    ],
    ids=str,
)
def test_the_digest_changes_with_a_dimension_and_not_with_their_order(changed: Any) -> None:
    assert SMALL.replace(**{changed.field: changed}).digest() != SMALL.digest()
    assert Space(dict([*SMALL.items()][::-1])).digest() == SMALL.digest()


def test_all_points_of_a_space_differ_and_are_admitted() -> None:
    points = list(SMALL.points())
    assert len(set(points)) == len(points) == SMALL.size() == 2 * 3 * 2
    assert all(SMALL.admits(config) for config in points)


@pytest.mark.parametrize(
    "changes", [{"layers": 4}, {"dropout": 0.1}, {"epochs": 28}, {"optimizer": "adam"}], ids=str
)
def test_a_config_outside_is_not_admitted(changes: dict[str, Any]) -> None:
    inside = next(SMALL.points())
    assert SMALL.admits(inside) and not SMALL.admits(inside.evolve(**changes))


def test_settings_replace_dimensions_in_turn() -> None:
    space = with_settings(SMALL, ["layers=4", " dropout = 0..0.5", "layers=5,6"])
    assert space["layers"] == Listed("layers", (5, 6))
    assert space["dropout"] == Range("dropout", 0.0, 0.5)
    assert space["direction"] == SMALL["direction"]


def test_a_space_may_be_a_file_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my.yaml").write_text("layers: 2\n", encoding="utf-8")
    assert presets.named("~/my.yaml")["layers"].values() == [2]
    with pytest.raises(InputError, match=r"space '~/none.yaml': no such file"):
        presets.named("~/none.yaml")


def test_what_another_thread_makes_a_space_forget_is_decoded_all_the_same() -> None:
    class Forgotten(dict[Any, Any]):
        def __setitem__(self, key: Any, value: Any) -> None:
            """Another thread empties it at once."""

    point = SMALL.encode(SMALL.sample(np.random.default_rng(1)))
    space = Space(dict(SMALL))
    vars(space)["_decoded"] = Forgotten()
    assert space.decode(point) == SMALL.decode(point)


LONG_WINDOWS = Range("sequence_length", 20, 160, step=10, log=True)
SHORT_WINDOWS = Range("sequence_length", 3, 160, step=1, log=True)


def of(symbols: int) -> CorpusFacts:
    return CorpusFacts(symbols, lambda: 3)


@pytest.mark.parametrize(
    ("symbols", "windows"),
    [(SMALL_CORPUS - 1, SHORT_WINDOWS), (SMALL_CORPUS, LONG_WINDOWS), (10**9, LONG_WINDOWS)],
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


def test_until_the_corpus_is_known_it_is_auto_as_users_write_it() -> None:
    windows = DEFAULT["sequence_length"]
    assert DEFAULT.describe()["sequence_length"] == "auto"
    assert from_mapping(DEFAULT.describe(), "file").describe() == DEFAULT.describe()
    assert parse_dimension("sequence_length", " auto", "here") == windows
    assert parse_dimension("layer_size", "auto", "here") == DEFAULT["layer_size"]
    assert windows.values() == LONG_WINDOWS.values()
    assert windows.between(35, 80) == LONG_WINDOWS.between(35, 80)


def test_what_the_user_names_does_not_depend_on_the_corpus() -> None:
    for written in ("20..160", "20,40"):
        settings = [f"{field}={written}" for field in ("sequence_length", "layer_size")]
        space = with_settings(DEFAULT, settings)
        assert not any(isinstance(one, ByCorpus) for one in space.values())
        assert space.settled(of(5)) is space
    assert QUICK.settled(of(5)) is QUICK


@pytest.mark.parametrize(
    ("other", "may"),
    [
        (LONG_WINDOWS, True),
        (SHORT_WINDOWS, True),
        (DEFAULT["sequence_length"], True),
        (Range("sequence_length", 3, 150, step=1, log=True), False),
        (Listed("sequence_length", (30, 40)), False),
        (None, False),
    ],
)
def test_what_it_may_have_become_is_told_from_other_values(
    other: Dimension | None, may: bool
) -> None:
    default = DEFAULT["sequence_length"]
    assert isinstance(default, ByCorpus) and default.may_be(other) is may


# Dimensions: drawn evenly, read from what users write, cut to parts


DRAWS = 2_000
DECADES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
SIZES = Range("layer_size", 32, 512, step=16, log=True)
RATES = Range("learning_rate", 1e-5, 1.0, log=True)
#: every kind of dimension that can be listed
LISTABLE: list[Dimension] = [
    Listed("learning_rate", DECADES),
    Listed("layers", (2, 3)),
    Listed("layers", (5,)),
    Listed("direction", ("uni", "bi")),
    Listed("optimizer", ("sgd", "adam", "rmsprop")),
    Range("dropout", 0.0, 0.8, step=0.1),
    Range("dropout", 0.05, 0.5, step=0.15),
    Range("weight_decay", 1e-11, 1e-10, step=1e-11),
    Range("weight_decay", 1e-7, 1e-6, step=1e-7),
    Range("layers", 1, 4, step=1),
    SIZES,
    Range("layer_size", 32, 512, step=480, log=True),
    Range("sequence_length", 20, 160, step=10, log=True),
    Range("batch_size", 1, 8, step=1, log=True),
]
CONTINUOUS = [
    Range("dropout", 0.0, 0.8),
    Range("dropout", 0.1234, 0.1236),
    RATES,
    Range("learning_rate", 0.012345, 0.98765, log=True),
    Range("learning_rate", 1e-5, 1.0),
]


@pytest.mark.parametrize("dimension", LISTABLE, ids=str)
def test_listed_values_come_back_from_their_numbers_and_even_shares_give_each_equally_often(
    dimension: Dimension,
) -> None:
    values = dimension.values() or []
    assert [dimension.decode(dimension.encode(value)) for value in values] == values != []
    if not getattr(dimension, "log", False):
        shares = (np.arange(100 * len(values)) + 0.5) / (100 * len(values))
        counts = Counter(dimension.value_at(float(share)) for share in shares)
        assert counts == dict.fromkeys(values, 100)


@pytest.mark.parametrize(
    "dimension, others",
    [
        (Range("dropout", 0.0, 0.8), [0.8001, -0.0001, True, "0.1", None, 0.12345]),
        (SIZES, [33, 31, 513, 528]),
    ],
    ids=str,
)
def test_a_range_contains_its_ends_but_not_what_it_cannot_draw(
    dimension: Range, others: list[object]
) -> None:
    assert dimension.low in dimension and dimension.high in dimension
    assert [value for value in others if value in dimension] == []


@pytest.mark.parametrize(
    "field, given, expected",
    [
        ("layers", 3, Listed("layers", (3,))),
        ("layers", [3, 2], Listed("layers", (2, 3))),  # numbers are put in order
        ("layers", " 3 , 2 ,", Listed("layers", (2, 3))),
        ("learning_rate", ["1e-3", 0.1], Listed("learning_rate", (0.001, 0.1))),  # 1e-3 in YAML
        ("direction", "bi,uni", Listed("direction", ("bi", "uni"))),  # words keep theirs
        ("dropout", " 0 .. 0.5 ", Range("dropout", 0.0, 0.5)),
        ("dropout", "0.2..0.2", Listed("dropout", (0.2,))),
        ("layers", "1..4", Range("layers", 1.0, 4.0, step=1.0)),  # integers have a step of 1
        ("layer_size", "32..64", Range("layer_size", 32.0, 64.0, step=1.0, log=True)),
        ("learning_rate", "1e-5..1", Range("learning_rate", 1e-5, 1.0, log=True)),
        ("dropout", {"low": 0, "high": 0.5, "step": 0.1}, Range("dropout", 0.0, 0.5, step=0.1)),
        ("layer_size", {"low": "32", "high": "512", "step": "16"}, SIZES),
    ],
)
def test_text_lists_and_mappings_are_read(field: str, given: object, expected: Dimension) -> None:
    assert parse_dimension(field, given, "here") == expected


INTEGER, SHARE = "an integer from 1 to 16", "a number from 0 to 0.99"


@pytest.mark.parametrize(
    "field, given, message",
    [
        ("layers", " , ", f"layers has no values: expected {INTEGER}"),
        ("layers", [2.5], f"layers is 2.5: expected {INTEGER}"),
        ("layers", [99.0], f"layers is 99: expected {INTEGER}"),
        ("layers", "1..99", f"layers is 99: expected {INTEGER}"),
        ("dropout", [math.nan], f"dropout is nan: expected {SHARE}"),
        ("dropout", {"low": True, "high": 0.5}, f"dropout is 'True': expected {SHARE}"),
        ("direction", {"low": 0, "high": 1}, "direction is '0': expected one of uni, bi"),
        ("layers", "3..2", f"layers from 3 to 2 is empty: {INTEGER}, low first"),
        ("dropout", "0.1-0.5", f"dropout is '0.1-0.5': expected {SHARE}; did you mean 0.1..0.5?"),
        ("dropout", "0 to 0.5", f"dropout is '0 to 0.5': expected {SHARE}; did you mean 0..0.5?"),
    ],
)
def test_a_refusal_names_the_place_and_what_is_possible(
    field: str, given: object, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(f'a.yaml: {message}')}$"):
        parse_dimension(field, given, "a.yaml")


part = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("dimension", [*LISTABLE, *CONTINUOUS], ids=str)
def test_a_dimension_is_read_back_and_drawn_by_us_and_hyperopt_as_evenly_as_by_even_shares(
    dimension: Any,
) -> None:
    assert parse_dimension(dimension.field, dimension.describe(), "here") == dimension
    shares = (np.arange(DRAWS) + 0.5) / DRAWS
    even = sorted(dimension.encode(dimension.value_at(float(share))) for share in shares)
    rng, expression = np.random.default_rng(5), dimension.expression()
    for draw in (dimension.draw, lambda rng: hyperopt.pyll.stochastic.sample(expression, rng)):
        values = [dimension.decode(float(draw(rng))) for _ in range(DRAWS)]
        assert all(value in dimension for value in values)
        drawn = sorted(map(dimension.encode, values))
        every = np.unique([*drawn, *even])
        apart = np.searchsorted(drawn, every, "right") - np.searchsorted(even, every, "right")
        assert np.max(np.abs(apart)) < 0.035 * DRAWS  # the distance of Kolmogorov and Smirnov


@pytest.mark.parametrize(
    "dimension, low, high, kept",
    [
        (Listed("learning_rate", DECADES), 1e-3, 1e-1, Listed("learning_rate", (1e-3, 1e-2, 1e-1))),
        (Listed("layers", (2, 4)), 3, 3, None),  # between two neighbours
        (Listed("layers", (2, 3)), 3, 2, None),  # upside down
        (Listed("direction", ("uni", "bi")), 0, 9, None),  # words have no order
        (Range("dropout", 0.0, 0.8), 0.2, 0.4, Range("dropout", 0.2, 0.4)),
        (Range("dropout", 0.0, 0.8), 0.8, 9, Listed("dropout", (0.8,))),  # one value is no range
        (RATES, 1e-3, 0.1, Range("learning_rate", 1e-3, 0.1, log=True)),
        # steps stay where they are
        (SIZES, 50, 130, Range("layer_size", 64, 128, step=16, log=True)),
        (SIZES, 33, 63, Listed("layer_size", (48,))),
        (SIZES, 33, 47, None),
    ],
)
def test_values_between_two_numbers(
    dimension: Dimension, low: float, high: float, kept: Dimension | None
) -> None:
    assert dimension.between(low, high) == kept


@given(
    dimension=st.sampled_from([one for one in CONTINUOUS if one.log]),
    shares=st.tuples(part, part),
    share=part,
)
def test_part_of_a_log_range_keeps_its_ends_and_adds_nothing(
    dimension: Range, shares: tuple[float, float], share: float
) -> None:
    low, high = (float(dimension.value_at(one)) for one in sorted(shares))
    kept = dimension.between(low, high)
    assert kept and low in kept and high in kept
    drawn = kept.value_at(share)
    assert low <= float(drawn) <= high
    assert drawn in dimension
