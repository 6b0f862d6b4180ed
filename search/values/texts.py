"""Times and losses as people read them; the command line imports it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lstm_sweep.models.rounds import epochs_text

if TYPE_CHECKING:
    from lstm_sweep.search.values.trial import Trial

#: wall time of a sweep that is given no limit
DEFAULT_MINUTES = 30.0
#: steps in which times that are only estimated are rounded, by the least seconds that have each
_STEPS = ((7_200, 900), (1_800, 300), (300, 60), (60, 15), (20, 5), (0, 1))


def duration(seconds: float | None) -> str:
    """A time for people: `42 s`, `3 min 05 s`, `2 h 10 min`; `?` if it is not known."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def budget_text(trials: int | None, minutes: float | None) -> str:
    """What a sweep may take at most: `40 trials`, `30 minutes`, `40 trials or 30 minutes`."""
    parts = []
    if trials is not None:
        parts.append(f"{trials:,} trials" if trials != 1 else "1 trial")
    if minutes is not None:
        parts.append(f"{minutes:g} minutes" if minutes != 1 else "1 minute")
    return " or ".join(parts)


def time_left_text(seconds: float | None) -> str:
    """An estimated time for people: `about 12 min left`."""
    return f"about {about(seconds)} left"


def about(seconds: float | None) -> str:
    """A time without more figures than an estimate has: `45 s`, `12 min`, `1 h 15 min`."""
    if seconds is None:
        return "?"
    step = next(step for least, step in _STEPS if seconds >= least)
    text = duration(step * round(seconds / step))
    return text.removesuffix(" 00 s").removesuffix(" 00 min")


def loss_text(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4f}"


def trained_text(progress: Trial) -> str:
    """The epochs that a trial is trained, of how many if that is known."""
    planned, rounds = progress.config.planned_epochs, progress.rounds_per_epoch
    share = progress.latest.share if progress.latest and not progress.ended else None
    done = (len(progress.rounds) + (share or 0.0)) / rounds
    trained = f"{done:.1f}" if share and rounds == 1 else epochs_text(done, rounds)
    return trained if planned is None else f"{trained}/{planned}"
