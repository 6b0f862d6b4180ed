"""`LossMeter`: the mean training loss of a round so far, and whether it has diverged."""

from __future__ import annotations

import math

#: a trial has diverged if its loss is above this multiple of the loss of a uniform prediction
DIVERGED_AT = 2.0
#: training steps over which the loss is averaged for that comparison
DIVERGED_STEPS = 10


class LossMeter:
    """Mean training loss of a round so far; detects divergence.

    `verdict` is empty until a loss is not finite or the mean of the last `DIVERGED_STEPS` losses is
    above `limit`; then it says which.
    """

    def __init__(self, limit: float) -> None:
        self.steps = 0
        self.verdict = ""
        self._limit = limit
        self._sum = 0.0
        self._weight = 0.0
        self._recent: list[float] = []

    @property
    def mean(self) -> float:
        """Mean training loss, nats."""
        return self._sum / max(self._weight, 1.0)

    def add(self, loss: float, weight: float) -> None:
        """Add the mean loss of a step, in nats, over `weight` targets."""
        self.steps += 1
        self._sum += loss * weight
        self._weight += weight
        self._recent = [*self._recent[1 - DIVERGED_STEPS :], loss]
        recent = sum(self._recent) / len(self._recent)
        enough = len(self._recent) == DIVERGED_STEPS
        if not math.isfinite(loss) or (enough and recent > self._limit):
            self.verdict = f"step {self.steps}: {excess('training', recent, self._limit)}"


def excess(kind: str, loss: float, limit: float) -> str:
    """Describe a loss that is not finite or above the limit."""
    if not math.isfinite(loss):
        return f"the {kind} loss is {loss}"
    uniform = limit / DIVERGED_AT  # ln(alphabet)
    times = f"{DIVERGED_AT:g} times that of a uniform prediction"
    return f"the {kind} loss of {loss:.4g} is over {times} ({uniform:.3g})"
