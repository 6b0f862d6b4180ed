"""The search as a whole on a log of known entropy: ladder, halving, confirmation, evidence."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.baselines import score_all
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import WORKFLOW, Source
from lstm_sweep.models.data.windows import Scoring
from tests.cases import Place, Swept

#: the sweep is longer than the other tests
pytestmark = [pytest.mark.timeout(900), pytest.mark.full]

TARGETS = 2_000
ENTROPY = WORKFLOW.entropy(ends=True)


@pytest.fixture(scope="module")
def searched(workplace: Callable[[str], Path]) -> Swept:
    """A sweep over learning rates, sizes, lengths and batch sizes."""
    folder = workplace("searched")
    settings = (
        "direction=uni", "learning_rate=1,0.1,0.01,0.001", "dropout=0,0.8", "layers=1",
        "layer_size=48,64", "sequence_length=20,30", "batch_size=32", "epochs=6",
    )  # fmt: skip
    given = [part for setting in settings for part in ("--set", setting)]
    budget = ("--trials", "12", "--targets", str(TARGETS), "--seed", "1")
    arguments = ("launch", "--data", "workflow-log", "--name", "w", "--json")
    place = Place(folder)
    return Swept(place, place.run(*arguments, *budget, *given))


@pytest.fixture(scope="module")
def rows(searched: Swept) -> list[dict[str, Any]]:
    """All trials as `trials --json` lists them."""
    found: list[dict[str, Any]] = searched.place.run("trials", "w", "--json").json
    return found


def known_surprise(session: Sequence[str | int]) -> list[float]:
    """Nats of each symbol of a job for someone who knows the process, which shows all its draws."""
    actions = {10 + a: -math.log(p) for a, p in enumerate(WORKFLOW.action_probabilities)}
    decisions = {WORKFLOW.HEARTBEAT: WORKFLOW.heartbeat, WORKFLOW.ERROR: WORKFLOW.error}
    acknowledged = -math.log(1 - WORKFLOW.heartbeat - WORKFLOW.error)
    found, waits_for = [math.log(WORKFLOW.kinds)], None
    for event in session[1:]:
        if event in actions:
            found.append(actions[event])
            waits_for = 30 + event - 10
        elif event in decisions:
            found.append(-math.log(decisions[event]))
        elif event == waits_for:
            found.append(acknowledged)
        else:  # a retry, the last event, the end
            found.append(0.0)
    return found


def test_the_best_trial_is_never_below_one_who_knows_the_process(searched: Swept) -> None:
    assert searched.done.code == 0, searched.done.err
    corpus = load(Source(data="workflow-log"))
    split = corpus.validation
    symbols = corpus.alphabet.decode(split.codes)
    lasts = [*split.starts[1:], len(split)]
    jobs = [symbols[first:last] for first, last in zip(split.starts, lasts, strict=True)]
    known = np.array([nats for job in jobs for nats in known_surprise(job)])
    assert known.mean() == pytest.approx(ENTROPY, rel=0.01)
    targets = Scoring(TARGETS, seed=0).drawn(split)
    scored = {one.name: one.metrics["loss"] for one in score_all(corpus, targets)}
    assert searched.done.json["baselines"] == pytest.approx(scored), "the same targets for all"
    loss = searched.done.json["best"]["val_loss"]
    assert known[targets].mean() - 0.002 < loss < 1.05 * ENTROPY
    assert all(baseline > loss for baseline in scored.values())


def test_trials_that_fall_behind_are_pruned_and_say_why(
    searched: Swept, rows: list[dict[str, Any]]
) -> None:
    pruned = [row for row in rows if row["outcome"] == "pruned" and row["phase"] == "search"]
    assert pruned
    assert all(row["status"] == "FINISHED" and row["epochs"] < 6 for row in pruned)
    said = searched.place.run("show", pruned[0]["trial"]).out
    assert re.search(
        rf"waited at epoch {pruned[0]['epochs']}: loss [0-9.]+, number \d+ of \d+", said
    )


def test_a_pruned_trial_runs_again_to_the_same_epoch_and_bits(
    searched: Swept, rows: list[dict[str, Any]]
) -> None:
    pruned = next(row for row in rows if row["outcome"] == "pruned" and row["phase"] == "search")
    again = searched.place.run("rerun", pruned["trial"], "--json").json
    assert (again["verdict"], again["outcome"]) == ("identical", "pruned")
    assert again["epochs_compared"] == pruned["epochs"]


def test_mean_and_spread_of_the_best_configs_are_reported(searched: Swept) -> None:
    confirmed = searched.done.json["confirmed"]
    assert confirmed and all(len(one["losses"]) >= 1 for one in confirmed)
    assert confirmed[0]["verdict"] == "the best"
    assert "the best" not in [one["verdict"] for one in confirmed[1:]]


def test_the_evidence_is_kept_with_the_run(searched: Swept) -> None:
    names = {
        path.name for path in (searched.place.folder / "mlartifacts").rglob("*") if path.is_file()
    }
    assert {"evidence.json", "report.html"} <= names
    found = _evidence(searched)
    assert found["importance"] is None  # there are too few trials to say
    best = searched.done.json["best"]["val_loss"]
    assert found["time"] == searched.done.json["time"]
    assert all(found["time"][name] > 0 for name in ("ladder", "cut_short", "confirmation"))
    assert found["best_over_time"][-1]["val_loss"] == pytest.approx(best, rel=1e-9)
    judged = found["verdicts"]
    assert judged["trial"] == searched.done.json["best"]["trial"]
    assert judged["calibrating"] > 200 and judged["normal"] > 200
    share = judged["false_alarms"]["verdict"][-1] / judged["normal"]
    assert 0 < share < judged["highest"][-1] + 0.05


def _evidence(searched: Swept) -> dict[str, Any]:
    [file] = (searched.place.folder / "mlartifacts").rglob("evidence.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
