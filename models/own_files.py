"""The files that a user's program saves and loads by relative paths, apart from those of others."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras

#: functions of `keras.saving` that take the path of a file, and whether they write it
FILES = {"save_model": True, "save_weights": True, "load_model": False, "load_weights": False}


@contextlib.contextmanager
def own_files(within: Path) -> Iterator[None]:
    """Let the program load the networks and weights that it has saved itself.

    Programs that run at the same time in one folder save under the same names. What one saves is in
    that folder too, as that of the last one, but is loaded from a folder of its own.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="files-", dir=within)))
        for name, saves in FILES.items():
            function = getattr(keras.saving, name)
            own = _redirected(function, "filepath", folder, saves=saves, shown=saves)
            for module in list(sys.modules.values()):
                if getattr(module, "__dict__", {}).get(name) is function:
                    stack.enter_context(_replaced(module, name, own))
        backup = keras.callbacks.BackupAndRestore
        own = _redirected(backup.__init__, "backup_dir", folder, saves=True)
        stack.enter_context(_replaced(backup, "__init__", own))
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, new: Any) -> Iterator[None]:
    old = getattr(owner, name)
    setattr(owner, name, new)
    try:
        yield
    finally:
        setattr(owner, name, old)


def _redirected(
    function: Callable[..., Any], argument: str, folder: Path, *, saves: bool, shown: bool = False
) -> Callable[..., Any]:
    """A function that takes a path, which is in `folder` if it is relative and something is there.

    What is saved is `shown`: it is where it should be, too.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def redirected(*positional: Any, **words: Any) -> Any:
        given = signature.bind(*positional, **words)
        path = given.arguments.get(argument)
        if not (isinstance(path, str | os.PathLike) and _is_local(path) and folder.is_dir()):
            return function(*given.args, **given.kwargs)
        place = Path(path)
        own = folder.joinpath(*("up" if part == ".." else part for part in place.parts))
        if saves or own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            given.arguments[argument] = str(own)
        result = function(*given.args, **given.kwargs)
        if shown and own.is_file():
            _copy(own, place)
        return result

    return redirected


def _is_local(path: str | os.PathLike[str]) -> bool:
    """Whether a path begins at the working folder."""
    return not Path(path).is_absolute() and "://" not in str(path)


def _copy(file: Path, place: Path) -> None:
    """Copy a file so that it is whole at its place, whoever else copies there.

    Where it grows nobody can have put a link before, for the name is new.
    """
    partial = place.with_name(f".{secrets.token_hex(8)}-{place.name}")
    place.parent.mkdir(parents=True, exist_ok=True)
    with file.open("rb") as source, partial.open("xb") as target:
        shutil.copyfileobj(source, target)
    partial.replace(place)
