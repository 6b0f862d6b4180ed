"""Opens files of data: any file, or in a service and its processes only those below its folders.

A service reads data for others, who may change what lies in its folders while a sweep waits. So a
path is looked at where it is opened, not only where it is named: of a path without links each part
is opened from the folder before it, and none may be a link. What is put in the place of a part
in between is refused, too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import BinaryIO

from lstm_sweep.models.errors import InputError, shown

#: variable with the folders below which data are opened, separated by `os.pathsep`; unset: anywhere
VARIABLE = "LSTM_SWEEP_DATA_BELOW"
#: a pipe that nobody writes to would be waited for
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: folders may be passed through without being read
FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


def open_only_below(
    folders: Iterable[Path], environment: MutableMapping[str, str] = os.environ
) -> None:
    """Let this process, and those that it starts, open data below these folders alone."""
    environment[VARIABLE] = os.pathsep.join(str(folder.resolve()) for folder in folders)


def is_confined() -> bool:
    """Whether data are read for others, who may learn nothing of what is in a file by an error."""
    return VARIABLE in os.environ


def open_data(path: Path) -> BinaryIO:
    """Open a file of data.

    Raises:
        InputError: it leads out of the folders below which this process opens data.
        OSError: it cannot be opened.
    """
    if not is_confined():
        return path.open("rb")
    real = Path(os.path.realpath(path))
    for folder in os.environ[VARIABLE].split(os.pathsep):
        if folder and real.is_relative_to(folder):
            return os.fdopen(_opened_below(Path(folder), real, path), "rb")
    raise _leads_out(path)


def _opened_below(folder: Path, real: Path, path: Path) -> int:
    """A descriptor of a file below a folder; `real` is its path without links."""
    *folders, name = real.relative_to(folder).parts or ("",)
    place = os.open(folder, FOLDER)
    try:
        for part in folders:
            inner = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        descriptor = os.open(name, FLAGS | os.O_NOFOLLOW, dir_fd=place)
    except OSError as error:
        if real.is_symlink() or os.path.realpath(path) != str(real):
            raise _leads_out(path) from None
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(place)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: found no file, expected one")
    return descriptor


def _leads_out(path: Path) -> InputError:
    return InputError(
        f"data {shown(path.name)}: it leads out of the folders of this service, expected a file "
        f"below one of them (--data-root)"
    )
