"""`TrialRecord`: a run of a trial as it was read back from the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.trial import RESULTS, Trial


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A run of a trial as it was read back from the store."""

    trial: Trial
    run_id: str
    status: str
    outcome: str
    reason: str
    parameters: int
    best_val_loss: float | None
    #: epochs after which its loss was lowest, and that were trained; whole if rounds are epochs
    best_epoch: float | None
    epochs: float
    has_weights: bool
    tags: Tags
    #: run that this one repeats; empty if it is none
    rerun_of: str = ""
    #: metrics of its rounds that depend on the trial alone, not on the machine's speed
    results: tuple[str, ...] = RESULTS
    #: whether it has ended with its sweep, and waits to go on as the sweep does
    waits: bool = False

    @property
    def state(self) -> str:
        """Its outcome, or `running` or `paused` if it goes on."""
        if self.waits or (not self.outcome and self.status == "SCHEDULED"):
            return "paused"
        return self.outcome or self.status.lower()

    def to_dict(self) -> dict[str, Any]:
        """The trial as `trials --json` prints it."""
        return {
            "trial": self.trial.id,
            "run_id": self.run_id,
            "status": self.status,
            "outcome": None if self.waits else self.outcome or None,
            "phase": str(self.trial.phase),
            "attempt": self.trial.attempt,
            "val_loss": self.best_val_loss,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "rounds_per_epoch": self.trial.rounds_per_epoch,
            "parameters": self.parameters,
            "seed": self.trial.seed,
            "config": self.trial.config.to_dict(),
        }
