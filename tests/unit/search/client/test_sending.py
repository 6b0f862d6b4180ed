from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.client.connection import Answer, Connection, RefusedError
from lstm_sweep.search.client.sending import TRIES, send_data


class Forgetful(Connection):
    """A service that has deleted a file of each of so many corpora when they are to be made."""

    def __init__(self, deletes: int) -> None:
        super().__init__("http://localhost")
        self.deletes, self.sent = deletes, list[str]()
        self.there = set[str]()

    def get(self, *path: str, **more: Any) -> Answer:
        return answer(offset=0, complete=path[-1] in self.there)

    def put_bytes(self, *path: str, body: Any, **more: Any) -> Any:
        self.there.add(path[-1])
        self.sent.append(body.read().decode())

    def send(self, method: str, *path: str, document: Any = None, **more: Any) -> Answer:
        if self.deletes:
            self.deletes -= 1
            missing = document["files"][0]["sha256"]
            self.there.remove(missing)
            raise RefusedError("1 of its files are not uploaded", 409, {"missing": [missing]})
        return answer(data="corpus:1")


def answer(**given: Any) -> Answer:
    return Answer(200, {}, json_text(given).encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    return tmp_path


def test_files_that_are_deleted_before_the_corpus_is_made_are_sent_again(folder: Path) -> None:
    service = Forgetful(deletes=2)
    assert send_data(service, str(folder), lambda line: None) == "corpus:1"
    assert service.sent == ["a", "b", "a", "a"]


def test_a_service_that_deletes_them_again_and_again_is_given_up(folder: Path) -> None:
    service = Forgetful(deletes=TRIES + 1)
    with pytest.raises(RefusedError, match="not uploaded"):
        send_data(service, str(folder), lambda line: None)
