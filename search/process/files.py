"""Files and folders of this machine: written whole, locked, made anew, and why that fails."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from lstm_sweep.models.errors import InputError, resolved, shown, why_not
from lstm_sweep.search.process.scoped import is_running, start_ticks


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
#: the process that has made a scratch folder, and when that started, after the other parts of its
#: name; of one whose start is unknown it cannot be told whether it runs
OWNER = re.compile(r"([0-9]{1,9})-([1-9][0-9]{0,17})-")
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


def scratch_beside(to: Path) -> Path:
    """A new folder beside folder `to`, which others may read; the folders above are made.

    Those that programs have left here which were killed while they wrote the same folder are
    removed.
    """
    kind, pid = f".{to.name}-lstm-sweep-{platform.node()}-", os.getpid()
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        for left in to.parent.glob(f"{glob.escape(kind)}*"):
            if (who := OWNER.match(left.name, len(kind))) and not is_running(
                *map(int, who.groups())
            ):
                shutil.rmtree(left, ignore_errors=True)
        prefix = f"{kind}{pid}-{start_ticks(pid)}-"
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=to.parent))
        scratch.chmod(0o755)
    except OSError as error:
        raise InputError(
            f"--to {shown(str(to))}: {error.strerror}, expected a folder to write to"
        ) from None
    return scratch


def become(made: Path, to: Path) -> None:
    """Let a folder that was made in a scratch beside `to` be that folder.

    An empty folder that is there stays, and gets what is in it: it may be a mounted one, or the one
    where a shell is.
    """
    where = f"--to {shown(str(to))}"
    try:
        if not to.exists():
            made.rename(to)
            return
        if any(to.iterdir()):
            raise InputError(f"{where}: found something there, expected a new or an empty folder")
        _fill(to, list(made.iterdir()))
    except OSError as error:
        raise InputError(f"{where}: {why_not(error)}, expected a folder to write to") from None


def _fill(folder: Path, parts: Iterable[Path]) -> None:
    moved = list[Path]()
    try:
        for part in parts:
            moved.append(folder / part.name)
            shutil.move(part, moved[-1])
    except OSError:
        for part in moved:
            shutil.rmtree(part, ignore_errors=True)
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        raise


def new_report(given: str) -> Path:
    """The absolute path of a file that a report may become."""
    file, why = Path(), "found nothing"
    try:
        if given:
            file = resolved(given)
            why = _against(file)
    except (OSError, RuntimeError, ValueError) as error:
        why = why_not(error)
    if why:
        where = f"--to {shown(given)}"
        raise InputError(f"{where}: {why}, expected a new file, or a report to replace")
    return file


def _against(file: Path) -> str:
    """Why a report cannot be written there; empty if it can."""
    if file.is_dir():
        return "found a folder"
    if not file.parent.is_dir():
        return f"{file.parent} is no folder"
    is_report = not file.exists()
    if file.is_file():
        with file.open("rb") as opened:
            is_report = REPORT_MARK.encode() in opened.read(HEAD)
    return "" if is_report else "found something else there"


def write_report(file: Path, html: str) -> None:
    """Write a report that is whole or not there at all."""
    try:
        with tempfile.TemporaryDirectory(prefix=".report-", dir=file.parent) as folder:
            partial = Path(folder) / "report.html"
            partial.write_text(html, encoding="utf-8")
            partial.replace(file)
    except OSError as error:
        raise InputError(
            f"--to {shown(str(file))}: {error.strerror}, expected a file to write"
        ) from None
