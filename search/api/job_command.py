"""The command of a job on a Ray head: its text for the shell there, and its variables."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines.ray_jobs import LOOPBACK
from lstm_sweep.search.process.signals import STOP_WITHIN
from lstm_sweep.search.store.settings import Settings

#: seconds that the driver has to close its runs after a stop; Ray's own 3 are too few
STOP_WITHIN_S = 60
#: what a tracking server's client logs in by
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
#: the variable that holds those of the store, as base64 of what a shell sets them by: in plain
#: values Ray would replace `$A`, and it would show passwords
EXPORTS = "LSTM_SWEEP_EXPORTS"
#: what the shell does first: it says so, sets these variables, and keeps the uploaded files where
#: `resume` finds them; the cache deletes them a week after the last job
BEGIN = (
    'echo "{begin}"; eval "$(echo "${exports}" | base64 -d)"; unset {exports}; '
    'kept="${{XDG_CACHE_HOME:-$HOME/.cache}}/lstm-sweep/uploads/{digest}"; '
    '[ -d "$kept" ] || (umask 077; mkdir -p "${{kept%/*}}" && cp -R . "$kept.$$" && '
    '{{ mv -T "$kept.$$" "$kept" || rm -r "$kept.$$"; }}); '
    'touch "${{kept%/*}}"; cd "$kept" && '
)


def begin_of(job: str) -> str:
    """The line that a command prints first, since Ray writes to its log before and after."""
    return f"{job} begins"


def command_of(words: Sequence[str], name: str, digest: str) -> str:
    """What the shell of a job runs; `digest` is that of its package.

    The driver is no child of the shell, which would end at SIGTERM. Of the job's settings it hands
    on only the name, so that actors get neither its variables, with a password, nor its files.
    """
    inherited = json.dumps({"metadata": {"job_submission_id": name}})
    program = ["env", f"RAY_JOB_CONFIG_JSON_ENV_VAR={inherited}", "lstm-sweep", *words]
    begin = BEGIN.format(begin=begin_of(name), exports=EXPORTS, digest=digest)
    return f"{begin}exec {shlex.join(program)}"


def environment_of(
    settings: Settings, head: str, columns: int, given: Mapping[str, str]
) -> dict[str, str]:
    """Variables of a job: where its runs go, and what it has time for.

    `columns` is the width of its lines, in characters; `given` are the variables of this process,
    of which it gets the login of the store.

    Raises:
        InputError: the cluster cannot reach the store.
    """
    expected = (
        "expected a tracking server, by its address as the cluster reaches it, in "
        "MLFLOW_TRACKING_URI or mlflow.yaml"
    )
    if not settings.is_server:
        raise InputError(f"the store is {settings}, which is not on the cluster: {expected}")
    server, there = (urlsplit(uri).hostname for uri in (settings.tracking_uri, head))
    if server in LOOPBACK and there not in LOOPBACK:
        raise InputError(f"the store is {settings}, which on {there} is another one: {expected}")
    of_store = {name: given[name] for name in LOGIN if given.get(name)}
    of_store[STOP_WITHIN] = str(STOP_WITHIN_S)
    of_store |= {"LSTM_SWEEP_SETTINGS": "mlflow.yaml", "MLFLOW_TRACKING_URI": settings.tracking_uri}
    return {
        "COLUMNS": str(columns),
        EXPORTS: exported(of_store),
        "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # prints a trace at SIGTERM
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WITHIN_S),
    }


def exported(environment: Mapping[str, str]) -> str:
    """What sets variables in a shell, as base64."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
    return base64.b64encode("".join(lines).encode()).decode()
