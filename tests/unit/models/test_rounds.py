from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.rounds import (
    RoundPart,
    epoch_text,
    epochs_text,
    part_of_epoch,
)


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
