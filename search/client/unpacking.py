"""Unpacks a zip file that came from elsewhere: nothing in it gets out of the folder."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from lstm_sweep.models.errors import InputError, shown

#: files in a bundle, and bytes of all of them, at most
MOST_FILES, MOST_BYTES = 10_000, 32 << 30
#: characters of a path in it
LONGEST = 500
#: what no name in it may have, since systems give it a meaning
FORBIDDEN = ("\\", ":", "\0")
#: whatever `zipfile` raises if a file is none, not whole, or packed in a way that it does not know
#: (a kind of `RuntimeError`)
BAD = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)


def unpack(file: Path, to: Path, *, most_bytes: int = MOST_BYTES) -> None:
    """Unpack the one folder in a zip file as the new folder `to`.

    All names are checked before anything is written: none is absolute or has `..` in it, none is
    a link, none is there twice. Files get the permissions of this user's new files.

    Raises:
        InputError: it is no such file, or it cannot be written.
    """
    try:
        with zipfile.ZipFile(file) as packed:
            found = _checked(packed, most_bytes)
            to.mkdir()
            for entry, parts in found:
                _write(packed, entry, to.joinpath(*parts))
    except InputError:
        raise
    except BAD as error:
        raise InputError(f"the bundle is no whole zip file ({error}), expected one") from None
    except OSError as error:
        raise InputError(
            f"the bundle cannot be unpacked to {to.parent}: {error.strerror or error}, expected a "
            f"folder to write to"
        ) from None


def _checked(
    packed: zipfile.ZipFile, most_bytes: int
) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
    """The files in a zip file, and where they belong below its one folder."""
    found, seen, total = list[tuple[zipfile.ZipInfo, tuple[str, ...]]](), set[tuple[str, ...]](), 0
    entries = packed.infolist()
    if not 0 < len(entries) <= MOST_FILES:
        raise InputError(f"the bundle has {len(entries):,} files, expected 1 to {MOST_FILES:,}")
    for entry in entries:
        parts = _parts(entry.orig_filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _bad(entry, "a link or a device")
        total += entry.file_size
        if total > most_bytes:
            raise InputError(f"the bundle has more than {most_bytes:,} bytes, expected fewer")
        if entry.is_dir():
            continue
        if len(parts) < 2 or (found and parts[0] != found[0][1][0]):
            raise _bad(entry, "a path that is not below its one folder")
        if parts in seen:
            raise _bad(entry, "a path that is there twice")
        seen.add(parts)
        found.append((entry, parts))
    return [(entry, parts[1:]) for entry, parts in found]


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a path in a zip file."""
    parts = tuple(name.removesuffix("/").split("/"))
    bad_part = any(part in ("", ".", "..") or not part.isprintable() for part in parts)
    if bad_part or len(name) > LONGEST or any(sign in name for sign in FORBIDDEN):
        raise InputError(
            f"the bundle has the path {shown(name)}, expected one below its folder without '..'"
        )
    return parts


def _bad(entry: zipfile.ZipInfo, what: str) -> InputError:
    return InputError(f"the bundle has {shown(entry.filename)}, {what}: expected files alone")


def _write(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path) -> None:
    """Write a file of a zip file, which is checked by its sum and has no more than it says."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with packed.open(entry) as source, to.open("xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
