"""Where a sweep works on this machine: its corpus, and trials that are under way.

The folder has its place by the sweep's run, so a sweep that goes on finds what was left of trials
that were broken off. Everything in it can be lost: such trials then begin again. Beside it lies
what trials of all sweeps share to save time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from lstm_sweep.models.errors import InputError, shown

#: seconds after which the folder of a sweep that nobody resumed is let go, or a graph
KEPT_S = 7 * 24 * 3600.0
#: name of the folder that trials of all sweeps share
GRAPHS = "graphs"


def graphs() -> Path | None:
    """Where trials keep what spares the next ones work; None if there is no such place.

    Each of its files is let go a week after it was written.
    """
    own = _own()
    return own and own / GRAPHS


def _root() -> Path:
    """A folder that is this user's alone."""
    return _own() or Path(tempfile.mkdtemp(prefix="lstm-sweep-"))


def _own() -> Path | None:
    """Such a folder that lasts; None if the home cannot be written, as in some containers."""
    try:
        root = _home()
    except RuntimeError:  # there is no home
        return None
    return private(root)


def private(folder: Path) -> Path | None:
    """A folder that others may not write to, made if it is missing; None if it cannot be had."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except OSError:
        return None
    others_could_lay_links_in_it = state.st_uid != os.getuid() or state.st_mode & 0o022
    return None if others_could_lay_links_in_it else folder


def _home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lstm-sweep"


def open_folder(run_id: str) -> Path:
    """The folder of a sweep, which is there from now on; those that are too old are let go.

    Raises:
        InputError: the ID, which comes from a server, could lead out of here.
    """
    if not run_id.isalnum():
        raise InputError(f"the store says {shown(run_id)}: that is no ID of a run")
    root = _root()
    _let_go(root, {run_id, GRAPHS})
    _let_go(root / GRAPHS, set())
    folder = root / run_id
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(exist_ok=True)
    touch(folder)
    return folder


def _let_go(folder: Path, keep: set[str]) -> None:
    """Let go of what has lain in a folder for too long."""
    with contextlib.suppress(OSError):  # others let go of the same
        for path in folder.iterdir():
            if path.name not in keep and time.time() - path.lstat().st_mtime > KEPT_S:
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def touch(folder: Path) -> None:
    """Say that the folder of a sweep is in use."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def leave(folder: Path, keep: set[str]) -> None:
    """Let go of all in the folder of a sweep but what is named in `keep`."""
    for path in folder.iterdir() if folder.exists() else ():
        if path.name not in keep:
            _remove(path)
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
        if folder.parent != _home():  # made for this sweep alone
            folder.parent.rmdir()
