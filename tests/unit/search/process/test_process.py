"""Ctrl-C comes late where something must not be left half done, and never gets lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process import forkserver, signals, tail
from lstm_sweep.search.process.scoped import (
    NO_PROCESS,
    Overrides,
    is_running,
    start_ticks,
)
from lstm_sweep.search.process.signals import Interrupted, Interrupts, Shield, stop_within_s
from lstm_sweep.search.process.tail import Pipe, Tail


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("inside", "after", "to_the_end", "done"),
    [
        (1, 0, False, ["inside", "after"]),
        (2, 0, False, []),  # a second one is not held back
        (1, 1, False, ["inside"]),
        (1, 1, True, ["inside", "after", "closed"]),  # the inner section does not end the end
    ],
)
def test_one_interrupt_waits_for_the_end_of_the_outermost_hold_unless_that_is_the_last(
    inside: int, after: int, to_the_end: bool, done: list[str]
) -> None:
    shield, steps = Shield(), list[str]()
    with suppress(KeyboardInterrupt), shield.up():
        with shield.hold(to_the_end=to_the_end):
            with shield.hold():
                for _ in range(inside):
                    interrupt()
                steps.append("inside")
            assert shield.ending is to_the_end
            for _ in range(after):
                interrupt()
            steps.append("after")
        steps.append("closed")
    assert steps == done


def test_an_interrupt_that_was_held_back_comes_though_the_section_fails() -> None:
    shield = Shield()
    with shield.up():
        with pytest.raises(KeyboardInterrupt) as caught, shield.hold():
            interrupt()
            raise ValueError("the store")
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(ValueError, match="alone"), shield.hold():  # it comes once
            raise ValueError("alone")


def test_a_terminal_that_closes_is_heard_unless_the_program_was_told_to_ignore_it() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        with pytest.raises(Interrupted) as caught, Shield().up():
            os.kill(os.getpid(), signal.SIGHUP)
        assert caught.value.code == 129
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
        shield = Shield()
        with shield.up():
            os.kill(os.getpid(), signal.SIGHUP)
        assert not shield.signal_number
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_time_that_an_end_has_begins_with_the_first_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shield, now = Shield(20.0), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with pytest.raises(Interrupted), shield.up(), shield.hold():
        assert (shield.waited_s, shield.has_used(0.0)) == (0.0, False)
        interrupt()
        now[0] += 2 * signals.GIVE_UP_ALL_S - 1
        assert shield.has_used(0.5) and not shield.has_used()
        shield.request()
        now[0] += 2
        assert shield.has_used()
    request = Interrupts()
    request.request()
    now[0] += 1e6
    assert request.waited_s == 1e6 and not request.has_used()


def test_the_environment_says_how_much_time_there_is() -> None:
    assert stop_within_s({}) == 10.0
    assert stop_within_s({"LSTM_SWEEP_STOP_WITHIN_S": "60"}) == 60.0
    for text in ("9", "x", "nan", "1e9"):
        with pytest.raises(InputError) as caught:
            stop_within_s({"LSTM_SWEEP_STOP_WITHIN_S": text})
        expected = f"LSTM_SWEEP_STOP_WITHIN_S is '{text}': expected seconds from 10 to 3600"
        assert str(caught.value) == expected


def test_threads_that_overlap_leave_it_as_it_was() -> None:
    setting, overrides = SimpleNamespace(default=120), Overrides()
    inside, may_leave = threading.Event(), threading.Event()

    def other() -> None:
        with overrides.hold([(setting, "default", 5)]):
            inside.set()
            may_leave.wait(60)

    thread = threading.Thread(target=other)
    with ExitStack() as stack:
        stack.enter_context(overrides.hold([(setting, "default", 30)]))
        thread.start()
        assert inside.wait(60)
    assert setting.default == 30
    may_leave.set()
    thread.join(60)
    assert setting.default == 120


def test_a_process_keeps_its_start_until_it_has_ended() -> None:
    child = subprocess.Popen(["sleep", "600"])
    started = start_ticks(child.pid)
    assert started >= start_ticks(os.getpid()) > NO_PROCESS
    assert is_running(child.pid, started)
    assert not is_running(child.pid, started - 1)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie
    assert start_ticks(child.pid) == NO_PROCESS and not is_running(child.pid, started)
    child.wait()
    assert [start_ticks(pid) for pid in (child.pid, 0, -1, 2**80)] == [NO_PROCESS] * 4
    assert not is_running(child.pid, started) and not is_running(child.pid, NO_PROCESS)


@pytest.mark.parametrize("name", ["a ) Z 1 b", "two words"])
def test_the_name_of_a_program_is_not_read_as_its_state(tmp_path: Path, name: str) -> None:
    program = shutil.copy(shutil.which("sleep") or "", tmp_path / name)
    child = subprocess.Popen([program, "600"])
    assert start_ticks(child.pid) > NO_PROCESS
    child.kill()
    child.wait()


@pytest.mark.parametrize("failures", [1, 1_000])
def test_a_forkserver_that_dies_in_a_long_import_is_replaced_and_not_for_ever(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, starts = [0.0], [0]

    class Process:
        def __init__(self, **about: Any) -> None:
            pass

        def start(self) -> None:
            starts[0] += 1
            now[0] += 2 * forkserver.FORK_WITHIN_S
            if starts[0] <= failures:
                raise EOFError

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: None)
    monkeypatch.setattr(forkserver, "time", clock)
    monkeypatch.setattr(forkserver, "_Process", Process)
    monkeypatch.setattr(forkserver, "warm_up", lambda **more: None)
    if failures == 1:
        process, pipe = forkserver.fork(print)
        assert isinstance(process, Process)
        pipe.close()
        assert starts == [2]
    else:
        with pytest.raises(EOFError):
            forkserver.fork(print)
        assert starts == [2]


# Lines of files that grow, are rotated or begin anew: none is lost


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
