"""Lines of files that grow, are rotated or begin anew: none is lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process import tail
from lstm_sweep.search.process.tail import Pipe, Tail

Change = Callable[[Path], None]


def append(file: Path, text: str) -> None:
    with file.open("a") as stream:
        stream.write(text)


def rename(file: Path) -> None:
    file.rename(file.with_name(f"a.log.{len([*file.parent.iterdir()])}"))
    file.touch()


def copy_and_truncate(file: Path) -> None:
    shutil.copy(file, file.with_name(f"a.log-{20260000 + len([*file.parent.iterdir()])}"))
    os.truncate(file, 0)


def read_all(found: Tail) -> str:
    """All that is there now."""
    parts = [found.read() for _ in range(12)]
    return b"".join(parts).decode()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 9),
            st.sampled_from([None, rename, copy_and_truncate]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_no_line_is_lost_or_repeated_by_rotation_or_by_a_kill(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, Change | None, bool, bool]]
) -> None:
    file = tmp_path_factory.mktemp("logs") / "a.log"
    append(file, "".join(f"{'first line ' * 9}{number}\n" for number in range(4)))
    written, said = file.read_text(), list[str]()
    follower = Tail(file, said.append)
    read = read_all(follower)
    for number, (lines, change, is_written, is_killed) in enumerate(steps):
        text = "".join(f"{number} line {line}\n" for line in range(lines))
        append(file, text)
        written += text
        position = json.loads(json.dumps(follower.position()))
        if change:
            change(file)
        if change and is_written:
            append(file, f"after {number}\n")
            written += f"after {number}\n"
        if is_killed:
            follower = Tail(file, said.append, position)
        read += read_all(follower)
    assert read == written


def test_a_line_is_whole_before_it_is_read_and_a_long_one_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MOST_REST", 8)
    file = tmp_path / "a.log"
    append(file, "\ufeffone\r\ntw")
    found = Tail(file, lambda line: None)
    assert read_all(found) == "one\n"
    append(file, "o\n" + "x" * 5)
    assert read_all(found) == "two\n"
    position = found.position()
    append(file, "x" * 500_000)
    assert read_all(found) == ""
    append(file, "\nlast\n")
    assert read_all(found) == "xxxxxxxx\nlast\n"
    assert read_all(Tail(file, lambda line: None, position)).endswith("\nlast\n")


def test_a_file_that_shrinks_is_read_from_its_beginning_and_that_is_said(tmp_path: Path) -> None:
    file, said = tmp_path / "a.log", list[str]()
    found = Tail(file, said.append)
    assert said == [f"{file} is not there yet: waiting for it"]
    append(file, "one\ntwo\nthr")
    assert read_all(found) == "one\ntwo\n"
    file.write_text("new\n")
    assert read_all(found) == "thr\nnew\n"
    assert said[1:] == [f"{file} has shrunk or begins otherwise: going on from its beginning"]
    position = found.position()
    file.unlink()
    append(file, "another\n")
    assert read_all(Tail(file, said.append, position)) == "another\n"
    assert "is another file than the one that was read" in said[-1]


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (b"\x1f\x8b\x08\0", r"a\.log: is packed by gzip, expected a text that grows"),
        ("text".encode("utf-16"), r"a\.log: is text in UTF-16, expected UTF-8"),
    ],
)
def test_what_is_no_text_is_refused(content: bytes, refusal: str, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(content)
    with pytest.raises(InputError, match=refusal):
        Tail(tmp_path / "a.log", lambda line: None).read()
    for wrong in (tmp_path, tmp_path / "none" / "a.log"):
        with pytest.raises(InputError, match="--follow"):
            Tail(wrong, lambda line: None)


def test_a_pipe_is_read_until_its_end() -> None:
    ours, theirs = os.pipe()
    found = Pipe(ours)
    assert found.read() == b""
    os.write(theirs, b"one\ntwo")
    assert found.read() == b"one\n"
    os.close(theirs)
    assert [found.read(), found.read()] == [b"two\n", None]
    os.close(ours)
