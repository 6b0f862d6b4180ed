"""The working folder of a sweep on this machine: its corpus and the checkpoints of its trials.

It is named by the run of the sweep, so that a resumed sweep finds them. If it is lost, these trials
start again. The same cache holds what all sweeps share.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import platformdirs

from lstm_sweep.models.errors import InputError, shown

#: name of the program's folders among those of the user
PROGRAM = "lstm-sweep"
#: seconds since the last use after which the folder of a sweep, or a graph, is deleted
KEPT_S = 7 * 24 * 3600.0
#: name of the folder of graphs that trials of all sweeps share
GRAPHS = "graphs"
#: prefix of a folder that replaces the cache where there is none
TEMPORARY = "lstm-sweep-"


#: what stands for standard input in place of a path of data, and bytes of it, at most
STDIN, MOST_INPUT = "-", 16 << 30


def kept_input(stream: BinaryIO, folder: Path | None = None) -> Path:
    """A file in a folder with all of a stream; without one it lasts, among the user's data."""
    digest, left = hashlib.sha256(), MOST_INPUT
    with kept_folder(folder) as (kept, scratch):
        path = scratch / "input"
        with path.open("wb") as file:
            while block := stream.read(1 << 20):
                file.write(block)
                digest.update(block)
                left -= len(block)
                if left < 0:
                    raise InputError(f"data '-': over {MOST_INPUT:,} bytes, expected fewer")
        name = "stdin" if folder else f"stdin-{digest.hexdigest()[:8]}"
        return path.rename(kept / name)


@contextlib.contextmanager
def kept_folder(folder: Path | None = None) -> Iterator[tuple[Path, Path]]:
    """A folder that lasts, without one among the user's data, and one in it for a moment."""
    kept = folder or platformdirs.user_data_path(PROGRAM, appauthor=False) / "data"
    try:
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept) as scratch:
            yield kept, Path(scratch)
    except OSError as error:
        raise InputError(f"{kept}: {error.strerror}, expected to keep the input there") from None


def keep(made: Path, kept: Path, name: str) -> Path:
    """Keep a folder that was made in a lasting one, under a name and a digest of its files."""
    digest = hashlib.sha256()
    for file in sorted(one for one in made.rglob("*") if one.is_file()):
        digest.update(f"{file.relative_to(made)}\n".encode() + file.read_bytes())
    there = kept / f"{name}-{digest.hexdigest()[:8]}"
    if not there.is_dir():
        made.rename(there)
    return there


def graphs() -> Path | None:
    """Where trials keep traced graphs for later trials; None if there is no lasting folder.

    Each file is deleted a week after it was written.
    """
    own = _cache()
    return own and own / GRAPHS


def private(folder: Path) -> Path | None:
    """A folder that only this user may write to, created if missing; None if it cannot be had."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except OSError:
        return None
    others_could_add_links = state.st_uid != os.getuid() or state.st_mode & 0o022
    return None if others_could_add_links else folder


def _cache() -> Path | None:
    """The program's cache folder of this user; None without a writable home, as in containers."""
    try:
        return private(platformdirs.user_cache_path(PROGRAM, appauthor=False))
    except RuntimeError:  # this user has no home
        return None


def open_folder(run_id: str) -> Path:
    """The working folder of a sweep, made if missing; expired ones of other sweeps are deleted."""
    if not run_id.isalnum():
        raise InputError(f"the store returned run ID {shown(run_id)}, expected letters and digits")
    root = _cache() or Path(tempfile.mkdtemp(prefix=TEMPORARY))
    _delete_expired(root, {run_id, GRAPHS})
    _delete_expired(root / GRAPHS, set())
    folder = root / run_id
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(exist_ok=True)
    touch(folder)
    return folder


def _delete_expired(folder: Path, keep: set[str]) -> None:
    """Delete what was last modified more than `KEPT_S` ago, except the names in `keep`."""
    with contextlib.suppress(OSError):  # another process deletes the same
        for path in folder.iterdir():
            if path.name not in keep and time.time() - path.lstat().st_mtime > KEPT_S:
                _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def touch(folder: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(folder)


def empty(folder: Path, keep: set[str]) -> None:
    for path in folder.iterdir() if folder.exists() else ():
        if path.name not in keep:
            _delete(path)


def clear(folder: Path, keep: set[str]) -> None:
    """Do as `empty`, and delete the folder too if nothing is left in it."""
    empty(folder, keep)
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
        if folder.parent.name.startswith(TEMPORARY):  # made for this sweep alone
            folder.parent.rmdir()
