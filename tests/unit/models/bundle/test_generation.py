from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.cpu.program_types import Codes
from lstm_sweep.models.network.evaluation import continued, draw, until_ended
from lstm_sweep.models.network.program import StepwiseProgram

Logits = NDArray[np.float32]

LOGITS = np.log(np.array([0.3, 0.2, 0.05, 0.15, 0.3]))


def shares(temperature: float, draws: int = 40_000) -> list[float]:
    """How often each code is drawn."""
    drawn = draw(np.tile(LOGITS, (draws, 1)), temperature, np.random.default_rng(0))
    return [float(share) for share in np.bincount(drawn, minlength=5) / draws]


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (1.0, [0, 0, 0.1, 0.3, 0.6]),
        (0.5, [0, 0, 1 / 46, 9 / 46, 36 / 46]),
        (1e-300, [0, 0, 0, 0, 1]),
        (0.0, [0, 0, 0, 0, 1]),
        (100.0, [0, 0, 0.329, 0.333, 0.335]),
    ],
)
def test_chances_are_the_softmax_at_a_temperature(
    temperature: float, expected: list[float]
) -> None:
    assert shares(temperature) == pytest.approx(expected, abs=0.01)


@given(
    shapes.arrays(
        np.float32, (3, 7), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    ),
    st.floats(0, 100),
)
def test_whatever_the_logits_a_symbol_is_drawn(logits: Logits, temperature: float) -> None:
    drawn = draw(logits, temperature, np.random.default_rng(1))
    assert ((drawn >= 2) & (drawn < 7)).all()


def after(past: list[int], *, window: int, temperature: float = 0.0, seed: int = 0) -> list[int]:
    """What a network that always expects the successor of the last code makes of a past."""

    class Successor(StepwiseProgram):
        def logits(self, windows: Codes) -> Logits:
            assert windows.shape == (2, window)
            return np.eye(10, dtype=np.float32)[(windows[:, -1] + 1) % 10] * 3

    config, program = TrialConfig(sequence_length=window), object.__new__(Successor)
    turns = continued(
        program, config, np.array(past, np.int32), rows=2, temperature=temperature, seed=seed
    )
    return [int(codes[1]) for codes in islice(turns, 6)]


def test_what_is_drawn_is_seen_in_the_next_turn() -> None:
    assert after([7, 3], window=4) == [4, 5, 6, 7, 8, 9]
    assert after([7, 3, 2, 2, 5], window=1) == [6, 7, 8, 9, 2, 3]


def test_a_seed_repeats_what_is_drawn() -> None:
    first = after([3], window=2, temperature=2.0)
    assert first == after([3], window=2, temperature=2.0)
    assert first != after([3], window=2, temperature=2.0, seed=1)


def test_a_sequence_ends_with_its_first_end_and_all_of_them_when_the_last_has_ended() -> None:
    turns = [[5, 2, 4], [2, 7, 4], [3, 3, 4], [3, 3, 2], [9, 9, 9]]
    found = until_ended(np.array(turn, np.int32) for turn in turns)
    assert [turn.tolist() for turn in found] == [[5, 2, 4], [2, 2, 4], [2, 2, 4], [2, 2, 2]]
