from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lstm_sweep.search.engines import ray_agent
from lstm_sweep.search.engines.ray_agent import Bytes, digest, put, write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of several sizes, in chunks of 4 bytes."""
    monkeypatch.setattr(ray_agent, "CHUNK", 4)
    made = tmp_path / "made"
    made.mkdir()
    for name, text in {"empty": b"", "short": b"abc", "even": b"abcdefgh", "odd": b"abcde"}.items():
        (made / name).write_bytes(text)
    (made / "below").mkdir()
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_large_files_travel_in_chunks(folder: Path, tmp_path: Path) -> None:
    stored: list[Bytes] = []

    def store(chunk: Bytes) -> int:
        stored.append(chunk)
        return len(stored) - 1

    references = put(folder, store)
    assert {name: len(parts) for name, parts in references.items()} == {
        "empty": 0, "short": 1, "even": 2, "odd": 2,
    }  # fmt: skip
    write(tmp_path / "there", {n: map(stored.__getitem__, refs) for n, refs in references.items()})
    assert contents(tmp_path / "there") == contents(folder)


def test_a_digest_is_of_names_and_contents(folder: Path) -> None:
    before = digest(folder)
    assert len(before) == 32 and before == digest(folder)
    (folder / "odd").write_bytes(b"abcdf")
    changed = digest(folder)
    (folder / "odd").rename(folder / "other")
    assert len({before, changed, digest(folder)}) == 3


def test_a_name_leads_to_no_other_folder(tmp_path: Path) -> None:
    write(tmp_path / "there", {"../out": [np.frombuffer(b"abc", np.uint8)]})
    assert contents(tmp_path / "there") == {"out": b"abc"} and not (tmp_path / "out").exists()


def test_a_file_that_does_not_come_to_its_end_does_not_appear(tmp_path: Path) -> None:
    def parts() -> Iterator[Bytes]:
        yield np.frombuffer(b"abc", np.uint8)
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_bytes(b"earlier")
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, {"file": parts()})
    assert contents(tmp_path) == {"file": b"earlier"}
