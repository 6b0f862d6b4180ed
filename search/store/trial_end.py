"""What is logged of a trial: its rounds, and how it has ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.progress import TrialProgress, comparable
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import TAG_LENGTH
from lstm_sweep.search.trial import Ended

#: values of each round in the tag `Tag.CURVE`, from which a sweep is resumed
CURVE = ("val_loss", "round_seconds")
#: reason of a trial whose driver was killed, for people
DRIVER_DIED = "the program that drove the sweep died"
#: characters of the longest reason
LONGEST_REASON = 500
#: bytes of a trial's output that are kept
LONGEST_LOG = 1 << 24


def written_reason(ended: Ended) -> str:
    """Why a trial has ended, without secrets and cut to `LONGEST_REASON`."""
    return without_secrets(ended.reason)[:LONGEST_REASON]


def end_tags(progress: TrialProgress, ended: Ended) -> dict[str, str]:
    """How a trial has ended, and its rounds, from which a sweep is resumed."""
    tags = {Tag.OUTCOME: str(ended.outcome), Tag.REASON: written_reason(ended)}
    if ended.unfinished:
        tags[Tag.UNFINISHED] = "yes"
    if progress.waited:
        tags[Tag.SECONDS] = f"{progress.seconds:.3f}"
        if not ended.unfinished:
            tags[Tag.PAUSED] = ""
    curve = json_text([[one.get(name) for name in CURVE] for one in progress.rounds])
    if len(curve) <= TAG_LENGTH:
        tags[Tag.CURVE] = curve
    scoring = [one.get("scoring_seconds") for one in progress.rounds]
    measured = [None if seconds is None else round(seconds, 3) for seconds in scoring]
    if any(scoring) and len(text := json_text(measured)) <= TAG_LENGTH:
        tags[Tag.SCORING_SECONDS] = text
    return {str(name): text for name, text in tags.items()}


def lost_with_driver(ended: Ended) -> dict[str, str]:
    """The tags of an attempt that its driver has left open, and that ended so."""
    tags = {Tag.OUTCOME: str(ended.outcome), Tag.REASON: ended.reason}
    return tags | dict.fromkeys((Tag.UNFINISHED, Tag.DRIVER_DIED), "yes")


def was_lost_with_driver(tags: Mapping[str, str]) -> bool:
    """Whether an attempt with these tags ended with its driver."""
    return tags.get(Tag.DRIVER_DIED) == "yes"


def end_of(log: Path) -> str:
    """The last `LONGEST_LOG` bytes of a trial's output, without secrets."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_LOG))
        return without_secrets(file.read().decode("utf-8", "replace"))


def round_metrics(progress: TrialProgress) -> dict[str, float]:
    """Metrics of the last round of a trial, with the best ones so far."""
    trial = progress.trial
    done = float(trial.epochs_after(len(progress.rounds)))
    found = progress.rounds[-1] | {"epochs_done": done}
    if progress.best_round is not None:
        found["best_epoch"] = float(trial.epochs_after(progress.best_round))
    if progress.best_loss is not None:
        found["best_val_loss"] = progress.best_loss
    in_bits = progress.trial.objective.bits_per_symbol(progress.best_loss)
    if in_bits is not None:
        found["bits_per_symbol"] = in_bits
    return found


def result(progress: TrialProgress) -> dict[str, float] | None:
    """The loss that a trial has returned, as a metric; None without a finite loss."""
    loss = comparable(progress.ended.loss) if progress.ended else None
    return None if loss is None else {"best_val_loss": loss}
