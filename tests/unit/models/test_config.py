from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models import backend
from lstm_sweep.models.config import FIELDS, LIMITS, OPTIMIZERS, Limit, TrialConfig
from lstm_sweep.models.documents import read_yaml
from lstm_sweep.models.errors import LONGEST, InputError, one_of, resolved, shown
from lstm_sweep.models.rounds import (
    RoundPart,
    epoch_text,
    epochs_text,
    part_of_epoch,
)
from lstm_sweep.models.scoring import log_softmax, score
from lstm_sweep.models.size import SizeRule

NUMBERS = [name for name, limit in LIMITS.items() if not limit.choices]
INTEGERS = [name for name in NUMBERS if LIMITS[name].kind is int]


def values(limit: Limit) -> st.SearchStrategy[Any]:
    if limit.choices:
        return st.sampled_from(limit.choices)
    if limit.kind is int:
        return st.integers(int(limit.low), int(limit.high))
    return st.floats(limit.low, limit.high, exclude_min=not limit.low_included)


fields = st.fixed_dictionaries({name: values(limit) for name, limit in LIMITS.items()})


@given(fields)
def test_a_config_survives_a_round_trip_through_plain_values(fields: dict[str, Any]) -> None:
    config = TrialConfig.from_dict(fields)
    assert config.to_dict() == fields
    assert TrialConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("direction", "both", "expected one of uni, bi"),
        ("direction", 1, "expected one of uni, bi"),
        ("optimizer", ["adam"], f"expected one of {', '.join(OPTIMIZERS)}"),
        ("learning_rate", 0, "expected a number above 0 up to 1000"),
        ("learning_rate", math.nan, "expected a number above 0 up to 1000"),
        ("learning_rate", math.inf, "expected a number above 0 up to 1000"),
        # a number in quotes, as YAML gives for 1e-3
        ("learning_rate", "1e-3", "expected a number above 0 up to 1000"),
        ("dropout", 1.0, "expected a number from 0 to 0.99"),
        ("layers", 17, "expected an integer from 1 to 16"),
        ("layers", math.nan, "expected an integer from 1 to 16"),
        ("layers", None, "expected an integer from 1 to 16"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field_and_what_is_expected(
    field: str, value: object, expected: str
) -> None:
    with pytest.raises(InputError) as refusal:
        TrialConfig.from_dict({field: value})
    assert str(refusal.value) == f"{field} is {value!r}: {expected}"


@pytest.mark.parametrize("field", NUMBERS)
def test_a_number_lies_between_its_bounds(field: str) -> None:
    limit = LIMITS[field]
    allowed = [limit.low, limit.high] if limit.low_included else [limit.high]
    for value in allowed:
        assert TrialConfig.from_dict({field: value}).to_dict()[field] == value
    for other in (limit.low - 1e-3, limit.high + 1e-3, True):
        with pytest.raises(InputError, match=f"^{field} is .*: expected "):
            TrialConfig.from_dict({field: other})


@pytest.mark.parametrize("field", INTEGERS)
def test_an_integer_may_be_a_whole_float_but_no_fraction(field: str) -> None:
    value = TrialConfig.from_dict({field: 2.0}).to_dict()[field]
    assert (value, type(value)) == (2, int)
    with pytest.raises(InputError, match=rf"^{field} is 2\.5: expected an integer "):
        TrialConfig.from_dict({field: 2.5})


def test_an_unknown_field_is_refused_with_the_nearest_and_all_that_are_possible() -> None:
    with pytest.raises(InputError, match=r"is no field .* mean 'sequence_length'") as refusal:
        TrialConfig.from_dict({"seq_length": 1})
    assert str(refusal.value).endswith(f"possible: {', '.join(FIELDS)}")


@pytest.mark.parametrize(
    ("direction", "length", "stride", "expected"),
    [
        # 0 stands for the default: one window for uni
        ("uni", 40, 0, 40),
        # an eighth of it for bi, rounded down, but never 0
        ("bi", 47, 0, 5),
        ("bi", 7, 0, 1),
        # a given stride holds for both
        ("uni", 40, 3, 3),
        ("bi", 40, 90, 90),
    ],
)
def test_the_window_stride_follows_direction_and_length_unless_given(
    direction: str, length: int, stride: int, expected: int
) -> None:
    config = TrialConfig(direction=direction, sequence_length=length, stride=stride)
    assert config.window_stride == expected


ALPHABET = 7


#: 302 parameters
SMALL = TrialConfig(layers=1, layer_size=5)


@pytest.mark.parametrize(
    ("symbols", "admitted", "word"),
    [
        # 302 / 604 is the lower bound itself
        (604, True, "fits: from 0.5 to 2"),
        (605, False, "too small: below 0.5"),
        # 302 / 151 is the upper bound itself
        (151, True, "fits: from 0.5 to 2"),
        (150, False, "too large: above 2"),
    ],
)
def test_the_size_rule_includes_its_bounds(symbols: int, admitted: bool, word: str) -> None:
    verdict = SizeRule(0.5, 2).judge(SMALL, ALPHABET, symbols)
    assert verdict.admitted is admitted
    assert word in verdict.reason


@pytest.mark.parametrize(("low", "high"), [(2, 1), (-1, 1), (math.nan, 1), (0, math.nan)])
def test_a_size_rule_with_wrong_bounds_is_refused(low: float, high: float) -> None:
    with pytest.raises(InputError, match=r"size rule from .* expected 0 <= low <= high"):
        SizeRule(low, high)


#: the probability of symbols 0 to 6 in three predictions
HAND_MADE = np.log(
    [
        [0.40, 0.20, 0.15, 0.10, 0.08, 0.04, 0.03],
        [0.03, 0.04, 0.08, 0.10, 0.15, 0.20, 0.40],
        [0.10, 0.40, 0.20, 0.15, 0.08, 0.04, 0.03],
        [0.40, 0.20, 0.15, 0.10, 0.08, 0.04, 0.03],
    ]
)
#: ranks 1, 5, 6 and 7
SYMBOLS = np.array([0, 2, 5, 6])


def test_a_hand_made_example_scores_as_computed_by_hand() -> None:
    result = score([(HAND_MADE, SYMBOLS)])
    assert result["loss"] == pytest.approx(-math.log(0.40 * 0.08 * 0.04 * 0.03) / 4)
    assert result["accuracy"] == 1 / 4
    assert result["top5_accuracy"] == 2 / 4


def test_a_tie_counts_for_the_prediction() -> None:
    tie = np.log(np.full((1, 10), 0.1))
    result = score([(tie, np.array([9]))])
    assert (result["accuracy"], result["top5_accuracy"]) == (1, 1)


def test_huge_logits_of_a_network_give_no_overflow() -> None:
    values = np.array([[1e38, -1e38, 1e38]], np.float32)
    result = log_softmax(values)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result[0, [0, 2]], -math.log(2))
    assert math.isfinite(result[0, 1])


@given(st.integers(1, 500), st.integers(1, 50), st.integers(1, 9))
def test_the_rounds_of_an_epoch_are_all_of_its_steps_in_order(
    steps: int, rounds: int, epoch: int
) -> None:
    numbers = range((epoch - 1) * rounds + 1, epoch * rounds + 1)
    parts = [part_of_epoch(number, rounds, steps) for number in numbers]
    assert {part.epoch for part in parts} == {epoch}
    assert (parts[0].begin, parts[-1].end) == (0, steps)
    assert all(a.end == b.begin for a, b in itertools.pairwise(parts))
    sizes = [part.end - part.begin for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1 or rounds > steps


@pytest.mark.parametrize(
    ("number", "rounds", "text"),
    [(1, 4, "0.25"), (2, 5, "0.4"), (1, 3, "0.33"), (4, 4, "1"), (50, 5, "10"), (1, 200, "0.005")],
)
def test_epochs_are_written_with_the_places_that_tell_rounds_apart(
    number: int, rounds: int, text: str
) -> None:
    assert epoch_text(number, rounds) == text


@given(st.integers(1, 3000), st.integers(2, 3000))
def test_rounds_have_texts_of_their_own(number: int, rounds: int) -> None:
    assert epoch_text(number, rounds) != epoch_text(number + 1, rounds)
    assert float(epochs_text(number, rounds)) == number


@pytest.mark.parametrize("steps, end", [(100, 20), (20, 20), (15, 15), (10, 10), (3, 10), (-4, 10)])
def test_a_part_up_to_a_step_ends_there_and_never_before_it_begins(steps: int, end: int) -> None:
    assert RoundPart(2, 10, 20).up_to(steps) == RoundPart(2, 10, end)


# Paths as users name them


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, below one whose name has a word of a message."""
    folder = tmp_path / "embedded null"
    folder.mkdir()
    (folder / "ring").symlink_to("ring")
    (folder / "nowhere").symlink_to("nothing")
    (folder / "file").write_text("x")
    monkeypatch.chdir(folder)
    return folder.resolve()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("file", "file"),
        ("file/x", "file/x"),
        ("none/x", "none/x"),
        ("nowhere", "nothing"),
        ("", ""),
    ],
)
def test_a_path_is_made_absolute_whether_or_not_it_is_there(
    place: Path, given: str, found: str
) -> None:
    assert resolved(given) == place / found


def test_links_that_lead_in_a_circle_are_never_a_place_for_new_files(place: Path) -> None:
    from lstm_sweep.models.errors import InputError
    from lstm_sweep.search.process.files import new_folder, new_report

    checks: list[Callable[[str], Path]] = [new_folder, new_report]
    for check in checks:
        for place_name in ("ring", "ring/x"):
            with pytest.raises(InputError, match="Too many levels of symbolic links"):
                check(place_name)
    assert (place / "ring").is_symlink()


def test_the_nearest_name_comes_first() -> None:
    assert one_of("lairs", ["units", "layers"]) == "did you mean 'layers'? possible: units, layers"


def test_a_message_is_one_line_that_is_not_long() -> None:
    assert str(InputError("a\nb\r\x1b[0m\u2028\0é")) == r"a\nb\r\x1b[0m\u2028\x00é"
    long = str(InputError("begin" + "\n" * 10**6 + "end"))
    assert long.startswith("begin") and len(long) <= LONGEST


def test_the_end_of_a_long_message_says_what_is_expected() -> None:
    assert str(InputError("x" * 2_000 + ": expected a number")).endswith(": expected a number")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        ("a\n", r"'a\n'"),
        (2.5, "2.5"),
        ("x" * 500, f"'{'x' * 120}...'"),
        ([0] * 500, f"[{'0, ' * 39}0,..."),
        pytest.param(10**5000, "int too large to show", id="vast"),
    ],
)
def test_a_value_is_shown_as_it_is_written_but_not_at_length(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"),
        ("True", True),
        ("010", "010"),
        ("1:30", "1:30"),
        ("0x1F", 31),
        ("-1_000", -1000),
        ("0", 0),
        ("2.5e-3", 0.0025),
        ("=", "="),
    ],
)
def test_words_that_old_yaml_takes_for_something_else_are_words(
    tmp_path: Path, written: str, value: object
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"a: {written}\n", encoding="utf-8")
    assert read_yaml(file) == {"a": value}


def test_twenty_levels_are_not_too_many(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("[" * 19 + "1" + "]" * 19, encoding="utf-8")
    value = read_yaml(file)
    for _ in range(19):
        assert isinstance(value, list)
        value = value[0]
    assert value == 1


# Where TensorFlow computes; the GPUs are a stand-in


@pytest.mark.parametrize("begun", [False, True])
def test_what_is_to_use_the_cpu_uses_no_gpu_or_says_that_it_cannot(
    begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = ["gpu 0"]

    def set_visible_devices(devices: list[str], kind: str) -> None:
        if begun:
            raise RuntimeError("Visible devices cannot be modified after being initialized")
        seen[:] = devices

    config = SimpleNamespace(set_visible_devices=set_visible_devices)
    monkeypatch.setattr(backend, "on_gpu", lambda: bool(seen))
    if not begun:
        backend._hide_gpus(SimpleNamespace(config=config))
        assert not backend.on_gpu()
        return
    with pytest.raises(RuntimeError, match="uses a GPU already, expected one that has not begun"):
        backend._hide_gpus(SimpleNamespace(config=config))
    seen.clear()  # initialized without a GPU
    backend._hide_gpus(SimpleNamespace(config=config))
