"""Where the files of runs are stored, and whether this machine can access them.

With a database, they are in a folder or a bucket. Runs that were created through a tracking server
have addresses of the form `mlflow-artifacts:/`, which only the server resolves: clients send it the
files and need no access to its storage.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.store.address import missing
from lstm_sweep.search.store.faults import reason
from lstm_sweep.search.store.settings import Settings

#: scheme of addresses that only a tracking server resolves
PROXIED = "mlflow-artifacts"
#: characters of the column for the place of a run's files in MLflow's tables
LONGEST = 200
#: what MLflow appends to the place of an experiment for each run
OF_A_RUN = f"/{'0' * 32}/artifacts"


def folder_of(location: str) -> Path | None:
    """The folder that an address of files names; None if it names no local folder."""
    place = urlsplit(location)
    return Path(unquote(place.path)) if place.scheme in ("", "file") else None


def is_proxied(location: str) -> bool:
    """Whether only a tracking server can resolve an address of files."""
    return urlsplit(location).scheme == PROXIED


def is_on_server(location: str) -> bool:
    """Whether files lie on a server that MLflow would send the password of a tracking server."""
    return urlsplit(location).scheme in ("http", "https", PROXIED)


def is_own(location: str, settings: Settings) -> bool:
    """Whether a place of files that a store names is accepted, where it could lead elsewhere.

    It is if the server itself stores them, or if it is within `artifacts` of the settings.
    """
    place = urlsplit(location)
    if place.scheme == PROXIED:
        return not place.netloc
    chosen = settings.artifacts
    leads_out = ".." in unquote(place.path).split("/")
    return (
        chosen is not None
        and not leads_out
        and (location + "/").startswith(chosen.rstrip("/") + "/")
    )


def of_run(location: str, run_id: str) -> str:
    """Where MLflow stores the files of a run of an experiment with its files at `location`."""
    return _within(location, f"{run_id}/artifacts")


def of_model(location: str, model_id: str) -> str:
    """Where MLflow stores the files of a logged model of such an experiment."""
    return _within(location, f"models/{model_id}/artifacts")


def _within(location: str, folder: str) -> str:
    place = urlsplit(location)
    path = f"{place.path.rstrip('/')}/{folder}"
    return place._replace(path=path).geturl() if place.scheme else path


def out_of_reach(location: str, settings: Settings) -> str:
    """Why files at `location` cannot be accessed with these settings; "" if they can."""
    if is_proxied(location) and not settings.is_server:
        return (
            "a tracking server keeps its files: expected the address of that server in "
            "place of the database's, or another `experiment` in mlflow.yaml"
        )
    why = lacking(location)
    return why and f"its files are at {location}, and {why}"


def elsewhere(location: str) -> str:
    """The message for a server whose experiment has its files in a place that is not accepted."""
    return (
        f"its files are at {shown(location)}, a place that your settings do not name: use another "
        f"`experiment`, or set `artifacts` to it or a folder above it if you trust it"
    )


def lacking(location: str) -> str:
    """Which package is missing to access files there, and how to install it; else ""."""
    return missing("boto3") if urlsplit(location).scheme == "s3" else ""


def too_long(location: str, settings: Settings) -> str:
    """Why a place is too long for the tables of a database; "" if it is not."""
    if settings.is_server or settings.database_file is not None:
        return ""
    most = LONGEST - len(OF_A_RUN)
    if len(location) <= most:
        return ""
    return (
        f"artifacts is {location} with {len(location)} characters, expected at most {most}, "
        f"for the database holds no more"
    )


def not_writable(location: str) -> str:
    """Why a folder of files cannot be written; "" if it can, or `location` is no folder."""
    folder = folder_of(location)
    if folder is None:
        return ""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        return f"{there} is a file, expected a folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"no permission to write to {there}, expected a folder that can be written"
    return ""


def check_place(location: str) -> None:
    """Check that files can be written at a place that this machine accesses directly.

    Nothing is written there.

    Raises:
        InputError: a package is missing, a folder is not writable, or a bucket does not answer.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if why := lacking(location) or not_writable(location):
        raise InputError(f"artifacts {location}: {why}")
    if folder_of(location) is not None:
        return
    try:
        get_artifact_repository(location).list_artifacts()
    except Exception as error:
        raise InputError(
            f"artifacts {location}: {reason(error)}; expected a place that answers, and what it "
            f"takes to log in there in the environment, such as AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY"
        ) from None
