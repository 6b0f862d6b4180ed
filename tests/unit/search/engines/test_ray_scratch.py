from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lstm_sweep.search.engines.ray_agent import Scratch


def kept(root: Path) -> set[str]:
    return {path.name for kind in ("agents", "corpora") for path in (root / kind).iterdir()}


def write(folder: Path) -> None:
    folder.mkdir()
    (folder / "corpus.json").write_text("{}")


def refuse(folder: Path) -> None:
    raise AssertionError("it was there already")


def test_a_corpus_is_written_once_and_deleted_with_its_last_agent(tmp_path: Path) -> None:
    first, second = Scratch(tmp_path), Scratch(tmp_path)
    folder = first.corpus("abc", write)
    assert (folder / "corpus.json").exists()
    assert first.corpus("abc", refuse) == second.corpus("abc", refuse) == folder
    first.close()
    assert folder.exists() and not first.folder.exists()
    second.close()
    assert kept(tmp_path) == set()


def test_a_corpus_that_could_not_be_written_is_tried_again(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        folder.mkdir()
        raise OSError("No space left")

    scratch = Scratch(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        scratch.corpus("abc", full)
    assert (scratch.corpus("abc", write) / "corpus.json").exists()
    assert [path.name for path in (tmp_path / "corpora" / "abc").iterdir()] == ["complete"]


KILLED = """
import os, sys
from pathlib import Path
from lstm_sweep.search.engines.ray_agent import Scratch
scratch = Scratch(Path(sys.argv[1]))
scratch.corpus("abc", Path.mkdir)
scratch.take_cores(1, [0])
print(scratch.folder, flush=True)
sys.stdin.read()
"""


def test_the_next_agent_deletes_what_a_killed_one_has_left(tmp_path: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert killed.stdout
    folder = Path(killed.stdout.readline().strip())
    beside = Scratch(tmp_path)
    assert beside.take_cores(1, [0, 1]) == [1]
    assert folder.exists() and kept(tmp_path) == {folder.name, beside.folder.name, "abc"}
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    after = Scratch(tmp_path)
    assert kept(tmp_path) == {beside.folder.name, after.folder.name}
    assert after.take_cores(2, [0, 1]) == [0, 1], "core 1 is taken, and shared"
