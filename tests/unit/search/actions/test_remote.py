"""What is asked of a service: the connection, what is sent there and taken from it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import stat
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import lstm_sweep
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import transfers
from lstm_sweep.search.actions.connection import (
    TRIES,
    Answer,
    Connection,
    Event,
    NoAnswerError,
    check_address,
    parsed,
)
from lstm_sweep.search.actions.remote import Remote
from lstm_sweep.search.actions.sweeps import SweepResult
from lstm_sweep.search.actions.transfers import download, send_data, unpack
from lstm_sweep.search.actions.watched import Watched
from lstm_sweep.search.cli.progress import Lines
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.values.spec import TOKEN, SweepSpec

STATUS: dict[str, Any] = {
    "sweep": "s", "run_id": "r", "state": "finished", "why": None, "trials": {}, "best": None,
    "slots": 1, "submitted": "2026-01-01T00:00:00+00:00", "started": None, "eta_seconds": None,
}  # fmt: skip
GONE = b'{"type": "urn:lstm-sweep:not-found", "detail": "no such sweep"}'
#: answers that a path gives, one after the other: status, then content
SCRIPTS = {
    "/api/v1/busy": [(503, b""), (502, b""), (200, b'{"found": 1}')],
    "/api/v1/down": [(503, b"")] * 100,
    "/api/v1/elsewhere": [(302, b"")],
    "/api/v1/page": [(200, b"<html>log in</html>")],
    "/api/v1/list": [(200, b"[]")],
    "/api/v1/sweeps/s": [(200, json.dumps(STATUS).encode()), (503, b""), (404, GONE)],
}


class Scripted(BaseHTTPRequestHandler):
    """Answers as its server's script says, and notes who asks with which token."""

    def do_GET(self) -> None:
        """Give the next answer of a path."""
        server = self.server
        assert isinstance(server, ScriptedServer)
        server.asked.append((self.path, self.headers.get("Authorization")))
        script = server.scripts.get(self.path.partition("?")[0])
        status, content = script.pop(0) if script else (200, b"{}")
        self.send_response(status)
        headers = {"Content-Length": str(len(content))}
        headers |= {"Location": "/stolen"} if status == 302 else {}
        for name, value in (headers | (server.headers if script is not None else {})).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Write no log."""


class ScriptedServer(ThreadingHTTPServer):
    """A server with a script for some paths, and headers of its own for these."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Scripted)
        self.scripts = {path: list(answers) for path, answers in SCRIPTS.items()}
        self.asked, self.headers = list[tuple[str, str | None]](), dict[str, str]()
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that runs."""
    with ScriptedServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def connection_to(server: ScriptedServer, said: list[str], token: str = "secret") -> Connection:
    """A connection whose clock goes on by what is slept."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Connection(server.address, token, say=said.append, clock=lambda: now[0], sleep=sleep)


def test_a_busy_service_is_asked_again(server: ScriptedServer) -> None:
    said = list[str]()
    assert connection_to(server, said).get("busy").document() == {"found": 1}
    assert server.asked == [("/api/v1/busy", "Bearer secret")] * 3 and len(said) == 1


def test_patience_ends(server: ScriptedServer) -> None:
    said = list[str]()
    with pytest.raises(NoAnswerError, match="503"):
        connection_to(server, said).get("down")
    # waits of 0.5, 1, 2, 4, 5 and 5 s are within 20 s
    assert len(server.asked) == 7 and len(said) == 1


def test_a_delete_whose_answer_is_lost_has_deleted(server: ScriptedServer) -> None:
    said = list[str]()
    remote = Remote(connection_to(server, said))
    assert remote.delete("s").left == 0
    assert said[1:] == ["sweep s is gone, though not every request was answered"]


def test_no_redirect_is_followed_with_the_token(server: ScriptedServer) -> None:
    with pytest.raises(InputError, match="status 302"):
        connection_to(server, []).get("elsewhere")
    assert [path for path, _ in server.asked] == ["/api/v1/elsewhere"]


@pytest.mark.parametrize("path", ["page", "list"])
def test_what_another_server_answers_is_shown_in_a_line(server: ScriptedServer, path: str) -> None:
    answer = connection_to(server, []).get(path)
    with pytest.raises(InputError, match=r"^http://127.* with no JSON object: .*, expected a serv"):
        answer.document()
    with pytest.raises(InputError, match=r"^http://127.* otherwise .* expected a service of"):
        Remote(connection_to(server, [])).sweeps()


@pytest.mark.parametrize(("url", "token"), [(3, None), ("http://host", 3), ("http://host", b"a")])
def test_what_is_no_text_connects_to_nothing(url: Any, token: Any) -> None:
    with pytest.raises(InputError, match=r"(url|token) is .*: expected a text"):
        lstm_sweep.connect(url, token=token)


def test_what_can_be_no_host_is_refused_at_once() -> None:
    slept = list[float]()
    with pytest.raises(InputError, match="cannot be asked"):
        Connection("http://a b:80", sleep=slept.append).get("health")
    assert not slept


def test_what_names_no_trial_is_compared_with_nothing(server: ScriptedServer) -> None:
    with pytest.raises(InputError, match="expected SWEEP/NUMBER"):
        Remote(connection_to(server, [])).compare("s/1", "\udcff")
    assert server.asked == []


def test_a_token_may_stand_on_a_line_and_is_not_shown(server: ScriptedServer) -> None:
    connection_to(server, [], "planted\r\n").get("anything")
    assert server.asked == [("/api/v1/anything", "Bearer planted")]
    assert without_secrets("the token planted") == "the token ***"


@pytest.mark.parametrize("token", ["planted\nagain", "planted\0", "plantéd", "planted\ud800"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InputError, match=f"{TOKEN} has characters") as refused:
        Connection("http://host", token)
    assert "plant" not in str(refused.value)


@pytest.mark.parametrize(
    "given",
    ["", "host", "ftp://host", "http://", "http://a:b@host", "http://host?x=1", "http://h:0"],
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="expected the address of a service"):
        check_address(given, "--server")
    assert check_address("http://host:8000/", "--server") == "http://host:8000"


def test_events_are_read_and_one_that_is_broken_off_is_left_out() -> None:
    lines = [
        "retry: 2000", "", ": ping", "", "event: trial", 'data: {"number":', "data: 1}", "id: a",
        "", "event: end", "data: {}", "id: b",
    ]  # fmt: skip
    assert list(parsed(lines)) == [Event("trial", {"number": 1}, "a")]
    assert [event.name for event in parsed([*lines, ""])] == ["trial", "end"]


# Data are sent to a service whose connection breaks, and files fetched from one


CONTENT = bytes(range(256)) * 40


class Fake(Connection):
    """A service whose connection breaks so many times while a corpus is sent."""

    def __init__(self, breaks: int = 0) -> None:
        self.said = list[str]()
        super().__init__("http://localhost", say=self.said.append, sleep=lambda seconds: None)
        self.breaks = breaks
        self.announced, self.sent = list[dict[str, Any]](), list[bytes]()

    def send(self, method: str, *path: str, document: Any = None, **more: Any) -> Answer:
        self.announced.append(document)
        return Answer({}, b'{"is_there": false}')

    def get(self, *path: str, **more: Any) -> Answer:
        return Answer({}, b"{}")

    def open(self, method: str, *path: str, body: Any = None, **more: Any) -> Any:
        assert method == "PUT"
        if self.breaks:
            self.breaks -= 1
            next(iter(body))
            raise NoAnswerError("no answer")
        self.sent.append(b"".join(body))
        assert more["headers"]["Content-Length"] == str(len(self.sent[-1]))
        return io.BytesIO()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "logs" / name).mkdir(parents=True)
        (tmp_path / "logs" / name / f"{name}.txt").write_text(name * 600)
    return tmp_path / "logs"


def test_a_folder_goes_as_a_tar_file_whose_id_is_that_of_sha256sum(folder: Path) -> None:
    service = Fake()
    name = send_data(service, str(folder))
    assert service.announced[0]["bytes"] == 1200
    with tarfile.open(fileobj=io.BytesIO(service.sent[0])) as tar:
        found = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
    assert found == {"a/a.txt": b"a" * 600, "b/b.txt": b"b" * 600}
    listed = subprocess.run(["sha256sum", "a/a.txt", "b/b.txt"], cwd=folder,
                            capture_output=True, check=True).stdout  # fmt: skip
    assert name == f"corpus:{hashlib.sha256(b'logs/' + bytes([10]) + listed).hexdigest()[:32]}"


def test_a_connection_that_breaks_has_all_sent_again_a_few_times(folder: Path) -> None:
    file = folder / "a" / "a.txt"
    service = Fake(TRIES - 1)
    send_data(service, str(file))
    assert service.sent == [b"a" * 600] and "sending a.txt again" in service.said[1]
    assert len(service.announced) == TRIES
    with pytest.raises(NoAnswerError):
        send_data(Fake(TRIES), str(file))


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_file_that_changes_is_named_whatever_it_is_sent_by(
    server: ScriptedServer, folder: Path, is_gone: bool
) -> None:
    file = folder / "a" / "a.txt"
    sent = transfers._File.of(file, "a.txt")
    if is_gone:
        file.unlink()
    else:
        file.write_text("")
    service = Connection(server.address)
    with pytest.raises(InputError, match=r"a\.txt: it has changed while"):
        headers = {"Content-Length": str(sent.size)}
        service.open("PUT", "corpora", "1", query={}, headers=headers, body=sent.content())


def fetched(
    server: ScriptedServer,
    folder: Path,
    sent: tuple[int, ...] = (len(CONTENT),),
    claimed: bytes = CONTENT,
    most: int = 1 << 20,
    length: str = str(len(CONTENT)),
) -> bytes:
    """What is fetched from a server that sends so many bytes at each request, and then breaks."""
    server.scripts["/api/v1/bundle"] = [(200, CONTENT[:count]) for count in sent]
    digest = base64.b64encode(hashlib.sha256(claimed).digest()).decode()
    server.headers = {"Repr-Digest": f"sha-256=:{digest}:" * bool(claimed)}
    server.headers["Content-Length"] = length
    said = list[str]()
    service = Connection(server.address, say=said.append, sleep=lambda s: None)
    try:
        download(service, folder / "file", "bundle", most=most, format="x")
    finally:
        assert all("broken off; asking again" in line for line in said)
        assert server.scripts["/api/v1/bundle"] == []
    return (folder / "file").read_bytes()


def test_a_download_that_breaks_is_asked_for_again_a_few_times(
    server: ScriptedServer, tmp_path: Path
) -> None:
    assert fetched(server, tmp_path, (4_000, 0, len(CONTENT))) == CONTENT
    with pytest.raises(NoAnswerError, match="broken off"):
        fetched(server, tmp_path, (0,) * TRIES)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"claimed": b"other"}, "expected the same"),
        ({"claimed": b""}, "says 'none'"),
        ({"most": 5_000}, "sends 10,240 bytes, expected at most 5,000"),
        ({"length": ""}, "does not say how many bytes, expected at most 1,048,576"),
    ],
)
def test_what_comes_must_be_what_the_digest_says_and_no_more_than_may_be(
    server: ScriptedServer, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        fetched(server, tmp_path, **more)


def zipped(file: Path, entries: list[tuple[str, bytes, int]]) -> Path:
    """A zip file with entries: path, content, mode."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content, mode in entries:
            entry = zipfile.ZipInfo("x")
            entry.filename, entry.external_attr = name, mode << 16
            packed.writestr(entry, content)
    return file


FILE = stat.S_IFREG | 0o4777


def test_files_are_unpacked_without_their_permissions(tmp_path: Path) -> None:
    entries = [("s-1/", b"", stat.S_IFDIR), ("s-1/a", b"1", FILE), ("s-1/deep/b c", b"22", 0)]
    folder = unpack(zipped(tmp_path / "z", entries), tmp_path / "to")
    assert folder.name == "s-1"
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*")}
    assert found == {"a", "deep", "deep/b c"}
    assert (folder / "deep/b c").read_bytes() == b"22"
    assert not (folder / "a").stat().st_mode & 0o7111


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, FILE) for name in (
            "../out", "s-1/../../out", "/etc/out", "s-1//etc/out", "C:/out", "s-1\\out",
            "s-1/./out", "s-1/..", "alone", "", "s-1/a\x00b", "s-1/a\nb", "other/out",
            "s-1/first", "s-1/first/in", "s-1/" + "d" * 300, "s-1/" + "d/" * 3000 + "out",
        )),
        *(("s-1/link", kind | 0o777) for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO)),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_nothing_is_written_elsewhere_and_no_link_made(
    tmp_path: Path, name: str, kind: int
) -> None:
    folder = tmp_path / "below"
    folder.mkdir()
    entries = [("s-1/first", b"1", FILE), (name, b"/etc/passwd", kind)]
    with contextlib.suppress(InputError):
        unpack(zipped(tmp_path / "z", entries), folder / "to")
    assert {p.name for p in tmp_path.iterdir()} == {"below", "z"}
    assert {p.name for p in folder.iterdir()} <= {"to"}
    assert all(p.is_file() or p.is_dir() for p in folder.rglob("*"))
    assert not any(p.is_symlink() for p in folder.rglob("*"))


def test_what_is_too_large_or_no_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = zipped(tmp_path / "z", [("s-1/a", b"0" * 10_000, FILE), ("s-1/b", b"1", FILE)])
    with pytest.raises(InputError, match="at most 10,000 of 10,000"):
        unpack(file, tmp_path / "to", most_bytes=10_000)
    monkeypatch.setattr(transfers, "MOST_FILES", 1)
    with pytest.raises(InputError, match="2 files"):
        unpack(file, tmp_path / "to")
    assert not (tmp_path / "to").exists()
    for entries in ([("alone", b"1", FILE)], []):
        with pytest.raises(InputError, match="expected one folder"):
            unpack(zipped(tmp_path / "y", entries), tmp_path / f"to-{len(entries)}")


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_packed_otherwise_and_damaged_is_refused(tmp_path: Path, kind: int) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w", kind) as packed:
        packed.writestr("s-1/a", bytes(range(256)) * 40)
    whole = (tmp_path / "z").read_bytes()
    for at in range(60, 80):
        (tmp_path / "z").write_bytes(whole[:at] + b"xxxx" + whole[at + 4 :])
        with pytest.raises(InputError, match="the bundle"):
            unpack(tmp_path / "z", tmp_path / f"to-{at}")


# Events of a service become the states that observers are shown


CONFIG = TrialConfig(epochs=2).to_dict()


def trial(number: int, state: str, **more: Any) -> Event:
    """A trial of two epochs, each of two rounds."""
    status = {"running": "RUNNING", "paused": "SCHEDULED"}.get(state, "FINISHED")
    row = {
        "trial": f"s/{number}", "number": number, "state": state, "run_id": f"r{number}",
        "attempt": 1, "phase": "search", "rounds_per_epoch": 2, "config": CONFIG, "seed": 0,
        "outcome": None, "val_loss": None, "status": status, "reason": "", "parameters": 1,
        "best_epoch": None, "epochs": 0, "has_weights": False, "rerun_of": "", "waits": False,
        "measured": "validation loss (nats per symbol)", "seconds": None, "losses": (),
    }  # fmt: skip
    return Event("trial", row | more, "")


def ended(number: int, outcome: str = "complete", **more: Any) -> Event:
    return trial(number, "ended", outcome=outcome, seconds=4.0, **more)


def status(state: str, why: str | None = None) -> Event:
    return Event("status", STATUS | {"state": state, "why": why, "eta_seconds": 600.0}, "")


RESULT = SweepResult(
    sweep="s", run_id="r", state="finished", why="done", trials={}, best=None, confirmed=(),
    baselines={}, seconds=9.0, time=None,
)  # fmt: skip
EVENTS = [
    status("queued", "waits for a slot"), status("queued", "waits for a slot"),
    trial(0, "running"), trial(0, "running", losses=[2.5]), status("running"),
    trial(0, "paused", losses=[2.5]), trial(0, "running", losses=[2.5]),
    ended(1, val_loss=2.0, losses=[2.0]), ended(0, "pruned", losses=[2.5]),
]  # fmt: skip


def lines_of(*events: Event) -> list[str]:
    """The lines for people about events."""
    text = StringIO()
    watched = Watched(
        "s", SweepSpec(trials=4), Lines(Console(file=text, width=200)), clock=lambda: 0.0
    )
    for event in events:
        watched.hear(event)
    watched.end(RESULT)
    return text.getvalue().splitlines()


def test_people_are_told_of_ends_and_of_reasons_to_wait() -> None:
    said = lines_of(*EVENTS)
    assert said[0] == "sweep s: queued (waits for a slot)"
    assert said[2:] == [
        "s/0 waits after epoch 0.5",
        "[1/4] s/1 complete, loss 2.0000, the best so far, 4 s (uni 2x128, lr 0.01)",
        "1 trial that waited is pruned: others were better",
    ]


def test_a_trial_that_fails_is_not_the_best_and_one_that_is_tried_again_begins_anew() -> None:
    said = lines_of(
        status("running"), trial(0, "running"), ended(0, "diverged", losses=[1.5]),
        trial(0, "running", attempt=2), ended(0, attempt=2, val_loss=2.5, losses=[2.5]),
    )  # fmt: skip
    assert "s/0 diverged, loss 1.5000" in said[0] and said[0].endswith("; no result yet")
    assert said[1].startswith("[1/4] s/0 complete, loss 2.5000, the best so far")


def test_what_had_ended_before_a_sweep_was_resumed_is_not_told_again() -> None:
    known = [ended(0, val_loss=2.0), trial(1, "paused", waits=True)]
    new = ended(2, val_loss=3.0)
    text = StringIO()
    console = Console(file=text, width=200)
    watched = Watched("s", SweepSpec(), Lines(console), told={("r0", False), ("r1", True)})
    for event in (*known, new, status("running"), trial(1, "running")):
        watched.hear(event)
    watched.hear(ended(1, val_loss=1.0))
    told = [line.partition(" ")[2][:12] for line in text.getvalue().splitlines()]
    assert told == ["s/2 complete", "s/1 complete"]
