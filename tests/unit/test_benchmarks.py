"""Recorded curves are replayed, and the entropy of chains is known."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.chains import IDS, SIZES, Chain, data_of
from benchmarks.curves import UNSAID, Curve, divided
from benchmarks.replay import PLAIN, POLICIES, VARIANTS, Replay
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.values.spec import Plan

#: a space of 3 rates and 2 sizes, each trained for 9 rounds of one epoch
SPACE: dict[str, Any] = {
    "direction": "uni",
    "learning_rate": [0.001, 0.01, 0.1],
    "dropout": 0.0,
    "layers": 1,
    "layer_size": [16, 32],
    "sequence_length": 20,
    "batch_size": 16,
    "stride": 0,
    "offset": "random",
    "state": "reset",
    "optimizer": "rmsprop",
    "embedding_size": 0,
    "precision": "float32",
    "epochs": 1,
    **UNSAID,
}
CORPUS = {"symbols": 160_000, "alphabet": 30, "digest": "d", "targets": 100, "unigram_loss": 3.0}
HEAD: dict[str, Any] = {"corpus": CORPUS, "space": SPACE, "rounds_per_epoch": 9, "rounds": 9}
COMMON = {name: value for name, value in SPACE.items() if not isinstance(value, list)}


def config(rate: float, size: int) -> TrialConfig:
    """A config of the space."""
    return TrialConfig.from_dict({**SPACE, "learning_rate": rate, "layer_size": size})


def curve(
    rate: float, size: int, losses: Iterable[float], *, seconds: float = 1.0, fixed: float = 0.0
) -> Curve:
    """A curve of such losses, each of which took so many seconds."""
    found = tuple(losses)
    outcome = "complete" if found else "diverged"
    return Curve(config(rate, size), outcome, found, (seconds,) * len(found), fixed)


def line_of(curve: Curve, common: dict[str, Any]) -> str:
    """A curve as a line; fields that all configs share stand in the head alone."""
    fields = curve.config.to_dict().items()
    config = {k: v for k, v in fields if k not in common and UNSAID.get(k) != v}
    row = {
        "config": config,
        "outcome": curve.outcome,
        "losses": [round(loss, 5) for loss in curve.losses],
        "seconds": [round(second, 3) for second in curve.seconds],
        "fixed": round(curve.fixed, 3),
    }
    return json.dumps(row, separators=(",", ":"))


def write(file: Path, curves: Iterable[Curve], **head: Any) -> Path:
    """Write a recording; `head` are fields of its head that differ."""
    first = json.dumps({**HEAD, "common": COMMON, **head})
    file.write_text("\n".join([first, *(line_of(one, COMMON) for one in curves)]) + "\n", "utf-8")
    return file


#: losses that fall from 3 to 2.2, and from 3 to 1.4
SLOW, FAST = ([3 - slope * n for n in range(9)] for slope in (0.1, 0.2))
#: every config of the space; 0.01 and 32 units is best
FULL = [
    *(curve(rate, size, SLOW) for rate in (0.001, 0.01) for size in (16, 32) if rate < 0.01),
    curve(0.01, 16, SLOW),
    curve(0.01, 32, FAST),
    *(curve(0.1, size, [], fixed=1.0) for size in (16, 32)),
]
RULES = {**POLICIES, **VARIANTS}


def test_a_config_is_found_after_the_seconds_of_its_rounds(tmp_path: Path) -> None:
    file = write(tmp_path / "r.jsonl", [curve(0.01, 32, FAST, seconds=0.5, fixed=2.0)])
    assert Replay(file).sweep(PLAIN, slots=1) == (2.0 + 9 * 0.5, 1)


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_every_policy_finds_the_best_of_a_small_grid(rule: Plan, tmp_path: Path) -> None:
    replay = Replay(write(tmp_path / "r.jsonl", FULL))
    seconds, trials = replay.sweep(rule, slots=2)
    assert 9.0 <= seconds <= 9 * len(FULL)
    assert 1 <= trials <= len(FULL) + 3  # those of the ladder are tried again


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_only_recorded_configs_of_a_part_of_a_grid_are_tried(rule: Plan, tmp_path: Path) -> None:
    part = [curve(0.001, 32, SLOW), curve(0.01, 32, FAST), curve(0.1, 16, [], fixed=1.0)]
    replay = Replay(write(tmp_path / "r.jsonl", part))
    assert not replay.problem.admits(config(0.001, 16))
    assert 9.0 <= replay.sweep(rule, slots=2)[0] < math.inf


#: two ids: a coin after a pair of the same ids, else the second of the pair again
COIN = Chain(np.array([[[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]]]))


def test_the_entropy_is_that_of_the_pairs_as_often_as_they_occur() -> None:
    # each id comes at least twice in a row, so two of three pairs are of the same id
    assert COIN.pairs() == pytest.approx(np.array([[1 / 3, 1 / 6], [1 / 6, 1 / 3]]), abs=1e-12)
    assert COIN.entropy == pytest.approx(math.log(2) * 2 / 3)


def test_the_bound_lies_above_the_entropy_by_what_is_not_known_after_so_many_ids() -> None:
    chain, parts = data_of(0)
    assert {name: len(parts[name]) for name in SIZES} == SIZES
    # about half an id's worth for each of the probabilities that are learned
    most = IDS**2 * (IDS - 1) / 2 / SIZES["train"]
    assert 0.5 * most < chain.bound(parts["train"]) - chain.entropy < 1.2 * most
    assert chain.bound(parts["train"]) < chain.bound(parts["train"][:10_000])


def test_the_last_share_of_a_text_is_validation_data_and_all_before_it_training(
    tmp_path: Path,
) -> None:
    file = tmp_path / "text.txt"
    text = "".join(chr(97 + number % 7) for number in range(1_115))
    file.write_text(text, encoding="utf-8")
    corpus = load(Source(data=divided(file, 0.1, tmp_path)))
    # as nanoGPT has it: the first int(0.9 * characters)
    assert (len(corpus.train), len(corpus.validation)) == (1_003, 112)
    assert (corpus.validation.codes == corpus.alphabet.encode(text[1_003:])).all()
