"""What changes no order of trials: unknown symbols, the order of sessions, other ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from lstm_sweep.models.baselines import score_all
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus, load
from lstm_sweep.models.data.source import SPLITS, WORKFLOW, Source
from lstm_sweep.models.data.windows import Scoring

pytestmark = pytest.mark.usefixtures("prepared")

CONFIG = TrialConfig(
    layers=1, layer_size=24, sequence_length=16, batch_size=32, learning_rate=0.01, epochs=3
)
#: trials that differ by far more than the chance of their targets
TRIALS = {
    "good": CONFIG,
    "carried": CONFIG.evolve(state="carried", learning_rate=0.003),
    "slow": CONFIG.evolve(learning_rate=0.0005),
    "unlearnt": CONFIG.evolve(learning_rate=0.000001),
}
SOME, ALL = Scoring(300, 0, adjacent=8), Scoring(10**6, 0)
#: trials whose losses stay the same: those whose windows are read whole, and in streams
SAME = ("good", "carried")
#: an id that no training data have
UNKNOWN_ID = 999

Session = list[int]
Log = Mapping[str, Sequence[Session]]


@pytest.fixture(scope="module")
def log() -> Log:
    """Sessions of each split."""
    sizes = dict(zip(SPLITS, (6_000, 1_500, 600), strict=True))
    return {
        split: [[int(one) for one in session] for session in WORKFLOW.sessions(size, seed)]
        for seed, (split, size) in enumerate(sizes.items())
    }


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[str, float]]]:
    """Trains and scores trials and baselines on a log; gives the loss of each."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import training
    from lstm_sweep.models.rounds import Round

    home = tmp_path_factory.mktemp("order")

    def loss(name: str, corpus: Corpus, scoring: Scoring) -> float:
        backend.prepare(gpu=False, seed=3)
        targets = scoring.drawn(corpus.validation)
        events = training.Training(
            TRIALS[name], corpus, targets, 3, home / "m.keras", None, home,
            share_windows=scoring.share_windows,
        ).events()  # fmt: skip
        return min(event.metrics["val_loss"] for event in events if isinstance(event, Round))

    def of(
        log: Log, scoring: Scoring, trials: Iterable[str] = TRIALS, *, ends: bool = False
    ) -> dict[str, float]:
        corpus = load(Source(data=str(written(log, home / "data")), symbols="ids", ends=ends))
        found = {name: loss(name, corpus, scoring) for name in trials}
        scores = score_all(corpus, scoring.drawn(corpus.validation))
        return found | {one.name: one.metrics["loss"] for one in scores}

    yield of


def written(log: Log, folder: Path) -> Path:
    """The log as a folder of splits, a session a line."""
    for split, sessions in log.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        lines = (" ".join(map(str, session)) for session in sessions)
        (folder / split / "log").write_text("\n".join(lines))
    return folder


def order(losses: Mapping[str, float]) -> list[str]:
    """Trials, the best first."""
    return sorted(TRIALS, key=losses.__getitem__)


@pytest.fixture(scope="module")
def before(log: Log, losses: Callable[..., dict[str, float]]) -> dict[str, float]:
    """The losses on the log as it is."""
    found = losses(log, SOME)
    assert len({round(found[name], 2) for name in TRIALS}) == len(TRIALS)  # far apart
    return found


def test_sessions_of_unknown_symbols_change_no_loss(
    log: Log, losses: Callable[..., dict[str, float]], before: dict[str, float]
) -> None:
    validation = list(log["validation"])
    for place in (0, len(validation) // 2, len(validation) + 2):
        validation.insert(place, [UNKNOWN_ID] * 20)
    found = losses({**log, "validation": validation}, SOME, SAME)
    assert found == {name: before[name] for name in found}


@pytest.mark.full
def test_unknown_symbols_within_sessions_change_no_order(
    log: Log, losses: Callable[..., dict[str, float]], before: dict[str, float]
) -> None:
    rng = np.random.default_rng(1)
    changed = [
        [one if rng.random() >= 0.1 else UNKNOWN_ID for one in session]
        for session in log["validation"]
    ]
    found = losses({**log, "validation": changed}, SOME, ends=True)
    assert order(found) == order(before)
    # nothing of a loss is what a network gives to a symbol that it has never seen
    assert found["unigram"] == pytest.approx(before["unigram"], rel=0.1)


def test_other_names_of_the_same_rank_change_no_bit(
    log: Log, losses: Callable[..., dict[str, float]], before: dict[str, float]
) -> None:
    found = losses(renamed(log, lambda one: 7 + one * one), SOME, SAME)
    assert found == {name: before[name] for name in found}


def renamed(log: Log, name: Callable[[int], int]) -> Log:
    """The same log with other ids."""
    return {
        split: [[name(one) for one in session] for session in sessions]
        for split, sessions in log.items()
    }
