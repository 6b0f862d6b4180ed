"""Downloads from a real server on a port, which breaks off, and has other contents later."""

from __future__ import annotations

import base64
import hashlib
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import transfers
from lstm_sweep.search.actions.connection import Connection, NoAnswerError
from lstm_sweep.search.actions.transfers import TRIES, download, unpack

CONTENT = bytes(range(256)) * 40
OTHER = CONTENT[::-1]


class Breaking(BaseHTTPRequestHandler):
    """Sends at most so many bytes of a file at a time."""

    def do_GET(self) -> None:
        """Send a part of the file, as it is now."""
        server = self.server
        assert isinstance(server, BreakingServer)
        if self.path.endswith("/health"):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")
            return
        content = server.contents.pop(0) if len(server.contents) > 1 else server.contents[0]
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        digest = base64.b64encode(hashlib.sha256(server.claimed or content).digest()).decode()
        begin = 0
        if self.headers.get("If-Range") == tag:
            begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        server.begun.append(begin)
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.send_header("ETag", tag)
        if server.has_digest:
            self.send_header("Repr-Digest", f"sha-256=:{digest}:")
        self.end_headers()
        self.wfile.write(content[begin : begin + server.most])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Write no log."""


class BreakingServer(ThreadingHTTPServer):
    """A server with a file."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Breaking)
        #: of the file at each request; the last one stays
        self.contents = [CONTENT]
        #: of what the digest is said to be
        self.claimed = b""
        self.has_digest, self.most = True, 4_000
        #: where what is sent began
        self.begun: list[int] = []


@pytest.fixture
def server() -> Iterator[BreakingServer]:
    """A server that runs."""
    with BreakingServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetched(server: BreakingServer, folder: Path, most: int = 1 << 20) -> bytes:
    """What a download has written."""
    said = list[str]()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    service = Connection(address, say=said.append, sleep=lambda s: None)
    try:
        download(service, folder / "file", "bundle", most=most, format="x")
    finally:
        assert all("asking for the rest" in line for line in said)
    return (folder / "file").read_bytes()


def test_a_download_goes_on_where_it_has_broken(server: BreakingServer, tmp_path: Path) -> None:
    assert fetched(server, tmp_path) == CONTENT
    assert server.begun == [0, 4_000, 8_000]


def test_what_comes_must_be_what_the_digest_says(server: BreakingServer, tmp_path: Path) -> None:
    server.claimed = OTHER
    with pytest.raises(InputError, match="expected the same"):
        fetched(server, tmp_path)
    server.has_digest = False
    with pytest.raises(InputError, match="no digest"):
        fetched(server, tmp_path)


def test_more_than_may_be_is_not_kept(server: BreakingServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than 5,000 bytes"):
        fetched(server, tmp_path, most=5_000)


def test_one_that_never_gets_further_ends(server: BreakingServer, tmp_path: Path) -> None:
    server.most = 0
    with pytest.raises(NoAnswerError, match="broken off"):
        fetched(server, tmp_path)
    assert server.begun == [0] * TRIES


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
    unpack(zipped(tmp_path / "z", entries), tmp_path / "to")
    found = {p.relative_to(tmp_path / "to").as_posix() for p in (tmp_path / "to").rglob("*")}
    assert found == {"a", "deep", "deep/b c"}
    assert (tmp_path / "to/deep/b c").read_bytes() == b"22"
    assert not (tmp_path / "to/a").stat().st_mode & 0o7111


@pytest.mark.parametrize(
    "name",
    [
        "../out", "s-1/../../out", "/etc/out", "s-1//etc/out", "C:/out", "s-1/C:out", "s-1\\out",
        "s-1/./out", "s-1/..", "alone", "", "s-1/a\x00b", "s-1/a\nb", "other/out", "s-1/first",
        "s-1/" + "d/" * 300 + "out",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "below"
    folder.mkdir()
    file = zipped(tmp_path / "z", [("s-1/first", b"1", FILE), (name, b"2", FILE)])
    with pytest.raises(InputError, match="expected") as refused:
        unpack(file, folder / "to")
    assert "\n" not in str(refused.value)
    assert not list(folder.iterdir()) and {p.name for p in tmp_path.iterdir()} == {"below", "z"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    file = zipped(tmp_path / "z", [("s-1/link", b"/etc/passwd", kind | 0o777)])
    with pytest.raises(InputError, match="a link or a device"):
        unpack(file, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = zipped(tmp_path / "z", [("s-1/a", b"0" * 10_000, FILE), ("s-1/b", b"1", FILE)])
    with pytest.raises(InputError, match="more than 10,000 bytes"):
        unpack(file, tmp_path / "to", most_bytes=10_000)
    monkeypatch.setattr(transfers, "MOST_FILES", 1)
    with pytest.raises(InputError, match="2 files"):
        unpack(file, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_what_is_no_whole_zip_file_is_refused(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "z", [("s-1/a", bytes(range(256)) * 40, FILE)]).read_bytes()
    assert len(whole) > 200
    for content in (b"", b"PK\x03\x04", whole[:-30], whole[:60] + b"xxxx" + whole[64:]):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(InputError, match="no whole zip file"):
            unpack(tmp_path / "bad", tmp_path / f"to-{len(content)}")
