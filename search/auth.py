"""Users of the MLflow server that `ui` starts, by MLflow's own app `basic-auth`."""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.util
import os
import secrets
import urllib.request
from collections.abc import Mapping
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from models.errors import InputError
from search.settings import Settings

#: MLflow's variables: name and password of the admin, key of the forms, file of the app's settings
ADMIN, PASSWORD = "MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD"
KEY, CONFIG = "MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_AUTH_CONFIG_PATH"
#: characters of a password, at least, and the one that earlier versions of MLflow had for all
SHORTEST, WELL_KNOWN = 12, "password1234"
#: seconds for which a password counts as checked, which takes longer than most requests; the one
#: process of the server forgets it as soon as it is changed there
REMEMBERED_S = 60
APP = "basic-auth"
#: a page that only users may see
PAGE = "/api/2.0/mlflow/experiments/search?max_results=1"
#: asks a server of this machine, whatever proxy the environment names
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def check(environment: Mapping[str, str]) -> None:
    """Refuse to start without what the app needs.

    Raises:
        InputError: a package or the admin's password is missing, or everybody can guess it.
    """
    if importlib.util.find_spec("flask_wtf") is None:
        raise InputError("auth: basic needs Flask-WTF, expected: pip install lstm-sweep[auth]")
    password = environment.get(PASSWORD, "")
    expected = f"expected the admin's password, at least {SHORTEST} characters"
    if not password:
        raise InputError(f"auth: basic: {PASSWORD} is not set, {expected}")
    if len(password) < SHORTEST:
        raise InputError(f"auth: basic: {PASSWORD} has {len(password)} characters, {expected}")
    if password == WELL_KNOWN:
        raise InputError(f"auth: basic: {PASSWORD} is one that everybody knows, {expected}")


def admin(environment: Mapping[str, str]) -> str:
    """Name of the admin."""
    return environment.get(ADMIN) or "admin"


def users_file(settings: Settings) -> Path | None:
    """Where names and hashes of passwords lie beside an SQLite store; None: in its own database."""
    file = settings.database_file
    return file and file.with_name(f"{file.stem}-users.db")


def prepare(settings: Settings, folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Make ready what the app reads; return the variables that its server needs.

    `folder` is the user's alone, and is there as long as the server. No secret of the app is
    written: the password stays in the environment, and a key that is not given is made for this
    one start.
    """
    file, users = users_file(settings), settings.mlflow_uri
    if file is not None:
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        file.chmod(0o600)
        users = f"sqlite:///{file}"
    config = folder / "auth.ini"
    config.touch(mode=0o600)
    config.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = {users.replace('%', '%%')}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        f"auth_cache_ttl_seconds = {REMEMBERED_S}\n",
        encoding="utf-8",
    )
    key = environment.get(KEY) or secrets.token_hex(32)
    return {CONFIG: str(config), KEY: key, ADMIN: admin(environment)}


def check_server(address: str, environment: Mapping[str, str], known: tuple[str, str]) -> None:
    """Make sure that a server lets the admin in, and nobody who gives no password.

    `known` is the header by which the server is known. The password is sent over the connection on
    which an answer with it has come, and no other, which might be somebody else's by now.

    Raises:
        InputError: the admin has another password.
        RuntimeError: everybody is let in, or somebody else answers.
    """
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    connection.connect()
    connection.auto_open = 0  # when it is closed, that is an error
    with contextlib.closing(connection):
        answer = _ask(connection, {})
        if answer.getheader(known[0]) != known[1]:
            raise RuntimeError(f"another server answers at {address}; the MLflow server was ended")
        if answer.status != 401:
            raise RuntimeError("the MLflow server does not ask for a password; it was ended")
        name = admin(environment)
        login = base64.b64encode(f"{name}:{environment[PASSWORD]}".encode()).decode()
        if _ask(connection, {"Authorization": f"Basic {login}"}).status == 401:
            raise InputError(
                f"{PASSWORD} is not the password of '{name}', which was set when the server first "
                f"started, or changed since; expected that one"
            )


def _ask(connection: http.client.HTTPConnection, headers: dict[str, str]) -> HTTPResponse:
    """The answer for a page; the connection is ready for the next question."""
    connection.request("GET", PAGE, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer
