from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import LIMITS, TrialConfig
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
from lstm_sweep.spaces.space import Space, from_file, from_mapping, parse_dimension, with_settings

FIELDS = [field.name for field in dataclasses.fields(TrialConfig)]

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


def _listed(name: str) -> st.SearchStrategy[Listed]:
    limit = LIMITS[name]
    values: st.SearchStrategy[Any]
    if limit.choices:
        values = st.sampled_from(limit.choices)
    elif limit.kind is int:
        values = st.integers(int(limit.low), int(limit.high))
    else:
        values = st.floats(1e-6, 0.9)
    lists = st.lists(values, min_size=1, max_size=5, unique=True)
    if not limit.choices:
        lists = lists.map(sorted)
    return lists.map(lambda options: Listed(name, tuple(options)))


@given(
    dimensions=st.sets(st.sampled_from(FIELDS)).flatmap(
        lambda names: st.fixed_dictionaries({name: _listed(name) for name in names})
    ),
    seed=st.integers(0, 1000),
)
def test_any_space_of_lists_admits_its_samples_and_is_read_back(
    dimensions: dict[str, Listed], seed: int
) -> None:
    space = Space(dimensions)
    assert space.admits(space.sample(np.random.default_rng(seed)))
    assert from_mapping(space.describe(), "here").digest() == space.digest()


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
def test_the_digest_changes_with_a_dimension(changed: Any) -> None:
    assert SMALL.replace(**{changed.field: changed}).digest() != SMALL.digest()


def test_the_digest_does_not_depend_on_the_order_of_fields() -> None:
    dimensions = {"layers": Listed("layers", (1, 2)), "epochs": Listed("epochs", (3,))}
    backwards = dict(reversed(dimensions.items()))
    assert Space(dimensions).digest() == Space(backwards).digest()


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


def test_a_space_is_read_from_a_yaml_file(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "direction: bi\n"
        "learning_rate: [1e-3, 0.1]\n"
        "dropout: 0..0.5\n"
        "layer_size: {low: 32, high: 128, step: 32, scale: linear}\n"
    )
    assert from_file(file) == Space(
        {
            "direction": Listed("direction", ("bi",)),
            "learning_rate": Listed("learning_rate", (1e-3, 0.1)),
            "dropout": Range("dropout", 0.0, 0.5),
            "layer_size": Range("layer_size", 32, 128, step=32),
        }
    )


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


USUAL_LAYERS = Range("layer_size", 32, 512, step=16, log=True)
WIDE_LAYERS = Range("layer_size", 32, 1024, step=16, log=True)


def of(symbols: int, *, room: bool = False) -> CorpusFacts:
    return CorpusFacts(symbols, lambda: 3, lambda units: room and units == 1024)


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


@pytest.mark.parametrize(("room", "sizes"), [(False, USUAL_LAYERS), (True, WIDE_LAYERS)])
def test_the_default_space_has_large_layers_where_there_is_room(room: bool, sizes: Range) -> None:
    settled = DEFAULT.settled(of(SMALL_CORPUS, room=room))
    assert settled["layer_size"] == sizes
    assert type(settled["layer_size"]) is Range
    assert settled["sequence_length"] == LONG_WINDOWS


@pytest.mark.parametrize(
    ("field", "usual"), [("sequence_length", LONG_WINDOWS), ("layer_size", USUAL_LAYERS)]
)
def test_until_the_corpus_is_known_it_is_auto_as_users_write_it(field: str, usual: Range) -> None:
    assert DEFAULT.describe()[field] == "auto"
    assert from_mapping(DEFAULT.describe(), "file").describe() == DEFAULT.describe()
    assert parse_dimension(field, " auto", "here") == DEFAULT[field]
    assert DEFAULT[field].values() == usual.values()
    assert DEFAULT[field].between(35, 80) == usual.between(35, 80)


def test_what_the_user_names_does_not_depend_on_the_corpus() -> None:
    for written in ("20..160", "20,40"):
        settings = [f"{field}={written}" for field in ("sequence_length", "layer_size")]
        space = with_settings(DEFAULT, settings)
        assert not any(isinstance(one, ByCorpus) for one in space.values())
        assert space.settled(of(5)) is space
    assert QUICK.settled(of(5)) is QUICK


@pytest.mark.parametrize(
    ("field", "other", "may"),
    [
        ("sequence_length", LONG_WINDOWS, True),
        ("sequence_length", SHORT_WINDOWS, True),
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
