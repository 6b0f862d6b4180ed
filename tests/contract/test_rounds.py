"""An epoch in parts: the same bits, whatever their number and whenever it is broken off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import scoring_targets

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
