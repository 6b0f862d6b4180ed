"""An epoch in parts: the same bits, whatever their number and whenever it is broken off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.baselines import score_all
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus, load
from lstm_sweep.models.data.source import SPLITS, WORKFLOW, Source
from lstm_sweep.models.data.windows import Scoring, scoring_targets

CONFIG = TrialConfig(
    layers=2, layer_size=12, sequence_length=10, batch_size=16, learning_rate=0.01, dropout=0.3,
    stride=10, epochs=2,
)  # fmt: skip
#: what depends on the weights alone
SCORES = ("val_loss", "val_accuracy", "val_top5_accuracy")


pytestmark = pytest.mark.usefixtures("prepared")


def training_of(
    config: TrialConfig,
    corpus: Corpus,
    folder: Path,
    rounds_per_epoch: int,
    checkpoints: Any = None,
    steps: int | None = None,
) -> Any:
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import training

    backend.prepare(gpu=False, seed=3)
    folder.mkdir(exist_ok=True)
    return training.Training(
        config,
        corpus,
        scoring_targets(corpus.validation, 300, 0),
        3,
        folder / "m.keras",
        checkpoints,
        folder.parent / "graphs",
        rounds_per_epoch=rounds_per_epoch,
        steps=steps,
    ).events()


def rounds(events: Any) -> list[dict[str, float]]:
    from lstm_sweep.models.rounds import Round

    return [event.metrics for event in events if isinstance(event, Round)]


#: of networks and their training
KINDS: list[dict[str, str]] = [{}, {"direction": "bi"}, {"state": "carried"}]


def scores(metrics: dict[str, float]) -> list[float]:
    return [metrics[name] for name in SCORES]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_rounds_of_an_epoch_come_to_the_bits_of_the_epoch(
    corpus: Corpus, tmp_path: Path, kind: dict[str, str]
) -> None:
    config = CONFIG.evolve(**kind)
    whole = rounds(training_of(config, corpus, tmp_path / "whole", 1))
    parts = rounds(training_of(config, corpus, tmp_path / "parts", 4))
    assert (len(whole), len(parts)) == (2, 8)
    assert [scores(one) for one in parts[3::4]] == [scores(one) for one in whole]
    assert len({one["val_loss"] for one in parts}) == 8  # each round trains


def test_a_round_reports_the_epochs_and_symbols_that_were_trained(
    corpus: Corpus, tmp_path: Path
) -> None:
    found = rounds(training_of(CONFIG, corpus, tmp_path / "parts", 4))
    assert [one["epoch"] for one in found] == [number / 4 for number in range(1, 9)]
    seen = [one["symbols_seen"] for one in found]
    assert seen == sorted(set(seen))
    assert (seen[3], seen[7]) == (len(corpus.train), 2 * len(corpus.train))


@pytest.mark.parametrize(("rounds", "more"), [(3, 0), (2, 1)])
def test_a_checkpoint_is_not_taken_up_with_another_number_of_rounds_or_steps(
    corpus: Corpus, tmp_path: Path, rounds: int, more: int
) -> None:
    from lstm_sweep.models.network.checkpoint import CheckpointSettings
    from lstm_sweep.models.rounds import Round

    checkpoints, steps = CheckpointSettings(tmp_path / "c.npz", every_s=0), steps_of(corpus)
    list(training_of(CONFIG, corpus, tmp_path, 2, checkpoints, steps))
    events = training_of(CONFIG, corpus, tmp_path, rounds, checkpoints, steps + more)
    assert not any(event.repeated for event in events if isinstance(event, Round))


def test_a_few_high_losses_in_a_short_round_are_no_divergence(
    corpus: Corpus, tmp_path: Path
) -> None:
    from lstm_sweep.models.network.training import DIVERGED_STEPS
    from lstm_sweep.models.rounds import Diverged, Round

    config = CONFIG.evolve(optimizer="adam", learning_rate=100.0, batch_size=32)
    whole = list(training_of(config, corpus, tmp_path / "whole", 1))
    assert isinstance(whole[-1], Diverged)
    steps = len(corpus.train) // (config.sequence_length * config.batch_size)
    assert DIVERGED_STEPS < steps < 4 * DIVERGED_STEPS
    events = training_of(config, corpus, tmp_path / "parts", 4)
    ended = next(event for event in events if isinstance(event, Round | Diverged))
    assert isinstance(ended, Round)


# trainings that end after a number of steps -----------------------------------------------------


def steps_of(corpus: Corpus, epoch: int = 1) -> int:
    from lstm_sweep.models.data.streams import training_epoch

    return training_epoch(corpus.train, CONFIG, 3, epoch).steps


def test_a_training_that_ends_within_a_round_has_the_bits_of_its_steps(
    corpus: Corpus, tmp_path: Path
) -> None:
    from lstm_sweep.models.rounds import LastRound, Round

    whole = steps_of(corpus)
    taken = whole // 2
    each = training_of(CONFIG, corpus, tmp_path / "each", whole)  # a step a round
    expected = next(
        event.metrics for event in each if isinstance(event, Round) and event.number == taken
    )
    events = list(training_of(CONFIG, corpus, tmp_path / "cut", 1, steps=taken))
    assert isinstance(events[-1], LastRound)
    [cut] = rounds(events)
    assert scores(cut) == scores(expected)
    assert cut["epoch"] == taken / whole
    assert cut["symbols_seen"] == len(corpus.train) * taken // whole


def test_a_training_of_so_many_steps_that_is_broken_off_goes_on_with_the_same_bits(
    corpus: Corpus, tmp_path: Path
) -> None:
    from lstm_sweep.models.network.checkpoint import CheckpointSettings
    from lstm_sweep.models.rounds import LastRound, Round

    steps = steps_of(corpus) + 3
    expected = rounds(training_of(CONFIG, corpus, tmp_path / "whole", 2, steps=steps))
    assert len(expected) == 3
    folder = tmp_path / "broken"
    checkpoints = CheckpointSettings(folder / "checkpoint.npz", every_s=0)
    first = training_of(CONFIG, corpus, folder, 2, checkpoints, steps)
    for event in first:
        if isinstance(event, Round) and event.number == 2:
            break
    first.close()
    again = rounds(training_of(CONFIG, corpus, folder, 2, checkpoints, steps))
    assert [scores(one) for one in again] == [scores(one) for one in expected]
    # its last round is in the checkpoint now, so it trains nothing more
    events = list(training_of(CONFIG, corpus, folder, 2, checkpoints, steps))
    assert [type(event) for event in events] == [Round, Round, LastRound]
    assert [scores(one) for one in rounds(events)] == [scores(one) for one in expected]


# What changes no order of trials: unknown symbols, the order of sessions, other ids


SAME_CONFIG = TrialConfig(
    layers=1, layer_size=24, sequence_length=16, batch_size=32, learning_rate=0.01, epochs=3
)
#: trials that differ by far more than the chance of their targets
TRIALS = {
    "good": SAME_CONFIG,
    "carried": SAME_CONFIG.evolve(state="carried", learning_rate=0.003),
    "slow": SAME_CONFIG.evolve(learning_rate=0.0005),
    "unlearnt": SAME_CONFIG.evolve(learning_rate=0.000001),
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
