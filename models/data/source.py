"""`Source`, which names the data of a corpus, and the files that belong to each split."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lstm_sweep.models.data import samples
from lstm_sweep.models.data.opening import open_data
from lstm_sweep.models.errors import InputError, nearest, one_of, shown
from lstm_sweep.models.field_checks import check_switch
from lstm_sweep.models.paths import resolved, why_not

SPLITS = ("train", "validation", "test")
SYMBOLS = ("auto", "chars", "ids")
#: names in a folder that are compared with one that is not there, at most
MOST_BESIDE = 1_000


@dataclass(frozen=True, kw_only=True)
class Source:
    """What data a corpus is loaded from, and how."""

    #: name of a sample, or path of a file or folder
    data: str
    #: what a symbol is: `chars`, `ids`, or `auto` to detect it
    symbols: str = "auto"
    #: shares of training, validation and test data, for data without folders of these names
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    #: whether the end of a session of event ids is a symbol, where several sessions end in the
    #: training data
    ends: bool = True

    def __post_init__(self) -> None:
        if self.symbols not in SYMBOLS:
            raise InputError(f"symbols is {shown(self.symbols)}: {one_of(self.symbols, SYMBOLS)}")
        check_switch("ends", self.ends)
        shares = self.split
        if len(shares) != 3 or not all(0 < share < 1 for share in shares) or not near_one(shares):
            raise InputError(
                f"split is {shown(list(shares))}: expected three shares above 0, 1 in all"
            )

    def resolve(self) -> Self:
        """Return a copy whose path holds from any working directory."""
        if self.data in samples.SAMPLES:
            return self
        return dataclasses.replace(self, data=str(_path(self.data).resolve()))


def near_one(shares: Iterable[float]) -> bool:
    """Whether shares add up to 1, up to rounding."""
    return abs(sum(shares) - 1) <= 1e-9


def _path(data: str) -> Path:
    try:
        resolved(data)
        return Path(data).expanduser()
    except (OSError, RuntimeError, ValueError) as error:
        text = f"data {shown(data)}: {why_not(error)}; expected a file or folder"
        raise InputError(text) from None


def _beside(path: Path) -> list[str]:
    """Names of what is in the folder where a file was expected."""
    try:
        return sorted(entry.name for entry in itertools.islice(path.parent.iterdir(), MOST_BESIDE))
    except OSError:
        return []


def existing(data: str) -> Path:
    """Return the path of a file or folder.

    Raises:
        InputError: there is none at `data`.
    """
    path = _path(data)
    if not path.exists():
        hint = nearest(path.name, [*samples.SAMPLES, *_beside(path)])
        raise InputError(
            f"data {shown(data)}: no such file or folder, and no sample "
            f"({', '.join(samples.SAMPLES)}){f'; {hint}' if hint else ''}"
        )
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"data {shown(data)}: found a device or pipe, expected a file or folder")
    return path


def all_files(path: Path) -> list[Path]:
    """The file, or all files in the folder and below it, those of splits and beside them; some.

    Raises:
        InputError: there are no symbols.
    """
    return _with_content(path, _files(path) if path.is_dir() else [path])


def file_groups(path: Path) -> dict[str, list[Path]]:
    """Files of each split by its name, or all files as `all`; no list is empty.

    Raises:
        InputError: there are no symbols, or some of the splits are missing.
    """
    if not path.is_dir():
        return {"all": all_files(path)}
    given = [name for name in SPLITS if (path / name).is_dir()]
    if not given:
        return {"all": all_files(path)}
    if len(given) < len(SPLITS):
        missing = ", ".join(f"{name}/" for name in SPLITS if name not in given)
        raise InputError(f"{path}: found {given[0]}/ but not {missing}, expected all three or none")
    return {name: _with_content(path / name, _files(path / name)) for name in SPLITS}


def _files(folder: Path) -> list[Path]:
    """All files in a folder and its sub-folders, sorted by path, without hidden ones.

    Links are followed. A file or folder that is reached twice is taken once.

    Raises:
        InputError: a link is broken or leads to a folder that contains this one, or a folder cannot
            be read.
    """
    home = folder.resolve()
    files, reached = [], set()
    own, links = [folder], list[Path]()
    try:
        while own or links:
            path = own.pop() if own else links.pop(0)  # real names before links
            if path.is_symlink() and not path.exists():
                raise InputError(f"{path}: found a link to nothing, expected a file or folder")
            real = path.resolve()
            if real in reached:
                continue
            reached.add(real)
            if path.is_file():
                files.append(path)
            elif path.is_dir():
                if home != real and home.is_relative_to(real):
                    raise InputError(
                        f"{path}: found a link to {real}, which holds {folder} itself, "
                        f"expected one that leads elsewhere"
                    )
                inside = sorted(part for part in path.iterdir() if part.name[0] != ".")
                links += [part for part in inside if part.is_symlink()]
                own += [part for part in inside if not part.is_symlink()]
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}, expected to read it") from None
    return sorted(files)


def _with_content(place: Path, files: list[Path]) -> list[Path]:
    try:
        full = [file for file in files if file.stat().st_size and _readable(file)]
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}, expected a readable file") from None
    if not full:
        found = "no files" if not files else "an empty file" if len(files) == 1 else "empty files"
        raise InputError(f"{place}: found {found}, expected symbols")
    return full


def _readable(file: Path) -> bool:
    with open_data(file):
        return True
