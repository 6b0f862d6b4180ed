from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.settings import Limits
from lstm_sweep.search.service.uploads import BLOCK, Receiver, UploadedCorpus, Uploads, unpack

CONTENT = b"sun moon river " * 60


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads", Limits(free_bytes=0))


def send(
    uploads: Uploads, content: bytes = CONTENT, name: str = "a.txt", owner: str = "ann"
) -> UploadedCorpus:
    with closing(uploads.receive(name, owner, is_folder=False)) as receiver:
        receiver.write(name, [content])
        return receiver.finish()


def left(uploads: Uploads) -> list[str]:
    """What lies in the folder beside corpora."""
    return sorted(str(one) for one in (uploads.folder_of("x").parents[1] / "coming").iterdir())


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
    again = Uploads(tmp_path / "uploads", Limits())
    assert again.corpora() == uploads.corpora() and len(again.corpora()) == 2
    again.delete(made.id)
    assert [one.name for one in again.corpora()] == ["b.txt"]
    assert not again.folder_of(made.id).exists() and left(again) == []


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


def bad_tars() -> Iterator[tuple[str, Callable[[], bytes]]]:
    kinds = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"S"
    for kind in kinds:
        yield (
            "is no file, expected files and folders",
            lambda kind=kind: packed(  # type: ignore[misc]
                {"a": b"x"}, more=entry("x", kind)
            ),
        )
    for path in ("../x", "/etc/x", "a/../x", "a\\..\\x", "a//x", "a\nb", "x" * 256):
        yield "path is", lambda path=path: packed({path: b"x"})  # type: ignore[misc]
    yield "has 21 parts", lambda: packed({"a/" * 20 + "x": b"x"})
    yield "is given twice", lambda: packed({"a": b"x", "./a": b"y"})
    yield "or as a file and a folder", lambda: packed({"a": b"x", "a/b": b"y"})
    yield "or as a file and a folder", lambda: packed({"a/b": b"x", "a": b"y"})
    yield "there are no files", lambda: packed({})
    yield "cannot be read: unexpected end", lambda: packed({"a": CONTENT})[:1200]
    yield "cannot be read: ", lambda: b"x" * 2000
    yield "bytes of attributes", lambda: entry("x", b"x", 1 << 30).tobuf() + bytes(1 << 17)
    yield "bytes of attributes", lambda: entry("x", b"g").tobuf() * 5_000
    yield "cannot be read: ", lambda: entry("x", b"x", 512).tobuf() + b"9" * 512
    yield "is no file", lambda: with_pax({"size": "-5"})
    yield "is no file", lambda: with_pax({"GNU.sparse.map": "0,1"})
    yield "cannot be read: ", lambda: with_pax({"GNU.sparse.map": "a,b"})


def with_pax(given: dict[str, str]) -> bytes:
    """A tar file with a file of these attributes."""
    found = entry("a", tarfile.REGTYPE)
    found.pax_headers = given
    return packed({}, more=found)


@pytest.mark.parametrize(("sentence", "content"), list(bad_tars()))
def test_what_no_corpus_can_have_is_refused_and_leaves_nothing(
    uploads: Uploads, sentence: str, content: Callable[[], bytes]
) -> None:
    with pytest.raises(InputError, match=sentence):
        unpacked(uploads, content())
    assert (uploads.corpora(), left(uploads)) == ([], [])


def test_files_and_folders_are_counted(tmp_path: Path) -> None:
    limits = Limits(files=3, free_bytes=0)
    uploads = Uploads(tmp_path / "uploads", limits)
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
        (Limits(corpus_bytes=899, free_bytes=0), 413),
        (Limits(uploads_bytes=2 * BLOCK + 899, free_bytes=0), 507),
        (Limits(free_bytes=1 << 60), 507),
    ],
)
def test_there_is_a_limit_to_what_is_taken(tmp_path: Path, limits: Limits, status: int) -> None:
    uploads = Uploads(tmp_path / "uploads", limits)
    with pytest.raises(ProblemError) as refused:
        send(uploads)
    assert refused.value.status == status
    assert left(uploads) == []


def test_what_has_come_is_reserved_and_no_more(tmp_path: Path) -> None:
    limits = Limits(uploads_bytes=26 * BLOCK, free_bytes=0, coming=9, coming_per_user=9)
    uploads = Uploads(tmp_path / "uploads", limits)
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
    assert left(uploads) == []
    uploads.delete(made.id)
    assert send(uploads, b"x" * 20 * BLOCK).bytes == 20 * BLOCK


def test_a_user_sends_a_few_corpora_at_once(tmp_path: Path) -> None:
    limits = Limits(coming=3, coming_per_user=2, free_bytes=0)
    uploads = Uploads(tmp_path / "uploads", limits)
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
    folder = tmp_path / "uploads"
    again = Uploads(folder, Limits())
    assert again.corpora() == [made] and left(again) == []
    assert [one.name for one in (folder / "corpora").iterdir()] == [made.id]
    receiver.close()


def test_what_cannot_be_read_at_the_start_is_kept_and_may_be_sent_again(
    uploads: Uploads, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, made = tmp_path / "uploads", send(uploads)
    about = folder / "corpora" / made.id / "about.json"
    known = json.loads(about.read_text())
    about.write_text(json.dumps(known | {"of_a_later_version": 1}))
    assert Uploads(folder, Limits()).corpora() == [made]
    for wrong in ("", "[]", "{}", None):
        about.unlink()
        about.write_text(wrong or "")
        if wrong is None:  # it can be opened by nobody, not even by root
            about.unlink()
            about.mkdir()
        caplog.clear()
        again = Uploads(folder, Limits(free_bytes=0))
        assert (again.corpora(), f"{about.parent}: it is left out" in caplog.text) == ([], True)
        assert (about.parent / "content" / "a.txt").read_bytes() == CONTENT
    assert send(again) == made and again.path_of(made.id).read_bytes() == CONTENT
    assert Uploads(folder, Limits()).corpora() == [made]
