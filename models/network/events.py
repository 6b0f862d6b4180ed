"""What a training reports while it runs, one value after the other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Part of an epoch has been trained."""

    epoch: int
    #: share of the epoch's steps, 0 to 1
    share: float
    #: mean training loss of the epoch so far, nats
    loss: float


@dataclass(frozen=True)
class Epoch:
    """An epoch has been trained and scored; its weights are on disk if they are the best so far."""

    number: int
    metrics: dict[str, float]
    #: whether it was read from a checkpoint and is not the last one in it
    repeated: bool = False


@dataclass(frozen=True)
class LastEpoch(Epoch):
    """The last epoch of a call of `fit` in a template."""


@dataclass(frozen=True)
class Diverged:
    """The loss is not finite, or far above ln(alphabet), that of guessing; no event follows."""

    epoch: int
    reason: str


@dataclass(frozen=True)
class Result:
    """The return value of a template; no event follows."""

    #: None if the template says that it failed
    loss: float | None
    reason: str = ""


#: of a network that this program builds
TrainingEvent = Progress | Epoch | Diverged
#: of a template
TemplateEvent = TrainingEvent | Result
