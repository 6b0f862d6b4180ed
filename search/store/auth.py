"""Users of the MLflow server that `ui` starts, by MLflow's own app `basic-auth`."""

from __future__ import annotations

import base64
import contextlib
import errno
import http.client
import importlib.util
import os
import secrets
import stat
import urllib.request
from collections.abc import Mapping
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process.secrets import login
from lstm_sweep.search.store import address
from lstm_sweep.search.store.settings import Settings

#: MLflow's variables: name and password of the admin, secret key of forms, settings file of the app
ADMIN, PASSWORD = "MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD"
KEY, CONFIG = "MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_AUTH_CONFIG_PATH"
#: characters of the shortest password, and the default password of earlier versions of MLflow
SHORTEST, WELL_KNOWN = 12, "password1234"
#: seconds for which the server caches a checked password, since a check takes longer than most
#: requests; a change of the password clears it
REMEMBERED_S = 60
APP = "basic-auth"
#: a page that needs a login
PAGE = "/api/2.0/mlflow/experiments/search?max_results=1"
#: opens addresses of this machine without the proxy that the environment may name
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def check(environment: Mapping[str, str]) -> None:
    """Check that the app can be started.

    Raises:
        InputError: a package or the admin's password is missing, or the password is too weak.
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
    """File of the users next to an SQLite store; None if another database stores them."""
    file = settings.database_file
    return file and file.with_name(f"{file.stem}-users.db")


def prepare(settings: Settings, folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Write the app's settings into `folder`; return the variables that its server needs.

    `folder` must be private to the user and exist as long as the server. The admin's password and
    that of a PostgreSQL database stay in the environment; a missing secret key is generated for
    this start. The app reads the address of its database from the file only, so a password of
    MySQL, or in the options of an address, is written there.

    Raises:
        InputError: the file of the users does not belong to this user.
    """
    file, (users, password) = users_file(settings), _without_password(settings.mlflow_uri)
    if file is not None:
        _make_private(file)
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
    return {CONFIG: str(config), KEY: key, ADMIN: admin(environment), **password}


def _without_password(uri: str) -> tuple[str, dict[str, str]]:
    """The address of a database without its password, and the variable that replaces it."""
    name, password, rest = login(uri)
    if not password or address.scheme(uri) != "postgresql":
        return uri, {}
    kind = uri.partition("://")[0]
    return f"{kind}://{name}{'@' if name else ''}{rest}", {"PGPASSWORD": unquote(password)}


def _make_private(file: Path) -> None:
    """Create a file, or restrict an existing one, so that only this user may read and write it."""
    try:
        opened = os.open(file, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise InputError(f"{file}: {why}, expected a file of your own for the users") from None
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise InputError(f"{file}: it is not yours, expected a file of your own for the users")
        os.fchmod(opened, 0o600)
    finally:
        os.close(opened)


def check_server(at: str, environment: Mapping[str, str], known: tuple[str, str]) -> None:
    """Check that a server accepts the admin's password, and no request without a password.

    `known` is a header that identifies the server. The password is sent only over the connection
    on which an answer with this header was received, since another server may take over the port.

    Raises:
        InputError: the admin's password is not the one that is set.
        RuntimeError: no password is needed, or another server answers.
    """
    place = urlsplit(at)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    connection.connect()
    connection.auto_open = 0  # a closed connection is an error, and is not reopened
    with contextlib.closing(connection):
        answer = _ask(connection, {})
        if answer.getheader(known[0]) != known[1]:
            raise RuntimeError(f"another server answers at {at}; the MLflow server was ended")
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
    """The answer to a request for `PAGE`, read to its end so that the connection can be reused."""
    connection.request("GET", PAGE, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer
