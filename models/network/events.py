"""What a training reports while it runs, one value after the other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Part of a round has been trained."""

    #: number of the round, from 1
    number: int
    #: share of the round's steps, 0 to 1
    share: float
    #: mean training loss of the round so far, nats
    loss: float


@dataclass(frozen=True)
class Round:
    """A round has been trained and scored; its weights are on disk if they are the best so far."""

    number: int
    metrics: dict[str, float]
    #: whether it was read from a checkpoint and is not the last one in it
    repeated: bool = False
    #: whether a checkpoint was written after it, from which the training can go on
    saved: bool = False


@dataclass(frozen=True)
class LastRound(Round):
    """The last round of a call of `fit` in a template, or of so many steps of a training."""


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
TrainingEvent = Progress | Round | Diverged
#: of a template
TemplateEvent = TrainingEvent | Result
