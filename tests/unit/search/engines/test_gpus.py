"""A driver's program that hangs, breaks or talks nonsense is told in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines import gpus
from lstm_sweep.search.engines.local import find_gpus
from tests.conftest import run_program, write_text


def put_first(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let a script be the program of this name that is found."""
    program = folder / "nvidia-smi"
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    "script, found",
    [
        ("echo 0; echo 1", ["0", "1"]),
        ("echo 'NVIDIA-SMI has failed: no driver'; exit 9", []),  # a driver's program and no GPU
        ("echo 'No devices were found'", []),
        ("kill -SEGV $$", []),
    ],
)
def test_gpus_are_those_that_the_driver_names(
    script: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_first(tmp_path, monkeypatch, f"#!/bin/sh\n{script}\n")
    assert find_gpus() == found


@pytest.mark.parametrize(
    "script, why",
    [
        ("#!/bin/sh\nexec sleep 60\n", "has not answered within 0.2 s, expected one that works"),
        ("#!/bin/sh\necho 'GPU 0: on fire'\n", "has answered 'GPU 0: on fire', expected one"),
        ("#!/bin/sh\nprintf '\\377\\376'\n", "has answered '\ufffd\ufffd', expected one"),
        ("#!/nowhere/sh\n", "No such file or directory, expected one that works"),
        ("\x7fELF and nothing more", "Exec format error, expected one that works"),
    ],
)
def test_a_driver_that_does_not_work_is_one_line(
    script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "WITHIN_S", 0.2)
    put_first(tmp_path, monkeypatch, script)
    with pytest.raises(InputError) as caught:
        find_gpus()
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "CUDA_VISIBLE_DEVICES=-1 leaves GPUs out" in str(caught.value)
    assert gpus.memory() == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert find_gpus() == []


def test_the_program_says_so_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_first(tmp_path, monkeypatch, "#!/bin/sh\necho 'on fire'\n")
    write_text(tmp_path / "words.txt")
    path = os.environ["PATH"]
    done = run_program("launch", "--data", "words.txt", cwd=tmp_path, PATH=path)
    assert done.code == 2
    assert done.err.splitlines() == [
        "lstm-sweep: nvidia-smi has answered 'on fire', expected one that works; "
        "CUDA_VISIBLE_DEVICES=-1 leaves GPUs out, =0 takes the first one"
    ]
