"""Data are sent to a service whose connection breaks, and files fetched from one."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import stat
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import transfers
from lstm_sweep.search.actions.connection import TRIES, Answer, Connection, NoAnswerError
from lstm_sweep.search.actions.transfers import download, send_data, unpack

CONTENT = bytes(range(256)) * 40


class Fake(Connection):
    """A service whose connection breaks so many times while a corpus is sent."""

    def __init__(self, breaks: int = 0, *, has_it: bool = False) -> None:
        self.said = list[str]()
        super().__init__("http://localhost", say=self.said.append, sleep=lambda seconds: None)
        self.breaks, self.has_it = breaks, has_it
        self.announced, self.sent = list[dict[str, Any]](), list[bytes]()

    def send(self, method: str, *path: str, document: Any = None, **more: Any) -> Answer:
        self.announced.append(document)
        return Answer({}, json_text({"is_there": self.has_it}).encode())

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
    with tarfile.open(fileobj=io.BytesIO(service.sent[0])) as tar:
        found = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
    assert found == {"a/a.txt": b"a" * 600, "b/b.txt": b"b" * 600}
    listed = subprocess.run(["sha256sum", "a/a.txt", "b/b.txt"], cwd=folder,
                            capture_output=True, check=True).stdout  # fmt: skip
    assert name == f"corpus:{hashlib.sha256(b'logs/' + bytes([10]) + listed).hexdigest()[:32]}"


def test_what_the_service_has_is_not_sent(folder: Path) -> None:
    service = Fake(has_it=True)
    send_data(service, str(folder))
    assert service.sent == [] and service.announced[0]["bytes"] == 1200


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
    server: BreakingServer, folder: Path, is_gone: bool
) -> None:
    file = folder / "a" / "a.txt"
    sent = transfers._File.of(file, "a.txt")
    if is_gone:
        file.unlink()
    else:
        file.write_text("")
    service = Connection(f"http://127.0.0.1:{server.server_address[1]}")
    with pytest.raises(InputError, match=r"a\.txt: it has changed while"):
        headers = {"Content-Length": str(sent.size)}
        service.open("PUT", "corpora", "1", query={}, headers=headers, body=sent.content())


class Breaking(BaseHTTPRequestHandler):
    """Sends at most so many bytes of a file."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, BreakingServer)
        if self.path.endswith("/health"):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")
            return
        most = server.most.pop(0)
        self.send_response(200)
        if server.says_length:
            self.send_header("Content-Length", str(len(CONTENT)))
        if server.claimed:
            digest = base64.b64encode(hashlib.sha256(server.claimed).digest()).decode()
            self.send_header("Repr-Digest", f"sha-256=:{digest}:")
        self.end_headers()
        self.wfile.write(CONTENT[:most])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


class BreakingServer(ThreadingHTTPServer):
    """A server with a file."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Breaking)
        #: of what the digest is said to be, and bytes that are sent at each request
        self.claimed, self.most = CONTENT, [4_000, 0, 1 << 20]
        self.says_length = True


@pytest.fixture
def server() -> Iterator[BreakingServer]:
    with BreakingServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetched(server: BreakingServer, folder: Path, most: int = 1 << 20) -> bytes:
    said = list[str]()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    service = Connection(address, say=said.append, sleep=lambda s: None)
    try:
        download(service, folder / "file", "bundle", most=most, format="x")
    finally:
        assert all("broken off; asking again" in line for line in said)
    return (folder / "file").read_bytes()


def test_a_download_that_breaks_is_asked_for_again_a_few_times(
    server: BreakingServer, tmp_path: Path
) -> None:
    assert fetched(server, tmp_path) == CONTENT and server.most == []
    server.most = [0] * TRIES
    with pytest.raises(NoAnswerError, match="broken off"):
        fetched(server, tmp_path)
    assert server.most == []


@pytest.mark.parametrize(
    ("claimed", "most", "said"),
    [(b"other", 1 << 20, "expected the same"), (b"", 1 << 20, "says 'none'"),
     (CONTENT, 5_000, "at most 5,000")],
)  # fmt: skip
def test_what_comes_must_be_what_the_digest_says_and_no_more_than_may_be(
    server: BreakingServer, tmp_path: Path, claimed: bytes, most: int, said: str
) -> None:
    server.claimed = claimed
    with pytest.raises(InputError, match=said):
        fetched(server, tmp_path, most)


def test_an_answer_that_may_go_on_for_ever_is_not_fetched(
    server: BreakingServer, tmp_path: Path
) -> None:
    server.says_length = False
    with pytest.raises(InputError, match="does not say how many bytes, expected at most 1,048,576"):
        fetched(server, tmp_path)


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
