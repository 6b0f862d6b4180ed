from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service.bodies import CorpusSubmission
from lstm_sweep.search.service.http_settings import Limits
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.uploads import KEPT_S, LOOK_EVERY_S, Uploads

CONTENT = b"sun moon " * 100


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads", Limits(free_bytes=0))


def send(uploads: Uploads, content: bytes, offset: int = 0, digest: str = "") -> str:
    digest = digest or digest_of(content)
    with uploads.receiving(digest, offset, len(content)) as receiver:
        receiver.write(content[offset:])
    uploads.finish(digest)
    return digest


def corpus(*paths: tuple[str, str], name: str = "a.txt", **more: Any) -> CorpusSubmission:
    files = [{"path": path, "sha256": digest} for path, digest in paths]
    return CorpusSubmission.model_validate({"name": name, "files": files, **more})


def test_a_file_is_sent_in_parts(uploads: Uploads) -> None:
    digest = digest_of(CONTENT)
    assert uploads.state(digest).to_dict() == {"sha256": digest, "offset": 0, "complete": False}
    with uploads.receiving(digest, 0, len(CONTENT)) as receiver:
        receiver.write(CONTENT[:100])
        assert not receiver.is_whole
    assert uploads.state(digest).offset == 100
    send(uploads, CONTENT, offset=100)
    assert uploads.state(digest).complete


def test_what_comes_at_another_place_is_refused_with_the_right_one(uploads: Uploads) -> None:
    digest = digest_of(CONTENT)
    with uploads.receiving(digest, 0, len(CONTENT)) as receiver:
        receiver.write(CONTENT[:100])
        with (
            pytest.raises(ProblemError, match="being received"),
            uploads.receiving(digest, 100, len(CONTENT)),
        ):
            pass
    for offset in (0, 99, 101):
        with (
            pytest.raises(ProblemError, match="expected 100") as refused,
            uploads.receiving(digest, offset, len(CONTENT)),
        ):
            pass
        assert (refused.value.status, refused.value.more) == (409, {"offset": 100})


def test_a_wrong_digest_is_refused_and_deleted(uploads: Uploads) -> None:
    wrong = digest_of(b"other")
    with pytest.raises(ProblemError, match="has digest") as refused:
        send(uploads, CONTENT, digest=wrong)
    assert refused.value.status == 422
    assert uploads.state(wrong).offset == 0


def test_more_than_was_said_is_refused(uploads: Uploads) -> None:
    digest = digest_of(CONTENT)
    with (
        uploads.receiving(digest, 0, 100) as receiver,
        pytest.raises(ProblemError, match="more was sent") as refused,
    ):
        receiver.write(CONTENT)
    assert refused.value.status == 413
    assert uploads.state(digest).offset == 0


@pytest.mark.parametrize(
    "limits, status",
    [
        (Limits(file_bytes=899, free_bytes=0), 413),
        (Limits(uploads_bytes=899, free_bytes=0), 507),
        (Limits(free_bytes=1 << 60), 507),
    ],
)
def test_limits_of_size_and_disk_hold_before_anything_is_read(
    tmp_path: Path, limits: Limits, status: int
) -> None:
    uploads = Uploads(tmp_path / "uploads", limits)
    with (
        pytest.raises(ProblemError) as refused,
        uploads.receiving(digest_of(CONTENT), 0, len(CONTENT)),
    ):
        pass
    assert refused.value.status == status


def test_what_others_are_sending_is_counted_with_all_that_will_come(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads", Limits(uploads_bytes=1_000, free_bytes=0))
    other = CONTENT[:200]
    with uploads.receiving(digest_of(CONTENT), 0, len(CONTENT)):
        with (
            pytest.raises(ProblemError, match="uploads take 900 bytes") as refused,
            uploads.receiving(digest_of(other), 0, len(other)),
        ):
            pass
        assert refused.value.status == 507
    assert uploads.state(send(uploads, other)).complete


def test_a_corpus_is_a_file_or_a_folder_of_uploaded_files(uploads: Uploads) -> None:
    digest = send(uploads, CONTENT)
    one = uploads.make_corpus(corpus(("a.txt", digest)))
    assert uploads.path_of(one.id).read_bytes() == CONTENT
    paths = [("train/a.txt", digest), ("validation/a.txt", digest), ("test/deep/a.txt", digest)]
    folder = uploads.make_corpus(corpus(*paths, name="logs"))
    assert (uploads.path_of(folder.id) / "test/deep/a.txt").read_bytes() == CONTENT
    assert uploads.path_of(folder.id).name == "logs"
    assert (folder.files, folder.bytes) == (3, 3 * len(CONTENT))
    assert uploads.make_corpus(corpus(*paths[::-1], name="logs")) == folder
    assert [found.name for found in uploads.corpora()] == ["a.txt", "logs"]
    of_one = uploads.make_corpus(corpus(("a.txt", digest), is_folder=True))
    assert (uploads.path_of(of_one.id) / "a.txt").exists() and of_one.id != one.id


def test_a_corpus_of_files_that_are_not_there_names_them(uploads: Uploads) -> None:
    there, missing = send(uploads, CONTENT), digest_of(b"not there")
    with pytest.raises(ProblemError, match="1 of its files") as refused:
        uploads.make_corpus(corpus(("a", there), ("b", missing), name="logs"))
    assert (refused.value.status, refused.value.more) == (409, {"missing": [missing]})


@pytest.mark.parametrize(
    "path",
    ["../a", "a/../../b", "/etc/passwd", "a//b", "./a", "a/.", "..", "a/", "a\\b", "a\0b", "a\nb",
     "x" * 256, "\ud800"],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(uploads: Uploads, path: str) -> None:
    digest = send(uploads, CONTENT)
    before = sorted(map(str, Path(uploads.folder_of("0")).parent.rglob("*")))
    given = corpus(("a", digest), name="logs")
    given.files[0].path = path
    with pytest.raises(InputError, match="expected names of files"):
        uploads.make_corpus(given)
    with pytest.raises(InputError, match="expected names of files"):
        uploads.make_corpus(corpus(("a", digest)).model_copy(update={"name": path}))
    assert sorted(map(str, Path(uploads.folder_of("0")).parent.rglob("*"))) == before


@pytest.mark.parametrize("corpus_id", ["", "..", "../files", "0" * 32, "0" * 31 + "/", "\0"])
def test_an_unknown_corpus_is_not_found(uploads: Uploads, corpus_id: str) -> None:
    with pytest.raises(ProblemError, match="there is none") as refused:
        uploads.path_of(corpus_id)
    assert refused.value.status == 404


def test_a_deleted_corpus_leaves_files_that_others_have(uploads: Uploads) -> None:
    shared, own = send(uploads, CONTENT), send(uploads, b"own")
    kept = uploads.make_corpus(corpus(("a.txt", shared)))
    gone = uploads.make_corpus(corpus(("a", shared), ("b", own), name="logs"))
    uploads.delete(gone.id)
    assert uploads.corpora() == [kept]
    assert uploads.state(shared).complete and uploads.state(own).offset == 0


def test_a_deleted_corpus_leaves_files_that_somebody_has_just_sent(uploads: Uploads) -> None:
    gone = uploads.make_corpus(corpus(("a.txt", send(uploads, CONTENT))))
    sent = send(uploads, b"not in a corpus yet")
    uploads.delete(gone.id)
    assert uploads.state(sent).complete


def test_a_file_that_is_in_no_corpus_for_long_is_deleted(uploads: Uploads, tmp_path: Path) -> None:
    digests = kept, gone = send(uploads, CONTENT), send(uploads, b"in none")
    uploads.make_corpus(corpus(("a.txt", kept)))
    old = time.time() - KEPT_S - 60
    for digest in digests:
        os.utime(tmp_path / "uploads/files" / digest, (old, old))
    again = Uploads(tmp_path / "uploads", Limits())
    assert (again.state(kept).complete, again.state(gone).complete) == (True, False)


def test_parts_that_nobody_goes_on_with_are_deleted(uploads: Uploads, tmp_path: Path) -> None:
    with uploads.receiving(digest_of(CONTENT), 0, len(CONTENT)) as receiver:
        receiver.write(CONTENT[:100])
    [part] = (tmp_path / "uploads/parts").iterdir()
    Uploads(tmp_path / "uploads", Limits())
    assert part.exists()
    old = time.time() - KEPT_S - 60
    os.utime(part, (old, old))
    Uploads(tmp_path / "uploads", Limits())
    assert not part.exists()


def test_room_is_counted_without_a_look_at_each_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(uploads_bytes=1_000, free_bytes=0)
    other = CONTENT[:200]
    uploads = Uploads(tmp_path / "uploads", limits)

    def has_room() -> bool:
        try:
            with uploads.receiving(digest_of(other), 0, len(other)):
                return True
        except ProblemError as refused:
            assert refused.status == 507
            return False

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", None)
        with pytest.raises(ProblemError, match="has digest"):
            send(uploads, CONTENT, digest=digest_of(b"wrong"))
        assert has_room()
        with uploads.receiving(digest_of(CONTENT), 0, len(CONTENT)) as receiver:
            receiver.write(CONTENT[:850])
        assert not has_room()
        send(uploads, CONTENT, offset=850)
        assert not has_room()
    uploads = Uploads(tmp_path / "uploads", limits)
    assert not has_room()
    uploads.delete(uploads.make_corpus(corpus(("a.txt", digest_of(CONTENT)))).id)
    assert has_room()


def test_old_parts_are_deleted_when_a_file_comes_later_and_count_no_more(tmp_path: Path) -> None:
    now = [0.0]
    limits = Limits(uploads_bytes=950, free_bytes=0)
    uploads = Uploads(tmp_path / "uploads", limits, lambda: now[0])
    mine, other = CONTENT, CONTENT[:800]
    for content in (mine, other):
        with uploads.receiving(digest_of(content), 0, len(content)) as receiver:
            receiver.write(content[:100])
    old = time.time() - KEPT_S - 60
    for part in (tmp_path / "uploads/parts").iterdir():
        os.utime(part, (old, old))
    with pytest.raises(ProblemError, match="uploads take"):
        send(uploads, mine, offset=100)
    now[0] = LOOK_EVERY_S
    send(uploads, mine, offset=100)  # what somebody goes on with stays, however old
    assert uploads.state(digest_of(mine)).complete
    assert uploads.state(digest_of(other)).offset == 0
