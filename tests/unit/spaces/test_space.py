from __future__ import annotations

import dataclasses
import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import LIMITS, TrialConfig, as_lstm_config
from lstm_sweep.models.errors import InputError
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space, from_file, from_mapping, with_settings

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
def test_names_are_exactly_the_fields_of_a_config(space: Space) -> None:
    assert list(space) == FIELDS and len(space) == len(FIELDS)


@each_space
def test_every_sample_is_admitted(space: Space) -> None:
    rng = np.random.default_rng(1)
    assert all(space.admits(space.sample(rng)) for _ in range(300))


@each_space
def test_samples_are_a_pure_function_of_the_generator(space: Space) -> None:
    assert space.sample(np.random.default_rng(5)) == space.sample(np.random.default_rng(5))


@each_space
def test_a_config_comes_back_from_its_point(space: Space) -> None:
    config = space.sample(np.random.default_rng(2))
    assert space.decode(space.encode(config)) == config


@each_space
def test_a_point_and_the_expression_have_the_varying_fields_only(space: Space) -> None:
    point = space.encode(space.sample(np.random.default_rng(2)))
    assert set(point) == set(space.expression()) == set(space.varying)


@each_space
def test_what_a_space_describes_is_read_back(space: Space) -> None:
    again = from_mapping(space.describe(), "here")
    assert again == space and again.digest() == space.digest()


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


def test_the_digest_is_sixteen_hexadecimal_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", SMALL.digest())


def test_equal_spaces_have_equal_hashes() -> None:
    assert hash(from_mapping(SMALL.describe(), "here")) == hash(SMALL)


def test_all_points_of_a_space_differ_and_are_admitted() -> None:
    points = list(SMALL.points())
    assert len(set(points)) == len(points) == SMALL.size() == 2 * 3 * 2
    assert all(SMALL.admits(config) for config in points)


def test_points_are_the_product_of_all_values() -> None:
    points = map(as_lstm_config, SMALL.points())
    found = {(config.direction, config.layers, config.dropout) for config in points}
    assert found == set(itertools.product(("uni", "bi"), (1, 2, 3), (0.0, 0.5)))


@pytest.mark.parametrize(
    "space, size",
    [(Space({}), 1), (presets.QUICK, 2 * 3 * 3 * 2 * 3 * 3 * 2), (presets.DEFAULT, None)],
    ids=["fixed", "quick", "default"],
)
def test_size_is_the_number_of_points_or_none_if_continuous(space: Space, size: int | None) -> None:
    assert space.size() == size


@pytest.mark.parametrize(
    "field, largest", [("layers", 3), ("dropout", 0.8), ("layer_size", 512), ("epochs", 27)]
)
def test_the_largest_value_of_a_field_is_known(field: str, largest: float) -> None:
    assert presets.DEFAULT.largest(field) == largest


def test_words_have_no_largest_value() -> None:
    with pytest.raises(TypeError, match="direction has no largest value"):
        presets.DEFAULT.largest("direction")


@pytest.mark.parametrize(
    "changes", [{"layers": 4}, {"dropout": 0.1}, {"epochs": 28}, {"optimizer": "adam"}], ids=str
)
def test_a_config_outside_is_not_admitted(changes: dict[str, Any]) -> None:
    inside = next(SMALL.points())
    assert SMALL.admits(inside) and not SMALL.admits(inside.evolve(**changes))


def test_a_replaced_dimension_leaves_the_first_space_as_it_was() -> None:
    before = SMALL.digest()
    assert SMALL.replace(epochs=Listed("epochs", (1,)))["epochs"].values() == [1]
    assert SMALL.digest() == before


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(InputError, match="'layer' is no field of a config: did you mean 'layers'"):
        Space({"layer": Listed("layer", (2,))})


# the declared spaces -------------------------------------------------------------------------

#: fields that vary in the default space
VARIED = (
    "direction", "learning_rate", "dropout", "layers", "layer_size", "sequence_length",
    "batch_size",
)  # fmt: skip


@pytest.mark.parametrize(
    "field, values",
    [
        ("direction", ["uni", "bi"]),
        ("learning_rate", [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        ("layers", [2, 3]),
        ("layer_size", list(range(32, 513, 16))),
        ("sequence_length", list(range(20, 161, 10))),
        ("batch_size", [32, 64, 128, 256]),
    ],
)
def test_the_default_space_has_the_values_that_were_asked_for(
    field: str, values: list[object]
) -> None:
    assert presets.DEFAULT[field].values() == values


def test_the_default_dropout_is_continuous_from_0_to_0_8() -> None:
    dropout = presets.DEFAULT["dropout"]
    assert dropout.describe() == {"low": 0.0, "high": 0.8, "scale": "linear"}
    assert 0.0 in dropout and 0.8 in dropout and 0.81 not in dropout


def test_samples_of_the_default_space_reach_the_ends_of_every_list() -> None:
    rng = np.random.default_rng(0)
    samples = [presets.DEFAULT.sample(rng).to_dict() for _ in range(1_000)]
    for name, dimension in presets.DEFAULT.items():
        if values := dimension.values():
            assert {values[0], values[-1]} <= {sample[name] for sample in samples}


def test_other_fields_have_the_defaults_of_a_config() -> None:
    others = {name: value for name, value in TrialConfig().to_dict().items() if name not in VARIED}
    assert len(others) == len(FIELDS) - len(VARIED)
    assert {name: presets.DEFAULT[name].values() for name in others} == {
        name: [value] for name, value in others.items()
    }


# mappings, files and settings ------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "here: found nothing, expected a mapping of fields to values"),
        (None, "here: found nothing, expected a mapping of fields to values"),
        ([1], "here: found a list, expected a mapping of fields to values"),
        ("layers", "here: found a str, expected a mapping of fields to values"),
        ({"dropuot": 0.1}, "here: 'dropuot' is no field of a config: did you mean 'dropout'?"),
        ({5: 1}, "here: '5' is no field of a config: possible: direction,"),
        ({"layers": 99}, "here: layers is 99: expected an integer from 1 to 16"),
    ],
)
def test_a_refused_mapping_names_the_place(given: object, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        from_mapping(given, "here")


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


def test_a_file_is_a_named_space_too(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("layers: 1..3\n")
    assert presets.named(str(file))["layers"].values() == [1, 2, 3]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"layers: 2\ndropout: [0.1\n", ":3: "),  # where YAML gives up
        (b"layers: 2\nepochs: }\n", ":2: "),
        (b"a: !!python/name:os.system\n", ":1: "),
        (b"\xff\xfe\xfa", ": found bytes that are not UTF-8, expected a YAML file"),
        (b"", ": found nothing, expected a mapping of fields to values"),
        (b"- layers\n", ": found a list, expected a mapping of fields to values"),
        (b"layers: 99\n", ": layers is 99: expected an integer from 1 to 16"),
        (b"layer: 1\n", ": 'layer' is no field of a config: did you mean 'layers'?"),
    ],
)
def test_a_refused_file_is_named_and_so_is_its_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "space.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"^{re.escape(f'{file}{message}')}"):
        from_file(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: No such file or directory"):
        from_file(tmp_path / "none.yaml")


def test_settings_replace_dimensions_in_turn() -> None:
    space = with_settings(SMALL, ["layers=4", " dropout = 0..0.5", "layers=5,6"])
    assert space["layers"] == Listed("layers", (5, 6))
    assert space["dropout"] == Range("dropout", 0.0, 0.5)
    assert space["direction"] == SMALL["direction"]


def test_no_settings_change_nothing() -> None:
    assert with_settings(SMALL, []) == SMALL


ALL = ", ".join(FIELDS)


@pytest.mark.parametrize(
    "setting, message",
    [
        ("layer=2", f"'layer' is no field of a config: did you mean 'layers'? possible: {ALL}"),
        ("zzz=2", f"'zzz' is no field of a config: possible: {ALL}"),
        ("=2", f"'' is no field of a config: possible: {ALL}"),
        ("layers", f"expected FIELD=VALUES; fields: {ALL}"),
        ("layers=", "layers has no values: expected an integer from 1 to 16"),
        ("layers=many", "layers is 'many': expected an integer from 1 to 16"),
    ],
)
def test_a_refused_setting_is_named_with_what_is_possible(setting: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        with_settings(SMALL, [setting])
    assert str(refused.value) == f"--set {setting}: {message}"


def test_a_space_is_not_changed_by_yaml_numbers_that_read_as_text(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("learning_rate: {low: 1e-5, high: 1e-1}\n")
    ends = from_file(file)["learning_rate"].describe()
    assert math.isclose(ends["low"], 1e-5) and math.isclose(ends["high"], 0.1)
