"""Files and folders of this machine: written whole, locked, made anew, kept; why that fails.

The working folder of a sweep has its corpus and the checkpoints of its trials. It is named by the
run of the sweep, so that a resumed sweep finds them; if it is lost, these trials start again. The
same cache holds what all sweeps share.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import platformdirs

from lstm_sweep.models.data.source import own_folder
from lstm_sweep.models.errors import InputError, refusing, resolved, shown, why_not


def replace_text(file: Path, text: str, *, lasting: bool = False) -> None:
    """Write a file at once, for this user alone: who reads it sees all of it, or what it was.

    With `lasting` that also holds after a power failure.
    """
    handle, partial = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as written:
            written.write(text)
            if lasting:
                written.flush()
                os.fsync(written.fileno())
        Path(partial).replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            Path(partial).unlink()
        raise


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process or thread has locked a folder, created if missing; lock it.

    No lock file is left in it, and it need not be writable. Without locks, nothing is locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            number = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, number)  # which unlocks it
            fcntl.flock(number, fcntl.LOCK_EX)
        yield


NO_SPACE = "no space left"
#: error numbers, and what a message says of them
PERMANENT_ERRNOS = {
    errno.ENOSPC: NO_SPACE,
    errno.EDQUOT: NO_SPACE,
    errno.EACCES: "no permission to write",
    errno.EPERM: "no permission to write",
    errno.EROFS: "it cannot be written",
    errno.ENOTDIR: "there is a file where a folder is expected",
    errno.EISDIR: "there is a folder where a file is expected",
    errno.EEXIST: "there is a file where a folder is expected",
}
#: the same errors in the texts of databases and servers
PERMANENT_PHRASES = {
    "disk is full": NO_SPACE,
    "No space left": NO_SPACE,
    "readonly database": "it cannot be written",
    "Could not decode to UTF-8": "something in it is no text",
}


def permanent_reason(error: BaseException) -> str:
    """Why an error, or one of its causes, stays until somebody acts; "" if it need not."""
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno in PERMANENT_ERRNOS:
            return PERMANENT_ERRNOS[cause.errno]
        for phrase, meaning in PERMANENT_PHRASES.items():
            if phrase in str(cause):
                return meaning
    return ""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, then its cause or context, then that one's, and so on."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


#: at the beginning of each report, by which one is known
REPORT_MARK = '<meta name="generator" content="lstm-sweep report">'
#: bytes at the beginning of a file by which a report is known
HEAD = 500


def new_folder(given: str) -> Path:
    """The absolute path of a folder that a bundle may become."""
    where = f"--to {shown(given)}"
    try:
        to, named = resolved(given), Path(given).expanduser()
        dangling = named.is_symlink() and not named.exists()
        taken = to.exists() and (not to.is_dir() or any(to.iterdir()))
        above = next(folder for folder in (to, *to.parents) if folder.exists())
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{where}: {why_not(error)}, expected a new folder") from None
    if taken or dangling or not given:
        found = "nothing" if not given else "a link to nothing" if dangling else "something there"
        raise InputError(f"{where}: found {found}, expected a new or an empty folder")
    if not above.is_dir():
        raise InputError(f"{where}: {above} is a file, expected a new folder")
    return to


@contextlib.contextmanager
def scratch_beside(to: Path) -> Iterator[Path]:
    """A folder beside folder `to` for a moment; the folders above are made."""
    with refusing(f"--to {shown(str(to))}", "expected a folder to write to"):
        to.parent.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent)
    with made as folder:
        yield Path(folder)


def become(made: Path, to: Path) -> None:
    """Let a folder that was made in a scratch beside `to` be that folder.

    An empty folder that is there stays, and gets what is in it: it may be a mounted one, or the one
    where a shell is.
    """
    where = f"--to {shown(str(to))}"
    with refusing(where, "expected a folder to write to"):
        if not to.exists():
            made.rename(to)
            return
        if any(to.iterdir()):
            raise InputError(f"{where}: found something there, expected a new or an empty folder")
        moved = list[Path]()
        try:
            for part in [*made.iterdir()]:
                if (target := to / part.name).exists():  # another program writes there, too
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                moved.append(target)
                shutil.move(part, target)
        except OSError:
            for one in moved:
                _delete(one)
            raise


def new_report(given: str) -> Path:
    """The absolute path of a file that a report may become."""
    file, why = Path(), "found nothing"
    try:
        if given:
            file, why = resolved(given), ""
            if file.is_dir():
                why = "found a folder"
            elif not file.parent.is_dir():
                why = f"{file.parent} is no folder"
            elif file.exists():
                with file.open("rb") as opened:
                    is_report = REPORT_MARK.encode() in opened.read(HEAD)
                why = "" if is_report else "found something else there"
    except (OSError, RuntimeError, ValueError) as error:
        why = why_not(error)
    if why:
        where = f"--to {shown(given)}"
        raise InputError(f"{where}: {why}, expected a new file, or a report to replace")
    return file


def write_report(file: Path, html: str) -> None:
    """Write a report that is whole or not there at all."""
    place = refusing(f"--to {shown(str(file))}", "expected a file to write")
    with place, tempfile.TemporaryDirectory(prefix=".report-", dir=file.parent) as folder:
        partial = Path(folder) / "report.html"
        partial.write_text(html, encoding="utf-8")
        partial.replace(file)


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
    """A folder that lasts, without one among a service's or a user's data, and one in it.

    That is deleted in the end.
    """
    folder = folder or own_folder()
    kept = folder or platformdirs.user_data_path(PROGRAM, appauthor=False) / "data"
    with refusing(str(kept), "expected to keep the input there"):
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept) as scratch:
            yield kept, Path(scratch)


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
