"""Settings of somebody else are not obeyed, and no server gets a password that was not named."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.store.settings import load
from tests.conftest import run_here

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


def refused(folder: Path, **environment: str) -> str:
    with pytest.raises(InputError) as refusal:
        load(folder, environment)
    line = str(refusal.value)
    assert "\n" not in line and "planted" not in line
    return line


def test_a_file_of_another_user_in_a_folder_above_is_refused(
    folder: Path, give_away: Callable[[Path], None]
) -> None:
    file = write(folder, "experiment: theirs\n")
    (folder / "mine").mkdir()
    give_away(file)
    line = refused(folder / "mine")
    assert line.startswith(f"{file}: the file belongs to another user, number ")
    assert "expected one of your own: copy it" in line and "LSTM_SWEEP_SETTINGS" in line
    assert refused(folder / "mine", MLFLOW_TRACKING_URI="sqlite:///a.db") == line


def test_neither_is_a_link_of_theirs_or_a_folder_of_theirs_obeyed(
    folder: Path, give_away: Callable[[Path], None]
) -> None:
    mine = write(folder / "mine", "experiment: mine\n")
    link = folder / "mlflow.yaml"
    link.symlink_to(mine)
    assert load(folder, {}).experiment == "mine"
    give_away(link)
    assert "mlflow.yaml: the file belongs to another user" in refused(folder)
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
        ("tracking_uri: https://runs.example/a", "MLFLOW_TRACKING_TOKEN"),
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


def test_the_file_in_which_mlflow_keeps_a_password_counts(
    folder: Path,
) -> None:
    write(folder, f"tracking_uri: {SERVER}\n")
    assert load(folder, {}).tracking_uri == SERVER
    (folder / "home" / ".mlflow").mkdir(parents=True)
    (folder / "home" / ".mlflow" / "credentials").touch()
    assert f"({folder}/home/.mlflow/credentials)" in refused(folder)


@pytest.mark.parametrize("text", ["tracking_uri: sqlite:///a.db\n", "artifacts: s3://bucket/a\n"])
def test_what_is_sent_no_password_needs_no_name(text: str, folder: Path) -> None:
    write(folder, text)
    load(folder, PASSWORD | {"PGPASSWORD": "planted", "AWS_SECRET_ACCESS_KEY": "planted"})


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[str | None]]]:
    """A server that keeps what it is sent as a login, and lets nobody in."""
    heard: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            heard.append(self.headers["Authorization"])
            self.send_error(401)

        do_GET = do_POST = _refuse  # noqa: N815

        def log_message(self, *parts: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_program_sends_no_password_to_a_server_that_a_found_file_names(
    stranger: tuple[str, list[str | None]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, heard = stranger
    file = write(folder, f"tracking_uri: {address}\n")
    (folder / "clone").mkdir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    login = PASSWORD | {"MLFLOW_TRACKING_USERNAME": "ada"}
    done = run_here("sweeps", cwd=folder / "clone", **login)
    assert (done.code, done.out, heard) == (2, "", [])
    [line] = done.err.splitlines()
    assert line.startswith(f"lstm-sweep: {file}: tracking_uri is {address}, which would be sent")
    done = run_here("sweeps", cwd=folder / "clone", **login, LSTM_SWEEP_SETTINGS=str(file))
    assert done.code == 2 and "it wants the name and the password" in done.err
    assert heard and all(heard)
