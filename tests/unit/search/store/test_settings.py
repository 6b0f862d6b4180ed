"""Settings are read and checked; those of somebody else are not obeyed, and leak no password."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process import secrets
from lstm_sweep.search.store.settings import Settings, holds_password, load

HTTP, POSTGRES, SQLITE = "http://host:5000", "postgresql://host/runs", "sqlite:////runs.db"
SERVER = "http://runs.example:5000"
PASSWORD = {"MLFLOW_TRACKING_PASSWORD": "planted"}
STRANGER = 54_321


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path.resolve()


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "mlflow.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def read(folder: Path, uri: str | None = None) -> Settings:
    return load(folder, {} if uri is None else {"MLFLOW_TRACKING_URI": uri})


def refused(folder: Path, **environment: str) -> str:
    """The line by which the settings of a folder are refused, without the secrets planted there."""
    with pytest.raises(InputError) as refusal:
        load(folder, environment)
    line = str(refusal.value)
    assert "\n" not in line and not {"planted", "plan", "ted"} & set(re.split(r"\W", line))
    return line


# --- what is read ---------------------------------------------------------------------------------


def test_without_a_file_the_store_is_in_the_folder(folder: Path) -> None:
    assert read(folder) == Settings(
        tracking_uri=f"sqlite:///{folder}/mlflow.db",
        artifacts=f"file://{folder}/mlartifacts",
        experiment="lstm-sweep",
        origin="no mlflow.yaml here or above",
    )


def test_the_nearest_file_counts_with_paths_beside_it_and_the_variable_before_it(
    folder: Path,
) -> None:
    write(folder, "experiment: far\n")
    write(folder / "a", "tracking_uri: sqlite:///x/runs.db\nartifacts: b/c\nexperiment: near\n")
    (folder / "a" / "b").mkdir()
    settings = read(folder / "a" / "b")
    assert settings.tracking_uri == f"sqlite:///{folder}/a/x/runs.db"
    assert (settings.artifacts, settings.experiment) == (f"file://{folder}/a/b/c", "near")
    settings = read(folder / "a" / "b", "http://tracking:5000")
    assert settings.tracking_uri == "http://tracking:5000"
    assert (settings.origin, settings.experiment) == ("by MLFLOW_TRACKING_URI", "near")
    os.mkfifo(folder / "a" / "b" / "mlflow.yaml")
    said = r"b/mlflow\.yaml: it is no file, expected a YAML"
    assert re.search(said, refused(folder / "a" / "b")), "it is not passed over"


@pytest.mark.parametrize("uri", [None, "http://elsewhere:5000"])
def test_what_a_server_needs_stands_in_the_file(folder: Path, uri: str | None) -> None:
    write(folder, "allowed_hosts: [MLflow, runs.example.org, 10.0.0.7, '::1', mlflow, a_b]\n")
    hosts = ("mlflow", "runs.example.org", "10.0.0.7", "::1", "a_b")
    assert read(folder, uri).allowed_hosts == hosts
    write(folder, "request_timeout_s: 3600\nserver_processes: 4\n")
    found = read(folder, uri)
    assert (found.request_timeout_s, found.server_processes) == (3600, 4)


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


# --- passwords ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri, shown",
    [
        ("postgresql://user:secret@host:5432/runs", "postgresql://user:***@host:5432/runs"),
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
    assert "tracking_uri is" in refused(folder, MLFLOW_TRACKING_URI=uri)


def test_a_password_in_an_option_is_refused_and_its_variable_named(folder: Path) -> None:
    """All users of a machine see the options of its programs."""
    with pytest.raises(InputError, match=r"--store holds a password.*PGPASSWORD") as refusal:
        load(folder, {}, given="postgresql://me:hunter2@db/runs")
    assert "hunter2" not in str(refusal.value)
    assert load(folder, {}, given="postgresql://me@db/runs").tracking_uri


def test_a_path_may_look_like_a_login(folder: Path) -> None:
    write(folder, "tracking_uri: sqlite:////a:b@c/runs.db\nartifacts: d:e@f\n")
    assert read(folder).database_file == Path("/a:b@c/runs.db")
    assert read(folder).artifacts == f"file://{folder}/d%3Ae%40f"


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


# --- whom a file belongs to, and what would be sent to a server that it names ---------------------


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a file, a link or a folder another user's."""
    given: set[Path] = set()
    stat = Path.stat

    def stat_of(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = stat(path, follow_symlinks=follow_symlinks)
        owned = Path(os.path.realpath(path)) if follow_symlinks else path
        return os.stat_result((*found[:4], STRANGER, *found[5:])) if owned in given else found

    def give(path: Path) -> None:
        if os.geteuid() == 0:
            os.lchown(path, STRANGER, -1)
        else:  # only root can give files away; the program is told so
            given.add(path)
            monkeypatch.setattr(Path, "stat", stat_of)

    return give


def test_a_file_a_link_and_a_folder_of_another_user_are_refused(
    folder: Path, give_away: Callable[[Path], None]
) -> None:
    mine = write(folder / "mine", "experiment: mine\n")
    link = folder / "mlflow.yaml"
    link.symlink_to(mine)
    (folder / "below").mkdir()
    assert load(folder / "below", {}).experiment == "mine"
    give_away(link)
    line = refused(folder / "below")
    assert line.startswith(f"{link}: the file belongs to another user, number ")
    assert "expected one of your own: copy it" in line and "LSTM_SWEEP_SETTINGS" in line
    assert refused(folder / "below", MLFLOW_TRACKING_URI="sqlite:///a.db") == line
    give_away(mine.parent)
    assert "mlflow.yaml: the folder belongs to another user" in refused(folder / "mine")


def test_a_file_that_everybody_may_write_is_refused(folder: Path) -> None:
    file = write(folder, "experiment: anybodys\n")
    file.chmod(0o666)
    assert "every user may write to it" in refused(folder)
    file.chmod(0o664)
    assert load(folder, {}).experiment == "anybodys"


def test_a_file_that_is_named_is_obeyed_whoever_it_belongs_to(
    folder: Path, give_away: Callable[[Path], None]
) -> None:
    file = write(folder / "team", f"tracking_uri: {SERVER}\n")
    write(folder, "experiment: nearer\n")
    give_away(file)
    for named in (str(file), "team/mlflow.yaml"):
        settings = load(folder, PASSWORD | {"LSTM_SWEEP_SETTINGS": named})
        assert (settings.tracking_uri, settings.experiment) == (SERVER, "lstm-sweep")
    assert "nowhere: No such file" in refused(folder, LSTM_SWEEP_SETTINGS="nowhere")


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (f"tracking_uri: {SERVER}", "MLFLOW_TRACKING_PASSWORD"),
        ("tracking_uri: http://127.0.0.1:5000", "MLFLOW_TRACKING_AUTH"),
        ("tracking_uri: postgresql://me@runs.example/runs", "PGPASSWORD"),
        ("tracking_uri: postgresql+psycopg2:///runs?host=runs.example", "PGPASSWORD"),
        ("tracking_uri: mysql+pymysql://me@runs.example/runs", "MYSQL_PWD"),
        ("artifacts: http://runs.example/files", "MLFLOW_TRACKING_PASSWORD"),
        ("artifacts: HTTP://runs.example/files", "MLFLOW_TRACKING_PASSWORD"),
        ("artifacts: mlflow-artifacts://runs.example:80/", "MLFLOW_TRACKING_TOKEN"),
    ],
)
def test_a_password_needs_an_address_that_the_user_has_named(
    line: str, secret: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(folder, line)
    key, _, uri = line.partition(": ")
    config = str(folder / "config")
    monkeypatch.setenv("XDG_CONFIG_HOME", config)
    said = refused(folder / "x", **{secret: "planted"})
    assert said.startswith(f"{file}: {key} is ") and f"({secret})" in said
    for way in (f"{config}/lstm-sweep/servers", "MLFLOW_TRACKING_URI", "LSTM_SWEEP_SETTINGS"):
        assert way in said
    load(folder, {})  # nothing would be sent
    listed = folder / "config" / "lstm-sweep" / "servers"
    listed.parent.mkdir(parents=True)
    listed.write_text(f"# mine\n{uri}x\n", encoding="utf-8")
    assert refused(folder, **{secret: "planted"}) == said
    listed.write_text(f"# mine\n {uri}/ \nhttp://other\n", encoding="utf-8")
    load(folder, {secret: "planted"})


def test_the_file_in_which_mlflow_keeps_a_password_counts(folder: Path) -> None:
    write(folder, f"tracking_uri: {SERVER}\n")
    assert load(folder, {}).tracking_uri == SERVER
    (folder / "home" / ".mlflow").mkdir(parents=True)
    (folder / "home" / ".mlflow" / "credentials").touch()
    assert f"({folder}/home/.mlflow/credentials)" in refused(folder)


@pytest.mark.parametrize("text", ["tracking_uri: sqlite:///a.db\n", "artifacts: s3://bucket/a\n"])
def test_what_is_sent_no_password_needs_no_name(text: str, folder: Path) -> None:
    write(folder, text)
    load(folder, PASSWORD | {"PGPASSWORD": "planted", "AWS_SECRET_ACCESS_KEY": "planted"})


def test_the_files_of_one_store_do_not_go_to_another(tmp_path: Path) -> None:
    (tmp_path / "mlflow.yaml").write_text("artifacts: mine")
    assert load(tmp_path, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}).artifacts is None
