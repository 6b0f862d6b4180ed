"""Lines of JSON that tell the progress of a sweep; only the standard library is imported."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.texts.terminal import plain_json

#: fields of every line
COMMON = ("event", "time", "sweep")
#: further fields of each kind of line, in order
SCHEMA: Mapping[str, tuple[str, ...]] = {
    "message": ("text",),
    "started": ("run_id", "trials", "minutes", "slots"),
    "trial_started": ("trial", "run_id", "phase", "attempt", "rounds", "config"),
    "round": ("trial", "round", "rounds", "epoch", "metrics"),
    "trial_paused": ("trial", "reason"),
    "trial_resumed": ("trial",),
    "trial_ended": ("trial", "run_id", "outcome", "reason", "val_loss", "seconds"),
    "progress": (
        "trials_done", "trials", "running", "paused", "best", "seconds", "seconds_left",
    ),
    "ended": ("state", "why", "trials_done", "best", "seconds"),
}  # fmt: skip


def write_line(stream: TextIO, sweep: str | None, event: str, *values: Any) -> None:
    """Write a line with the fields of its kind."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = dict(zip(COMMON, (event, now, sweep), strict=True))
    line |= dict(zip(SCHEMA[event], values, strict=True))
    text = plain_json(json_text(line), stream.encoding)
    print(without_secrets(text), file=stream, flush=True)
