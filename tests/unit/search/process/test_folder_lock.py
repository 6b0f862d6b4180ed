from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from lstm_sweep.search.process.files import locked

#: exits with 1 if the folder is locked by another process
TRY = """
import fcntl, os, sys
try:
    fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(1)
"""


def is_locked(folder: Path) -> bool:
    return bool(subprocess.run([sys.executable, "-c", TRY, folder], check=False).returncode)


def test_a_folder_is_locked_for_other_processes_until_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with locked(folder):
        assert is_locked(folder)
    assert not is_locked(folder)
    with pytest.raises(KeyError), locked(folder):
        raise KeyError
    assert not is_locked(folder)


def test_without_locks_the_folder_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int, kind: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", fail)
    entered = False
    with locked(tmp_path):
        entered = True
    assert entered
