from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from lstm_sweep.models.errors import InputError, cut
from lstm_sweep.search.actions.transfers import corpus_id_of
from lstm_sweep.search.service import app as routes
from lstm_sweep.search.service import site
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.settings import Limits
from lstm_sweep.search.service.site import DataNames
from lstm_sweep.search.service.uploads import BLOCK, Receiver, UploadedCorpus, Uploads, unpack
from tests.service_app import API, SPACE, Place, send_corpus, use_scripted_engines

CONTENT = b"sun moon river " * 60


def uploads_in(folder: Path, **limits: int) -> Uploads:
    return Uploads(folder / "uploads", Limits(**{"free_bytes": 0} | limits))


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    """Those of a folder, beside which nothing is left by any test."""
    yield (made := uploads_in(tmp_path))
    assert not any(made.coming.iterdir())


def send(
    uploads: Uploads, content: bytes = CONTENT, name: str = "a.txt", owner: str = "ann"
) -> UploadedCorpus:
    with closing(uploads.receive(name, owner, is_folder=False)) as receiver:
        receiver.write(name, [content])
        return receiver.finish()


def packed(
    files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT, **more: tarfile.TarInfo
) -> bytes:
    """A tar file with these files."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=kind) as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for entry in more.values():
            tar.addfile(entry)
    return output.getvalue()


def unpacked(uploads: Uploads, content: bytes) -> UploadedCorpus:
    """The corpus `logs` of a tar file."""
    body: Any = io.BytesIO(content)
    with closing(uploads.receive("logs", "ann", is_folder=True)) as receiver:
        unpack(body, receiver)
        assert not body.read()
        return receiver.finish()


def test_a_corpus_of_a_file_is_found_again(uploads: Uploads, tmp_path: Path) -> None:
    made = send(uploads)
    assert uploads.path_of(made.id).read_bytes() == CONTENT
    assert (made.name, made.files, made.bytes, made.owner) == ("a.txt", 1, 900, "ann")
    assert send(uploads, owner="bob") == made == uploads.corpus(made.id)
    assert send(uploads, name="b.txt").id != made.id
    again = uploads_in(tmp_path)
    assert again.corpora() == uploads.corpora() and len(again.corpora()) == 2
    again.delete(made.id)
    assert [one.name for one in again.corpora()] == ["b.txt"]
    assert not again.folder_of(made.id).exists()


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_folder_is_unpacked(uploads: Uploads, kind: int) -> None:
    long = "/".join(["deep" * 12, "er" * 24, "a.txt"]) if kind == tarfile.USTAR_FORMAT else (
        f"{'x' * 120}/\u00e4{'y' * 200}.txt"
    )  # fmt: skip
    files = {"test/b.txt": b"b" * 513, long: CONTENT, "./empty.txt": b"", "train/a.txt": b"a" * 512}
    folder = tarfile.TarInfo("nothing/in/it")
    folder.type = tarfile.DIRTYPE
    made = unpacked(uploads, packed(files, kind, folder=folder))
    top = uploads.path_of(made.id)
    found = {path.relative_to(top).as_posix(): path.read_bytes()
             for path in top.rglob("*") if path.is_file()}  # fmt: skip
    assert found == {path.removeprefix("./"): content for path, content in files.items()}
    assert not (top / "nothing").exists()
    turned = unpacked(uploads, packed(dict(reversed(files.items())), kind))
    assert turned == made


def entry(name: str, kind: bytes, size: int = 0) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, "/etc/passwd", size
    return found


def with_pax(given: dict[str, str]) -> bytes:
    """A tar file with a file of these attributes."""
    found = entry("a", tarfile.REGTYPE)
    found.pax_headers = given
    return packed({}, more=found)


KINDS = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"S"
PATHS = "../x", "/etc/x", "a/../x", "a\\..\\x", "a//x", "a\nb", "x" * 256
#: what is said of tar files
BAD_TARS = [
    *(("is no file, expected files and folders", packed({"a": b"x"}, more=entry("x", kind)))
      for kind in KINDS),
    *(("path is", packed({path: b"x"})) for path in PATHS),
    ("has 21 parts", packed({"a/" * 20 + "x": b"x"})),
    ("is given twice", packed({"a": b"x", "./a": b"y"})),
    ("or as a file and a folder", packed({"a": b"x", "a/b": b"y"})),
    ("or as a file and a folder", packed({"a/b": b"x", "a": b"y"})),
    ("there are no files", packed({})),
    ("cannot be read: unexpected end", packed({"a": CONTENT})[:1200]),
    ("cannot be read: ", b"x" * 2000),
    ("bytes of attributes", entry("x", b"x", 1 << 30).tobuf() + bytes(1 << 17)),
    ("bytes of attributes", entry("x", b"g").tobuf() * 5_000),
    ("cannot be read: ", entry("x", b"x", 512).tobuf() + b"9" * 512),
    ("is no file", with_pax({"size": "-5"})),
    ("is no file", with_pax({"GNU.sparse.map": "0,1"})),
    ("cannot be read: ", with_pax({"GNU.sparse.map": "a,b"})),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "content"), BAD_TARS, ids=lambda part: "" if isinstance(part, bytes) else part
)
def test_what_no_corpus_can_have_is_refused_and_leaves_nothing(
    uploads: Uploads, sentence: str, content: bytes
) -> None:
    with pytest.raises(InputError, match=sentence):
        unpacked(uploads, content)
    assert uploads.corpora() == []


def test_files_and_folders_are_counted(tmp_path: Path) -> None:
    uploads = uploads_in(tmp_path, files=3)
    with pytest.raises(InputError, match="over 3 files"):
        unpacked(uploads, packed({f"{n}": b"x" for n in range(4)}))
    made = unpacked(uploads, packed({"a/b/x": b"x", "a/b/y": b"y", "a/c/z": b""}))
    assert made.disk_bytes == (6 + 5) * BLOCK + 2  # the last block, and content, c, a, b, c


@pytest.mark.parametrize("name", ["..", "", "a/b", "a\\b", "a\0", "x" * 256, "\ud800"])
def test_a_name_that_is_none_is_refused(uploads: Uploads, name: str) -> None:
    with pytest.raises(InputError, match="name "):
        uploads.receive(name, "ann", is_folder=True)
    with pytest.raises(InputError, match="name "):
        uploads.announce("0" * 32, name, 1)


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({"corpus_bytes": 899}, 413),
        ({"uploads_bytes": 2 * BLOCK + 899}, 507),
        ({"free_bytes": 1 << 60}, 507),
    ],
)
def test_there_is_a_limit_to_what_is_taken(
    tmp_path: Path, limits: dict[str, int], status: int
) -> None:
    uploads = uploads_in(tmp_path, **limits)
    with pytest.raises(ProblemError) as refused:
        send(uploads)
    assert (refused.value.status, [*uploads.coming.iterdir()]) == (status, [])


def test_what_has_come_is_reserved_and_no_more(tmp_path: Path) -> None:
    uploads = uploads_in(tmp_path, uploads_bytes=26 * BLOCK, coming=9, coming_per_user=9)
    waiting = list[Receiver]()
    for _ in range(5):
        assert not uploads.announce("0" * 32, "large.txt", 20 * BLOCK)
        waiting.append(uploads.receive("large.txt", "bob", is_folder=False))
    made = send(uploads, b"x" * 5 * BLOCK)  # those that have sent nothing do not stop it
    with pytest.raises(ProblemError, match="uploads take") as refused:
        waiting[0].write("large.txt", [b"x" * BLOCK] * 20)
    assert refused.value.status == 507
    for one in waiting:
        one.close()
    uploads.delete(made.id)
    assert send(uploads, b"x" * 20 * BLOCK).bytes == 20 * BLOCK


def test_a_user_sends_a_few_corpora_at_once(tmp_path: Path) -> None:
    uploads = uploads_in(tmp_path, coming=3, coming_per_user=2)
    receivers = [uploads.receive("a", owner, is_folder=False) for owner in ("ann", "ann", "bob")]
    for owner in ("ann", "carl"):
        with pytest.raises(ProblemError) as refused:
            uploads.receive("a", owner, is_folder=False)
        assert refused.value.status == 429
    receivers[0].close()
    uploads.receive("a", "ann", is_folder=False).close()


def test_what_a_killed_service_has_left_is_deleted_at_the_next_start(
    uploads: Uploads, tmp_path: Path
) -> None:
    made = send(uploads)
    receiver = uploads.receive("b.txt", "ann", is_folder=False)
    receiver.write("b.txt", [CONTENT])
    again = uploads_in(tmp_path)
    assert (again.corpora(), [*again.coming.iterdir()]) == ([made], [])
    assert [one.name for one in (tmp_path / "uploads" / "corpora").iterdir()] == [made.id]
    receiver.close()


def test_what_cannot_be_read_at_the_start_is_kept_and_may_be_sent_again(
    uploads: Uploads, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = send(uploads)
    about = uploads.folder_of(made.id) / "about.json"
    known = json.loads(about.read_text())
    about.write_text(json.dumps(known | {"of_a_later_version": 1}))
    assert uploads_in(tmp_path).corpora() == [made]
    for wrong in ("", "[]", "{}", None):
        about.unlink()
        about.write_text(wrong or "")
        if wrong is None:  # it can be opened by nobody, not even by root
            about.unlink()
            about.mkdir()
        caplog.clear()
        again = uploads_in(tmp_path)
        assert (again.corpora(), f"{about.parent}: it is left out" in caplog.text) == ([], True)
        assert (about.parent / "content" / "a.txt").read_bytes() == CONTENT
    assert send(again) == made and again.path_of(made.id).read_bytes() == CONTENT
    assert uploads_in(tmp_path).corpora() == [made]


BODY = b"sun moon river " * 200
ID = corpus_id_of("a.txt", {"a.txt": hashlib.sha256(BODY).hexdigest()}, is_folder=False)
PLACE = f"{API}/corpora/{ID}"
KIND = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def place(workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Place:
    use_scripted_engines(monkeypatch)
    return Place.in_folder(workplace("corpora"), limits=Limits(request_bytes=2_000))


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    """A client, of whose uploads nothing is left beside corpora by any test."""
    with place.client() as client:
        yield client
    assert not any((place.settings.folder / "uploads" / "coming").iterdir())


def put(client: TestClient, content: Any = BODY, name: str = "a.txt", **headers: str) -> Any:
    return client.put(PLACE, params={"name": name}, content=content, headers=KIND | headers)


def announced(client: TestClient) -> Any:
    return client.post(f"{API}/corpora", json={"id": ID, "name": "a.txt", "bytes": 3_000})


def test_a_file_is_announced_sent_searched_and_deleted(client: TestClient, place: Place) -> None:
    assert announced(client).json() == {"id": ID, "data": f"corpus:{ID}", "is_there": False}
    made = put(client)  # it has more bytes than other bodies may have
    assert (made.status_code, client.get(PLACE).json()) == (201, made.json())
    assert announced(client).json()["is_there"]
    assert client.get(f"{API}/corpora").json() == {"corpora": [made.json()]}
    body = {"data": made.json()["data"], "space": SPACE, "size_rule": "off", "trials": 1}
    assert client.post(f"{API}/sweeps", json=body).json()["sweep"] == "a-1"
    rerun = client.post(f"{API}/sweeps/a-1/trials/0/reruns").json()["id"]
    refused = client.delete(PLACE)
    assert refused.status_code == 409
    assert "a rerun of trial 'a-1/0' needs it, which is queued" in refused.json()["detail"]
    place.service._reruns.note_end(rerun, 0)
    assert client.delete(PLACE).status_code == 204
    assert client.get(PLACE).status_code == 404


def test_a_corpus_that_a_sweep_needs_is_kept_when_the_folder_has_moved(
    client: TestClient, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client)
    link = place.settings.folder.with_name("before")
    link.symlink_to(place.settings.folder)
    data = str(link / "uploads" / "corpora" / ID / "content" / "a.txt")
    waiting = SimpleNamespace(data=data, sweep="s", state="queued")
    monkeypatch.setattr(routes, "unfinished", lambda home: [waiting])
    refused = client.delete(PLACE)
    assert (refused.status_code, "sweep 's' needs it" in refused.json()["detail"]) == (409, True)
    waiting.data = str(link / "uploads" / "corpora" / ("0" * 32) / "content" / "a.txt")
    assert client.delete(PLACE).status_code == 204


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-tar"}, 422),
        ({"name": "../a.txt"}, 422),
        ({"name": ""}, 422),
        ({"name": "x" * 201}, 422),
        ({"content": BODY[::-1]}, 409),
        ({"content": b""}, 409),
    ],
)
def test_what_is_no_upload_is_refused_and_leaves_nothing(
    client: TestClient, given: dict[str, Any], status: int
) -> None:
    refused = put(client, **given)
    assert refused.status_code == status and refused.json()["detail"]
    assert client.get(f"{API}/corpora").json() == {"corpora": []}


@pytest.mark.parametrize("corpus_id", ["abc", "..%2F..%2Ftokens.json", ID.upper(), ID + "0"])
def test_what_is_no_id_names_no_corpus(client: TestClient, corpus_id: str) -> None:
    path = f"{API}/corpora/{corpus_id}"
    sent = client.put(path, params={"name": "a.txt"}, content=BODY, headers=KIND)
    assert {sent.status_code, client.get(path).status_code} <= {404, 422}


def test_an_upload_that_breaks_off_leaves_nothing(client: TestClient) -> None:
    def broken() -> Iterator[bytes]:
        yield BODY[:100]
        raise RuntimeError

    assert put(client, broken()).status_code == 500
    assert send_corpus(client, BODY) == f"corpus:{ID}"


# No request names a path of the machine, but below the folders that were given for it


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of data, beside a secret."""
    (tmp_path / "secret.txt").write_text("secret " * 100)
    root = tmp_path / "data"
    (root / "logs").mkdir(parents=True)
    (root / "logs" / "a.txt").write_text("sun moon " * 100)
    (root / "out").symlink_to(tmp_path / "secret.txt")
    (root / "within").symlink_to(root / "logs")
    (root / "mixed").mkdir()
    (root / "mixed" / "a.txt").symlink_to(tmp_path / "secret.txt")
    (root / "template.py").write_text("")
    return root


@pytest.fixture
def names(uploads: Uploads, tmp_path: Path, root: Path) -> DataNames:
    return DataNames(uploads, (tmp_path / "other", root), allow_code=False, store="x")


def test_data_below_a_folder_are_found(names: DataNames, root: Path) -> None:
    assert names.data("python-docs") == "python-docs"
    for given in ("server:logs/a.txt", f"server:{root}/logs/a.txt", "server:within/a.txt"):
        assert names.data(given) == str(root / "logs/a.txt")
    assert names.spec_of({"data": "server:logs"}).data == str(root / "logs")


@pytest.mark.parametrize(
    "given",
    ["/etc/passwd", "logs/a.txt", "~", "", None, 5, ["a"], "file:///etc/passwd", "server:",
     "server", "server:../secret.txt", "server:logs/../../secret.txt", "server:/etc/passwd",
     "server:out", "server:mixed", "server:mixed/a.txt", "server:\0", "server:" + "x/" * 5000,
     "server:~/x",      "server:none", "server:logs\ud800", "corpus", "http://x/"],
)  # fmt: skip
def test_data_elsewhere_are_refused(names: DataNames, given: object) -> None:
    # the folder itself has a link that leads out of it
    said = "leads out of it" if given == "server:" else "^request: data is"
    with pytest.raises(InputError, match=said) as refused:
        names.data(given)
    assert "secret secret" not in str(refused.value)


def test_nothing_is_learned_of_links_elsewhere(
    names: DataNames, tmp_path: Path, root: Path
) -> None:
    for folder in (tmp_path, root):
        (folder / "ring").symlink_to("ring")
    with pytest.raises(InputError, match="no such file or folder below the folders"):
        names.data("server:../ring")
    with pytest.raises(InputError, match="Too many levels of symbolic links") as refused:
        names.data("server:ring")
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("given", ["corpus:", "corpus:../..", "corpus:" + "0" * 32])
def test_a_corpus_that_was_not_uploaded_is_not_found(names: DataNames, given: str) -> None:
    with pytest.raises(ProblemError) as refused:
        names.data(given)
    assert refused.value.status == 404


def test_uploads_are_named_also_if_a_message_cuts_their_paths(
    names: DataNames, uploads: Uploads, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = send(uploads, name="n" * 150)
    path = str(uploads.path_of(corpus.id))
    elsewhere = f"{root}/logs/a.txt"
    named = f"'corpus:{corpus.id}' or 'server:logs/a.txt'"
    assert names.named(f"'{path}' or '{elsewhere}'") == named
    assert names.data_named(elsewhere) == "server:logs/a.txt"
    assert names.data_named(path) == "n" * 150
    assert names.data_named("/home/ann/tunes") == "tunes"
    assert names.data_named("python-docs") == "python-docs"
    its_end = path.index(corpus.id) + len(corpus.id)
    for longest in (its_end, its_end + 1, its_end + 20, len(path)):
        monkeypatch.setattr(site, "cut", lambda text, longest=longest: cut(text, longest))
        message = f"data '{cut(path, longest)}': is none"
        assert names.named(message) == f"data 'corpus:{corpus.id}': is none"
    uploads.delete(corpus.id)
    assert names.named(path) == f"corpus:{corpus.id}/content/{'n' * 150}"


def test_code_is_refused_unless_it_is_allowed(
    names: DataNames, uploads: Uploads, root: Path
) -> None:
    with pytest.raises(ProblemError, match="--allow-code") as refused:
        names.spec_of({"template": "server:template.py"})
    assert refused.value.status == 403
    allowing = DataNames(uploads, (root,), allow_code=True, store="x")
    with pytest.raises(InputError, match="template is '/etc/passwd'"):
        allowing.spec_of({"template": "/etc/passwd"})
    with pytest.raises(InputError, match=r"template\.py"):  # it is found, and is no template
        allowing.spec_of({"template": "server:template.py"})


def test_without_folders_there_are_none(uploads: Uploads) -> None:
    names = DataNames(uploads, (), allow_code=False, store="x")
    with pytest.raises(InputError, match="without --data-root"):
        names.data("server:logs")
