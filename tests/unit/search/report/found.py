"""Findings of made-up sweeps."""

from __future__ import annotations

from typing import Any

from lstm_sweep.models.config import LIMITS
from lstm_sweep.search.policy.confirmation import Confirmed
from lstm_sweep.search.report.charts import Axis, Value
from lstm_sweep.search.report.findings import Findings, TrialFinding

NATS = "validation loss (nats per symbol)"
AXES = (
    Axis("layers", 1, 3, is_whole=True, marks=(1, 2, 3)),
    Axis("learning_rate", 0.001, 0.1, log=True),
    Axis("layer_size", 32, 128, log=True, is_whole=True),
    Axis("direction", words=("uni", "bi")),
)


def trial(number: int, loss: float | None, **more: Any) -> TrialFinding:
    """A trial of sweep `s` that has come to its end after three epochs."""
    config: dict[str, Value] = {"layers": 2, "learning_rate": 0.01 + number / 1e4, "layer_size": 64}
    config |= {"direction": "uni", **more.pop("config", {})}
    given: dict[str, Any] = {
        "id": f"s/{number}",
        "number": number,
        "phase": "search",
        "outcome": "complete",
        "loss": loss,
        "config": config,
        "label": "uni 2x64",
        "parameters": 50_000 + number,
        "curve": () if loss is None else ((1, loss + 1), (2, loss + 0.2), (3, loss + 0.1)),
        "best_epoch": 2,
        "epochs": 3,
        "planned_epochs": 3,
        "seconds": 10.0,
    }
    return TrialFinding(**(given | more))


def findings(*trials: TrialFinding, **more: Any) -> Findings:
    """A finished sweep over a corpus with these trials, each of which has ended after 10 s."""
    gains = list[tuple[float, float]]()
    for one in trials:
        if one.ranks and one.loss is not None and all(one.loss < loss for _, loss in gains):
            gains.append((10.0 * (one.number + 1), one.loss))
    given: dict[str, Any] = {
        "sweep": "s",
        "run_id": "0" * 32,
        "state": "finished",
        "why": "the budget is spent",
        "loss_name": NATS,
        "in_nats": True,
        "round_name": more.get("loss_name", NATS),
        "limits": LIMITS,
        "takes_epochs": True,
        "attempts": trials,
        "baselines": {"unigram": 3.0, "naive_bayes": 2.0},
        "axes": AXES,
        "rate": "learning_rate",
        "seconds": 600.0,
        "training_symbols": 100_000,
        "size_rule": (0.1, 10.0),
        "trials_wanted": 50,
        "gains": tuple(gains),
        "time": {"ladder": 10.0, "the best trial": 20.0, "idle": 0.0},
    }
    return Findings(**(given | more))


def confirmation(number: int, mean: float, p: float | None, **more: Any) -> Confirmed:
    """A config of sweep `s` that was trained again with three seeds; without `p` it is the best."""
    given: dict[str, Any] = {"losses": (mean - 0.1, mean, mean + 0.1), "is_best": p is None}
    return Confirmed(f"s/{number}", mean, **(given | {"p": p, "above": 0.1} | more))
