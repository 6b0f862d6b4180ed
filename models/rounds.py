"""Rounds of a training, and what it reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class RoundPart:
    """Which part of the training a round is."""

    #: number of the epoch, from 1
    epoch: int
    #: steps of the epoch from `begin` up to and without `end`
    begin: int
    end: int

    def up_to(self, steps: int) -> RoundPart:
        """The part of it that lies within the first `steps` steps of the epoch."""
        return replace(self, end=min(self.end, max(self.begin, steps)))


def epoch_of(number: int, rounds_per_epoch: int) -> int:
    """Number of the epoch, from 1, that round `number` is a part of."""
    return (number - 1) // rounds_per_epoch + 1


def part_of_epoch(number: int, rounds_per_epoch: int, steps: int) -> RoundPart:
    """The part of an epoch of `steps` steps that round `number` trains.

    Parts are as equal as can be. If there are more rounds than steps, some parts are empty.
    """
    place = (number - 1) % rounds_per_epoch
    return RoundPart(
        epoch_of(number, rounds_per_epoch),
        steps * place // rounds_per_epoch,
        steps * (place + 1) // rounds_per_epoch,
    )


def epochs_after(number: int, rounds_per_epoch: int) -> float:
    """Epochs that are trained after round `number`: a whole number if rounds are epochs."""
    return number if rounds_per_epoch == 1 else number / rounds_per_epoch


def epochs_text(epochs: float, rounds_per_epoch: int) -> str:
    """Epochs for people: `3`, or with more rounds as many places as tell them apart: `0.25`."""
    if rounds_per_epoch == 1:
        return f"{epochs:.0f}"
    return f"{epochs:.{max(2, len(str(rounds_per_epoch)))}f}".rstrip("0").rstrip(".")


def epoch_text(number: int, rounds_per_epoch: int) -> str:
    """Epochs that are trained after round `number`, for people."""
    return epochs_text(epochs_after(number, rounds_per_epoch), rounds_per_epoch)


@dataclass(frozen=True)
class Progressed:
    """Part of a round has been trained."""

    #: number of the round, from 1
    number: int
    #: share of the round's steps, 0 to 1
    share: float
    #: mean training loss of the round so far, nats
    loss: float


@dataclass(frozen=True)
class RoundDone:
    """A round has been trained and scored; its weights are on disk if they are the best so far."""

    number: int
    metrics: dict[str, float]
    #: whether it was read from a checkpoint and is not the last one in it
    repeated: bool = False
    #: whether none follows, as far as is known: it ends a call of `fit` in a template, or all steps
    #: have been taken
    last: bool = False
    #: whether a checkpoint was written after it, from which the training can go on
    saved: bool = False


@dataclass(frozen=True)
class Diverged:
    """The loss is not finite, or far above that of a uniform prediction; no event follows."""

    reason: str


@dataclass(frozen=True)
class Result:
    """The return value of a template; no event follows."""

    #: None if the template says that it failed
    loss: float | None
    reason: str = ""


#: of a network that this program builds
TrainingEvent = Progressed | RoundDone | Diverged
#: of a template
TemplateEvent = TrainingEvent | Result
