from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process import secrets
from lstm_sweep.search.store.settings import (
    Settings,
    holds_password,
    load,
)

POSSIBLE = "tracking_uri, artifacts, experiment, allowed_hosts, request_timeout_s, server_processes"
#: what is said of a host that is none, after it was shown
A_HOST = "expected names or addresses of the server, without port, such as runs.example.org"
A_TIMEOUT = "expected whole seconds from 1 to 3,600"
SO_MANY = "expected a whole number from 1 to 64"


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "mlflow.yaml"
    file.write_text(text)
    return file


def read(folder: Path, uri: str | None = None) -> Settings:
    return load(folder, {} if uri is None else {"MLFLOW_TRACKING_URI": uri})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def test_without_a_file_the_store_is_in_the_folder(folder: Path) -> None:
    assert read(folder) == Settings(
        tracking_uri=f"sqlite:///{folder}/mlflow.db",
        artifacts=f"file://{folder}/mlartifacts",
        experiment="lstm-sweep",
        origin="no mlflow.yaml here or above",
    )


def test_relative_paths_start_beside_the_file(folder: Path) -> None:
    write(folder, "tracking_uri: sqlite:///store/runs.db\nartifacts: files/kept\n")
    settings = read(folder / "below")
    assert settings.tracking_uri == f"sqlite:///{folder}/store/runs.db"
    assert settings.artifacts == f"file://{folder}/files/kept"


def test_the_nearest_file_above_is_read(folder: Path) -> None:
    write(folder, "experiment: far\n")
    write(folder / "a", "experiment: near\n")
    (folder / "a" / "b").mkdir()
    assert read(folder / "a" / "b").experiment == "near"


def test_the_variable_goes_before_the_file(folder: Path) -> None:
    write(folder, "tracking_uri: sqlite:///mlflow.db\nexperiment: mine\n")
    settings = read(folder, "http://tracking:5000")
    assert settings.tracking_uri == "http://tracking:5000"
    assert settings.origin == "by MLFLOW_TRACKING_URI"
    assert settings.experiment == "mine"


@pytest.mark.parametrize(
    "uri, server, artifacts",
    [
        ("http://127.0.0.1:5000", True, None),
        ("https://tracking.example", True, None),
        ("postgresql://host/runs", False, "mlartifacts"),
        ("sqlite:///mlflow.db", False, "mlartifacts"),
    ],
)
def test_a_tracking_server_decides_where_files_are_kept(
    folder: Path, uri: str, server: bool, artifacts: str | None
) -> None:
    settings = read(folder, uri)
    assert settings.is_server is server
    assert settings.artifacts == (artifacts and f"file://{folder}/{artifacts}")


@pytest.mark.parametrize(
    "uri, shown",
    [
        ("postgresql://user:secret@host:5432/runs", "postgresql://user:***@host:5432/runs"),
        ("postgresql://user@host/runs", "postgresql://user@host/runs"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql://user:se/cret@host/runs", "postgresql://user:***@host/runs"),
        ("postgresql://user:se?c#ret@host/runs", "postgresql://user:***@host/runs"),
        ("https://user:secret@[::1]:5000/path?token=x", "https://user:***@[::1]:5000/path"),
        ("https://token@host/path", "https://***@host/path"),
    ],
)
def test_a_password_is_not_shown(folder: Path, uri: str, shown: str) -> None:
    assert str(read(folder, uri)) == f"{shown} (by MLFLOW_TRACKING_URI)"


@pytest.mark.parametrize(
    "uri", ["user:planted@host/runs", "sqlite://user:planted@host", "ftp://user:plan/ted@host"]
)
def test_a_refused_address_does_not_show_its_password(folder: Path, uri: str) -> None:
    with pytest.raises(InputError, match="tracking_uri is") as refusal:
        read(folder, uri)
    assert not {"planted", "plan", "ted"} & set(re.split(r"\W", str(refusal.value)))


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "traking_uri: sqlite:///a.db\n",
            f"'traking_uri' is no setting: did you mean 'tracking_uri'? possible: {POSSIBLE}",
        ),
        ("5: x\n", f"'5' is no setting: possible: {POSSIBLE}"),
        ("experiment: 5\n", "experiment is 5, expected text"),
        ("allowed_hosts: mlflow\n", f"allowed_hosts is 'mlflow', expected a list: {A_HOST}"),
        ("allowed_hosts: ['*.example.org']\n", f"allowed_hosts has '*.example.org', {A_HOST}"),
        ("allowed_hosts: ['http://a']\n", f"allowed_hosts has 'http://a', {A_HOST}"),
        ("allowed_hosts: ['10.0.0.256']\n", f"allowed_hosts has '10.0.0.256', {A_HOST}"),
        ("request_timeout_s: 0\n", f"request_timeout_s is 0, {A_TIMEOUT}"),
        ("request_timeout_s: 3601\n", f"request_timeout_s is 3601, {A_TIMEOUT}"),
        ("server_processes: 65\n", f"server_processes is 65, {SO_MANY}"),
        ("just words\n", "found a str, expected a mapping of settings"),
    ],
)
def test_a_refused_file_is_named(folder: Path, text: str, message: str) -> None:
    file = write(folder, text)
    with pytest.raises(InputError, match=f"^{re.escape(f'{file}: {message}')}$"):
        read(folder)


@pytest.mark.parametrize(
    "uri", ["mlruns", "file:///tmp/mlruns", "databricks", "oracle://host/runs", "/tmp/mlflow.db"]
)
def test_an_address_of_no_known_kind_is_refused_with_the_known_ones(folder: Path, uri: str) -> None:
    schemes = "sqlite://, postgresql://, mysql://, http://, https://"
    message = f"tracking_uri is '{uri}' (by MLFLOW_TRACKING_URI): expected an address that begins"
    with pytest.raises(InputError, match=f"^{re.escape(message)} with {schemes}$"):
        read(folder, uri)


@pytest.mark.parametrize("uri", [None, "http://elsewhere:5000"])
def test_what_a_server_needs_stands_in_the_file(folder: Path, uri: str | None) -> None:
    write(folder, "allowed_hosts: [MLflow, runs.example.org, 10.0.0.7, '::1', mlflow, a_b]\n")
    hosts = ("mlflow", "runs.example.org", "10.0.0.7", "::1", "a_b")
    assert read(folder, uri).allowed_hosts == hosts
    write(folder, "request_timeout_s: 3600\nserver_processes: 4\n")
    found = read(folder, uri)
    assert (found.request_timeout_s, found.server_processes) == (3600, 4)


TO_SERVER = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"


@pytest.mark.parametrize(
    ("uri", "variable"),
    [
        ("postgresql://user:planted@host/runs", "PGPASSWORD in the environment"),
        ("postgresql+psycopg2://user:plan@ted@host/runs", "PGPASSWORD in the environment"),
        ("postgresql://host/runs?user=me&password=planted", "PGPASSWORD in the environment"),
        ("postgresql://planted:planted@host/runs", "PGPASSWORD in the environment"),
        ("mysql+pymysql://host/runs?ssl_key=k.pem&pwd=planted", "the whole address in MLFLOW_"),
        ("mysql+pymysql://host/runs?access_key=planted", "the whole address in MLFLOW_"),
        ("mysql://user:planted@host/runs", "the whole address in MLFLOW_TRACKING_URI"),
        ("http://user:planted@host:5000", TO_SERVER),
        ("https://planted@host", TO_SERVER),  # a token
    ],
)
def test_a_password_in_the_file_is_refused_and_its_variable_named(
    folder: Path, uri: str, variable: str
) -> None:
    file = write(folder, f"tracking_uri: '{uri}'\n")
    with pytest.raises(InputError) as refusal:
        read(folder)
    assert str(refusal.value).startswith(f"{file}: tracking_uri holds a password, expected ")
    assert variable in str(refusal.value)
    assert not {"planted", "plan", "ted"} & set(re.split(r"\W", str(refusal.value)))


def test_a_password_in_an_option_is_refused_and_its_variable_named(folder: Path) -> None:
    """All users of a machine see the options of its programs."""
    with pytest.raises(InputError, match=r"--store holds a password.*PGPASSWORD") as refused:
        load(folder, {}, given="postgresql://me:hunter2@db/runs")
    assert "hunter2" not in str(refused.value)
    assert load(folder, {}, given="postgresql://me@db/runs").tracking_uri


@pytest.mark.parametrize(
    ("place", "variable"),
    [
        ("s3://key:planted@bucket/x", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the env"),
        ("s3://bucket/x?secret_key=planted", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in"),
        ("ftp://me:plan/ted@host/x", "what it takes to log in there in the environment"),
    ],
)
def test_a_password_in_the_place_of_files_is_refused_too(
    folder: Path, place: str, variable: str
) -> None:
    file = write(folder, f"artifacts: '{place}'\n")
    with pytest.raises(InputError) as refusal:
        read(folder)
    assert str(refusal.value).startswith(f"{file}: artifacts holds a password, expected ")
    assert variable in str(refusal.value)
    assert not {"planted", "plan", "ted"} & set(re.split(r"\W", str(refusal.value)))


def test_a_path_may_look_like_a_login(folder: Path) -> None:
    write(folder, "tracking_uri: sqlite:////a:b@c/runs.db\nartifacts: d:e@f\n")
    assert read(folder).database_file == Path("/a:b@c/runs.db")
    assert read(folder).artifacts == f"file://{folder}/d%3Ae%40f"


def test_a_file_that_cannot_be_read_is_not_passed_over(folder: Path) -> None:
    write(folder, "experiment: far\n")
    (folder / "near").mkdir()
    os.mkfifo(folder / "near" / "mlflow.yaml")
    with pytest.raises(InputError, match=r"near/mlflow\.yaml: it is no file, expected a YAML"):
        read(folder / "near")


HTTP, POSTGRES, SQLITE = "http://host:5000", "postgresql://host/runs", "sqlite:////runs.db"


@pytest.mark.parametrize(
    ("uri", "package"),
    [
        (POSTGRES, "psycopg2, expected: pip install lstm-sweep[server]"),
        ("postgresql+pg8000://host/runs", "the module pg8000"),
        ("mysql://host/runs", "the module MySQLdb"),
        (SQLITE, ""),
        (HTTP, ""),
    ],
)
def test_a_database_without_its_driver_is_named(
    uri: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    why = Settings(uri, None, "test", "test").lacks
    assert package in why and bool(why) == bool(package)


@pytest.mark.parametrize(
    ("options", "is_secret"),
    [
        ("sslmode=verify-full&sslkey=/keys/client.key&passfile=/keys/pgpass", False),
        ("ssl_key=/keys/client.key&keepalives=1&get_server_public_key=yes", False),
        *((f"a=b&{name}=planted", True) for name in ("pwd", "PassWord", "sslpassword", "api_key")),
        *((f"{name}=planted", True) for name in ("passwd", "pass", "access_token", "secret")),
    ],
)
def test_an_option_that_is_secret_is_refused_and_hidden_alike(
    options: str, is_secret: bool
) -> None:
    uri = f"postgresql://host/runs?{options}"
    assert holds_password(uri) == is_secret
    secrets.hide_address(uri)
    text = "planted, /keys/client.key"
    assert secrets.without_secrets(text) == (f"***, {text[9:]}" if is_secret else text)


LIMIT = "connect_timeout=7"


@pytest.mark.parametrize(
    ("uri", "given"),
    [
        (POSTGRES, f"postgresql+psycopg2://host/runs?{LIMIT}"),
        (
            "postgresql://me:a@b@host/runs?a=b://c",
            f"postgresql+psycopg2://me:a@b@host/runs?a=b://c&{LIMIT}",
        ),
        ("postgresql+psycopg://host/runs", f"postgresql+psycopg://host/runs?{LIMIT}"),
        (
            "postgresql://host/runs?connect_timeout=5",
            "postgresql+psycopg2://host/runs?connect_timeout=5",
        ),
        ("mysql://host/runs", "mysql+mysqldb://host/runs"),
        (SQLITE, SQLITE),
        (HTTP, HTTP),
    ],
)
def test_mlflow_is_given_the_driver_that_is_looked_for_and_postgresql_a_limit(
    uri: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(uri, None, "test", "test", request_timeout_s=7)
    assert settings.mlflow_uri == given
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    assert LIMIT not in settings.mlflow_uri
