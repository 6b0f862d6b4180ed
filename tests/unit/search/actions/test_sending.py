from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.actions.connection import Answer, Connection, NoAnswerError
from lstm_sweep.search.actions.transfers import SENDS, send_data


class Fake(Connection):
    """A service whose connection breaks so many times while a corpus is sent."""

    def __init__(self, breaks: int = 0, *, has_it: bool = False) -> None:
        self.said = list[str]()
        super().__init__("http://localhost", say=self.said.append, sleep=lambda seconds: None)
        self.breaks, self.has_it = breaks, has_it
        self.announced, self.sent = list[dict[str, Any]](), list[bytes]()

    def send(self, method: str, *path: str, document: Any = None, **more: Any) -> Answer:
        self.announced.append(document)
        return Answer(200, {}, json_text({"is_there": self.has_it}).encode())

    def put(self, *path: str, body: Iterable[bytes], size: int, **more: Any) -> Any:
        if self.breaks:
            self.breaks -= 1
            next(iter(body))
            raise NoAnswerError("no answer")
        self.sent.append(b"".join(body))
        assert len(self.sent[-1]) == size


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
    service = Fake(SENDS - 1)
    send_data(service, str(file))
    assert service.sent == [b"a" * 600] and "sending a.txt again" in service.said[1]
    assert len(service.announced) == SENDS
    with pytest.raises(NoAnswerError):
        send_data(Fake(SENDS), str(file))


def test_a_file_that_shrinks_while_it_is_sent_is_named(folder: Path) -> None:
    file = folder / "a" / "a.txt"

    class Shrinking(Fake):
        def put(self, *path: str, **more: Any) -> Any:
            file.write_text("a")
            return super().put(*path, **more)

    with pytest.raises(InputError, match="it has changed while it was sent"):
        send_data(Shrinking(), str(folder))
