"""What the rest computes with: configs, sizes, scores, rounds, and how wrong input is told."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models import backend
from lstm_sweep.models.config import LIMITS, OPTIMIZERS, Limit, TrialConfig
from lstm_sweep.models.documents import read_yaml
from lstm_sweep.models.errors import LONGEST, InputError, one_of, resolved, shown
from lstm_sweep.models.rounds import RoundPart, epoch_text, epochs_text, part_of_epoch
from lstm_sweep.models.scoring import log_softmax, score
from lstm_sweep.models.size import SizeRule


def values(limit: Limit) -> st.SearchStrategy[Any]:
    if limit.choices:
        return st.sampled_from(limit.choices)
    if limit.kind is int:
        return st.integers(int(limit.low), int(limit.high))
    return st.floats(limit.low, limit.high, exclude_min=not limit.low_included)


@given(st.fixed_dictionaries({name: values(limit) for name, limit in LIMITS.items()}))
def test_a_config_survives_a_round_trip_through_plain_values(fields: dict[str, Any]) -> None:
    config = TrialConfig.from_dict(fields)
    assert config.to_dict() == fields
    assert TrialConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("direction", 1, "expected one of uni, bi"),
        ("optimizer", ["adam"], f"expected one of {', '.join(OPTIMIZERS)}"),
        ("learning_rate", 0, "expected a number above 0 up to 1000"),
        ("learning_rate", math.nan, "expected a number above 0 up to 1000"),
        # a number in quotes, as YAML gives for 1e-3
        ("learning_rate", "1e-3", "expected a number above 0 up to 1000"),
        ("dropout", 1.0, "expected a number from 0 to 0.99"),
        ("layers", math.inf, "expected an integer from 1 to 16"),
        ("layers", None, "expected an integer from 1 to 16"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field_and_what_is_expected(
    field: str, value: object, expected: str
) -> None:
    with pytest.raises(InputError) as refusal:
        TrialConfig.from_dict({field: value})
    assert str(refusal.value) == f"{field} is {value!r}: {expected}"


@pytest.mark.parametrize("field", [name for name, limit in LIMITS.items() if not limit.choices])
def test_a_number_lies_between_its_bounds_and_an_integer_is_whole(field: str) -> None:
    limit = LIMITS[field]
    others: list[object] = [limit.low - 1e-3, limit.high + 1e-3, True]
    for value in [limit.low, limit.high] if limit.low_included else [limit.high]:
        found = TrialConfig.from_dict({field: float(value)}).to_dict()[field]
        assert found == value and type(found) is limit.kind
    for other in [*others, 2.5] if limit.kind is int else others:
        with pytest.raises(InputError, match=f"^{field} is .*: expected "):
            TrialConfig.from_dict({field: other})


@pytest.mark.parametrize(
    ("direction", "length", "stride", "expected"),
    # without one: a window for uni, an eighth of it for bi, but never 0
    [("uni", 40, 0, 40), ("bi", 47, 0, 5), ("bi", 7, 0, 1), ("uni", 40, 3, 3), ("bi", 40, 90, 90)],
)
def test_the_window_stride_follows_direction_and_length_unless_given(
    direction: str, length: int, stride: int, expected: int
) -> None:
    config = TrialConfig(direction=direction, sequence_length=length, stride=stride)
    assert config.window_stride == expected


@pytest.mark.parametrize(
    ("symbols", "word"),
    # the network has 302 parameters
    [
        (604, "fits: from 0.5 to 2"),
        (605, "too small: below 0.5"),
        (151, "fits: from 0.5 to 2"),
        (150, "too large: above 2"),
    ],
)
def test_the_size_rule_includes_its_bounds(symbols: int, word: str) -> None:
    verdict = SizeRule(0.5, 2).judge(TrialConfig(layers=1, layer_size=5), 7, symbols)
    assert word in verdict.reason and verdict.admitted is word.startswith("fits")


@pytest.mark.parametrize(("low", "high"), [(2, 1), (-1, 1), (math.nan, 1), (0, math.nan)])
def test_a_size_rule_with_wrong_bounds_is_refused(low: float, high: float) -> None:
    with pytest.raises(InputError, match=r"size rule from .* expected 0 <= low <= high"):
        SizeRule(low, high)


def test_a_hand_made_example_scores_as_computed_by_hand_and_a_tie_counts() -> None:
    falling = [0.40, 0.20, 0.15, 0.10, 0.08, 0.04, 0.03]
    logs = np.log([falling, falling[::-1], [0.10, 0.40, 0.20, 0.15, *falling[4:]], falling])
    result = score([(logs, np.array([0, 2, 5, 6]))])  # of ranks 1, 5, 6 and 7
    assert result["loss"] == pytest.approx(-math.log(0.40 * 0.08 * 0.04 * 0.03) / 4)
    assert (result["accuracy"], result["top5_accuracy"]) == (1 / 4, 2 / 4)
    tie = score([(np.log(np.full((1, 10), 0.1)), np.array([9]))])
    assert (tie["accuracy"], tie["top5_accuracy"]) == (1, 1)


def test_huge_logits_of_a_network_give_no_overflow() -> None:
    result = log_softmax(np.array([[1e38, -1e38, 1e38]], np.float32))
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


@given(st.integers(1, 3000), st.integers(2, 3000))
def test_rounds_have_texts_of_their_own(number: int, rounds: int) -> None:
    assert epoch_text(number, rounds) != epoch_text(number + 1, rounds)
    assert float(epochs_text(number, rounds)) == number
    assert (epoch_text(1, 3), epoch_text(4, 4), epoch_text(1, 200)) == ("0.33", "1", "0.005")


@pytest.mark.parametrize("steps, end", [(100, 20), (20, 20), (15, 15), (10, 10), (3, 10), (-4, 10)])
def test_a_part_up_to_a_step_ends_there_and_never_before_it_begins(steps: int, end: int) -> None:
    assert RoundPart(2, 10, 20).up_to(steps) == RoundPart(2, 10, end)


def test_a_path_is_made_absolute_whether_or_not_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ring").symlink_to("ring")
    (tmp_path / "nowhere").symlink_to("nothing")
    (tmp_path / "file").touch()
    paths = {"file/x": "file/x", "none/x": "none/x", "nowhere": "nothing", "": ""}
    for written, meant in paths.items():
        assert resolved(written) == tmp_path.resolve() / meant
    for written in ("ring", "ring/x"):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            resolved(written)


def test_the_nearest_name_comes_first() -> None:
    assert one_of("lairs", ["units", "layers"]) == "did you mean 'layers'? possible: units, layers"


def test_a_message_is_one_line_that_is_not_long_and_keeps_both_ends() -> None:
    assert str(InputError("a\nb\r\x1b[0m\u2028\0é")) == r"a\nb\r\x1b[0m\u2028\x00é"
    long = str(InputError("begin" + "\n" * 10**4 + ": expected a number"))
    assert long.startswith("begin") and long.endswith(": expected a number")
    assert len(long) <= LONGEST


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\n", r"'a\n'"),
        (2.5, "2.5"),
        ("x" * 500, f"'{'x' * 120}...'"),
        ([0] * 500, f"[{'0, ' * 39}0,..."),
        pytest.param(10**5000, "int too large to show", id="vast"),
    ],
)
def test_a_value_is_shown_as_it_is_written_but_not_at_length(value: object, text: str) -> None:
    assert shown(value) == text


def test_words_that_old_yaml_takes_for_something_else_are_words(tmp_path: Path) -> None:
    words = ["on", "010", "1:30", "="]
    others = {"True": True, "0x1F": 31, "-1_000": -1000, "0": 0, "2.5e-3": 0.0025}
    deep = "[" * 18 + "1" + "]" * 18  # in twenty levels
    file = tmp_path / "a.yaml"
    file.write_text(f"[{', '.join([*words, *others, deep])}]")
    read: Any = read_yaml(file)
    assert read[:-1] == [*words, *others.values()]
    assert str(read[-1]) == deep


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

    tensorflow = SimpleNamespace(config=SimpleNamespace(set_visible_devices=set_visible_devices))
    monkeypatch.setattr(backend, "on_gpu", lambda: bool(seen))
    if begun:
        with pytest.raises(RuntimeError, match="uses a GPU already, expected one that has not"):
            backend._hide_gpus(tensorflow)
        seen.clear()  # initialized without a GPU
    backend._hide_gpus(tensorflow)
    assert not backend.on_gpu()
