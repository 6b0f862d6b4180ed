from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lstm_sweep.models.data.source import SAMPLES, WORKFLOW, Workflow


def surprises(process: Workflow, session: list[int]) -> list[float]:
    """Negative log-probability of each event given its past, from the documented process."""
    decide = {50: process.heartbeat, 60: process.error}
    nats = [math.log(process.kinds)]
    assert 0 <= session[0] < process.kinds
    action, done = None, 0
    for before, event in itertools.pairwise(session):
        if before == 60:
            # an error is followed by a retry
            probability = 1.0 if event == 61 else 0.0
        elif action is not None:
            # a round is under way
            acknowledge = 1 - process.heartbeat - process.error
            choices = decide | {action + 20: acknowledge}
            probability = choices.get(event, 0.0)
            if event == action + 20:
                action, done = None, done + 1
        elif done == process.rounds:
            probability = 1.0 if event == 90 + session[0] else 0.0
            done += 1
        else:
            actions = dict(enumerate(process.action_probabilities, start=10))
            probability = actions.get(event, 0.0)
            action = event
        assert probability > 0, f"{event} cannot follow {before}"
        nats.append(-math.log(probability))
    assert done == process.rounds + 1
    return nats


@pytest.mark.parametrize(
    ("process", "events"),
    [
        (WORKFLOW, 250_000),
        # every number differs from those of the sample
        (Workflow(3, 2, (0.7, 0.2, 0.1), 0.1, 0.3), 60_000),
    ],
)
def test_the_entropy_of_the_workflow_is_the_mean_surprise_of_its_events(
    process: Workflow, events: int
) -> None:
    sessions = [surprises(process, s.tolist()) for s in process.sessions(events, seed=11)]
    sums, lengths = np.array([[sum(nats), len(nats)] for nats in sessions]).T
    assert lengths.sum() >= events
    for ends in (False, True):
        sizes = lengths + ends  # an end follows the last event alone, so it has no surprise
        mean = sums.sum() / sizes.sum()
        # of a ratio of means over independent sessions
        error = (sums - mean * sizes).std() / sizes.mean() / math.sqrt(len(sizes))
        assert error < 0.005 * mean
        assert abs(mean - process.entropy(ends=ends)) < 3 * error


def test_the_about_line_of_the_sample_gives_its_entropy() -> None:
    about = SAMPLES["workflow-log"].about
    assert f"{WORKFLOW.entropy(ends=True):.4f} nats per symbol, ends of jobs included" in about
    assert f"({WORKFLOW.entropy(ends=False):.4f} per event without them)" in about
