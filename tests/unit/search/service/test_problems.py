from __future__ import annotations

import json

import pytest

from lstm_sweep.models.errors import InputError, NoRoomError
from lstm_sweep.search.actions.references import (
    DifferentSearchError,
    QueueFullError,
    ServiceEndsError,
    SweepExistsError,
    SweepRunsError,
)
from lstm_sweep.search.service.answers import ProblemError, refusal
from lstm_sweep.search.store.faults import BadRunError, NoSuchRunError, StoreError


@pytest.mark.parametrize(
    "error, status, name",
    [
        (InputError("no"), 422, "input"),
        (NoSuchRunError("no"), 404, "not-found"),
        (SweepExistsError("no"), 409, "sweep-exists"),
        (SweepRunsError("no"), 409, "sweep-runs"),
        (DifferentSearchError("no"), 409, "different-search"),
        (BadRunError("no"), 409, "unreadable-run"),
        (QueueFullError("no"), 429, "queue-full"),
        (ServiceEndsError("no"), 503, "ending"),
        (StoreError("no"), 503, "store"),
        (NoRoomError("no"), 507, "disk"),
        (ProblemError(507, "no"), 507, "disk"),
    ],
)
def test_each_error_has_a_status(error: Exception, status: int, name: str) -> None:
    answer = refusal(error).response()
    found = json.loads(bytes(answer.body))
    assert (answer.status_code, answer.media_type) == (status, "application/problem+json")
    assert found["type"] == f"urn:lstm-sweep:problem:{name}"
    assert (found["status"], found["detail"]) == (status, "no")
    assert ("retry-after" in answer.headers) is (status in (429, 503))


def test_the_sentence_is_that_of_the_command_line_without_secrets() -> None:
    error = InputError("--size-rule is 'x', see https://me:hunter2@host/\x1b[31m")
    found = json.loads(bytes(refusal(error).response().body))
    assert found["detail"] == "--size-rule is 'x', see https://me:***@host/\\x1b[31m"
