"""Checks the paths of the files of a corpus, as its client names them."""

from __future__ import annotations

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.service.bodies import CorpusSubmission

#: bytes of a name in a path, as file systems have them
LONGEST_NAME = 255


def check_paths(given: CorpusSubmission, paths: list[str], most: int) -> None:
    """Refuse paths that are none, that exclude each other, or of which there are more than `most`.

    Raises:
        InputError: so it is.
    """
    if len(given.files) > most:
        raise InputError(f"files are {len(given.files):,}, expected at most {most:,}")
    if len(paths) < len(given.files):
        raise InputError("files: a path is given twice, expected each once")
    _check_part(given.name, f"name is {shown(given.name)}")
    folders = set[str]()
    for path in paths:
        parts = path.split("/")
        for part in parts:
            _check_part(part, f"path is {shown(path)}")
        folders |= {"/".join(parts[:count]) for count in range(1, len(parts))}
    if both := folders & set(paths):
        raise InputError(f"files: {shown(min(both))} is a file and a folder, expected one of them")


def _check_part(part: str, what: str) -> None:
    """Refuse a part of a path that could lead elsewhere, or that a file system does not take."""
    try:
        length = len(part.encode())
    except UnicodeEncodeError:
        length = 0
    bad = part in ("", ".", "..") or "/" in part or "\\" in part or not part.isprintable()
    if bad or not 0 < length <= LONGEST_NAME:
        raise InputError(
            f"{what}: expected names of files and folders, without `..`, `\\` and control "
            f"characters"
        )
