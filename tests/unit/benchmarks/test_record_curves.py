"""What is recorded, in which order, and when a recording goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import curves
from benchmarks.curves import GRIDS, Grid
from benchmarks.record_curves import (
    Recording,
    corpus_of,
    head_of,
    not_recorded,
    opened,
)
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.values.trial import Ended, Outcome, RoundDone
from lstm_sweep.spaces.space import from_mapping
from tests.unit.benchmarks.recordings import SPACE, config, curve, write

GRID = Grid(about="made up", dimensions=SPACE, characters=20_000, rounds_per_epoch=9, rounds=4)


def recording(**changes: Any) -> Recording:
    return Recording(**{"config": config(0.01, 16), "rounds": 3, **changes})


def done(number: int, loss: float, seconds: float) -> RoundDone:
    return RoundDone(number, {"val_loss": loss, "round_seconds": seconds})


def test_a_recording_is_full_after_its_rounds() -> None:
    one = recording(rounds=2)
    one.add(done(1, 3.0, 0.5))
    assert not one.full
    one.add(done(2, 2.0, 0.25))
    assert one.full
    found = one.curve(Ended(Outcome.COMPLETE))
    assert (found.losses, found.seconds, found.fixed) == ((3.0, 2.0), (0.5, 0.25), 0.0)


def test_what_a_trial_that_fails_has_used_since_its_last_round_is_kept() -> None:
    one = recording()
    one.add(done(1, 3.0, 0.5))
    one.seen -= 5.0
    found = one.curve(Ended(Outcome.DIVERGED))
    assert (found.outcome, found.seconds) == ("diverged", (0.5,)) and 5.0 <= found.fixed < 60.0


def test_a_recording_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_text("some words and some more " * 1_000, encoding="utf-8")
    corpus = corpus_of(GRID, tmp_path / "given.txt", tmp_path)
    space = from_mapping(dict(GRID.dimensions), "made up")
    head = head_of(GRID, space, corpus)
    assert head["corpus"]["characters"] == GRID.characters
    assert (head["rounds_per_epoch"], head["rounds"]) == (9, 4)
    assert 0 < head["corpus"]["unigram_loss"] < 3

    file = tmp_path / "curves" / "r.jsonl"
    assert opened(file, head) == set()
    with file.open("a", encoding="utf-8") as out:
        out.write(curves.line_of(curve(0.01, 16, [2.0]), head["common"]) + "\n")
    assert opened(file, head) == {config(0.01, 16)}
    left = {point for _, point in not_recorded(space, {config(0.01, 16)})}
    assert left == set(space.points()) - {config(0.01, 16)}


def test_a_recording_of_another_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_text("some words and some more " * 1_000, encoding="utf-8")
    corpus = corpus_of(GRID, tmp_path / "given.txt", tmp_path)
    head = head_of(GRID, from_mapping(dict(GRID.dimensions), "made up"), corpus)
    with pytest.raises(InputError, match=f"digest is d, expected {corpus.digest}"):
        opened(write(tmp_path / "r.jsonl", []), head)


def test_a_grid_that_has_no_corpus_needs_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data is missing"):
        corpus_of(GRID, None, tmp_path)


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_bytes(b"ab\xffc" * 1_000)
    corpus = corpus_of(GRID, tmp_path / "given.txt", tmp_path)
    assert "\ufffd" in str(corpus.alphabet.symbols)


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_each_grid_is_a_space_and_one_is_held_out(name: str) -> None:
    grid = GRIDS[name]
    space = from_mapping(dict(grid.dimensions), name)
    assert 32 <= len(list(space.points())) <= 240
    assert (grid.rounds or space.epochs * grid.rounds_per_epoch) == 27
    assert grid.held_out == (name == "large")
