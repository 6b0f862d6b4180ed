"""What further seeds say of the best configs: means, spreads, and which cannot be told apart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.trial import Course

#: differences that chance makes at least this often are called none
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Confirmed:
    """A config that was trained again with further seeds.

    The first run is left out of mean and spread: it was chosen for its low loss, so it would make
    the config look better than it is.
    """

    first: Course
    #: best validation loss for each further seed, nats
    losses: tuple[float, ...]
    #: probability of so large a difference to the best by chance; None for the best itself, or if
    #: there are too few seeds
    p: float | None = None

    @property
    def mean(self) -> float:
        """Mean over the further seeds, nats."""
        return statistics.fmean(self.losses)

    @property
    def spread(self) -> float:
        """Standard deviation over the further seeds, nats; 0 for one seed."""
        return statistics.stdev(self.losses) if len(self.losses) > 1 else 0.0

    def __str__(self) -> str:
        seeds = f"{len(self.losses)} further seed{'s' if len(self.losses) > 1 else ''}"
        text = f"{self.first.trial.id}: {self.mean:.4f} +- {self.spread:.4f} over {seeds}"
        text += f", first run {self.first.ranked_loss or 0:.4f}"
        if self.p is None:
            return text
        told = "worse" if self.p < SIGNIFICANCE else "cannot be told apart from the best"
        return f"{text}; {told} (p = {self.p:.2g})"

    def to_dict(self) -> dict[str, Any]:
        """The config as `launch --json` prints it."""
        return {
            "trial": self.first.trial.id,
            "mean": self.mean,
            "spread": self.spread,
            "losses": list(self.losses),
            "p": self.p,
        }


def compare(found: Sequence[Confirmed]) -> list[Confirmed]:
    """Order by mean and compare each with the first by Welch's t test."""
    from scipy.stats import ttest_ind

    ordered = sorted(found, key=lambda confirmed: confirmed.mean)
    compared = ordered[:1]
    for other in ordered[1:]:
        p = None
        if min(len(other.losses), len(ordered[0].losses)) > 1:
            p = float(ttest_ind(other.losses, ordered[0].losses, equal_var=False).pvalue)
        compared.append(Confirmed(other.first, other.losses, p))
    return compared
