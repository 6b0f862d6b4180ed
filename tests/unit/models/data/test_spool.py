from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from lstm_sweep.models.data import spool
from lstm_sweep.models.data.spool import Spool
from lstm_sweep.models.errors import NoRoomError

FEW, MANY = np.arange(200, dtype=np.uint8), np.arange(60_000, dtype=np.uint16)


@pytest.fixture(params=[1 << 20, 1_000], ids=["in memory", "in a file"])
def _kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "KEPT_BYTES", request.param)


@pytest.mark.usefixtures("_kept")
def test_a_large_spool_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    written = Spool()
    written.append(MANY)
    assert written.joined()[-1] == MANY[-1]
    assert not list(tmp_path.iterdir())  # it has no name, so it goes even if the process is killed


#: a file may have so many bytes, as on a disk that is full then
ON_A_FULL_DISK = """
import resource
import numpy as np
from lstm_sweep.models.data import spool
from lstm_sweep.models.errors import NoRoomError

for kept, most, joined in (500, 100, False), (500, 5_500, False), (500, 5_500, True):
    spool.KEPT_BYTES = kept
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    written = spool.Spool()
    try:
        for _ in range(6):
            written.append(np.zeros(1_000, np.uint8))
        written.joined() if joined else list(written)
    except NoRoomError as error:
        print(error)
    del written
"""


def test_a_full_disk_is_one_line() -> None:
    """When codes go from memory to a file, or are read or joined with what was buffered."""
    command = [sys.executable, "-c", ON_A_FULL_DISK]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) == 3
    for line in said:
        assert line.startswith(tempfile.gettempdir())
        assert "File too large, expected room for all symbols of the data" in line
    # closing the file fails too, and nobody needs to know
    assert not done.stderr


@pytest.mark.usefixtures("_kept")
def test_without_a_folder_for_temporary_files_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/no/such/folder"])
    written = Spool()
    if len(MANY.tobytes()) <= spool.KEPT_BYTES:
        written.append(MANY)  # that needs no folder
    else:
        with pytest.raises(NoRoomError, match="No usable temporary directory found"):
            written.append(MANY)


@pytest.mark.usefixtures("_kept")
def test_blocks_are_read_in_order_as_often_as_wanted() -> None:
    written = Spool()
    for block in (FEW, MANY, FEW[:0], FEW[3:]):
        written.append(block)
    for _ in range(2):
        found = list(written)
        assert [block.dtype for block in found] == [np.uint8, np.uint16, np.uint8]
        np.testing.assert_array_equal(np.concatenate(found), [*FEW, *MANY, *FEW[3:]])
