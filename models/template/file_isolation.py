"""Isolates files that a template saves and loads by relative paths from those of other trials."""

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

#: functions of `keras.saving` with the path of a file as an argument -> whether they write it
FILES = {"save_model": True, "save_weights": True, "load_model": False, "load_weights": False}


@contextlib.contextmanager
def own_files(within: Path) -> Iterator[None]:
    """Within this context, a template loads only networks and weights that it has saved itself.

    Trials that run at the same time save under the same names in one working folder. Each file is
    saved to a private folder below `within`, copied to its path, and loaded from that folder.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="files-", dir=within)))
        for name, saves in FILES.items():
            function = getattr(keras.saving, name)
            own = _redirected(function, "filepath", folder, saves=saves, copy_back=saves)
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
    function: Callable[..., Any],
    argument: str,
    folder: Path,
    *,
    saves: bool,
    copy_back: bool = False,
) -> Callable[..., Any]:
    """Wrap a function so that a relative path leads into `folder`, if it saves or the file exists.

    With `copy_back`, what was saved is copied to the original path.
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
        if copy_back and own.is_file():
            _copy(own, place)
        return result

    return redirected


def _is_local(path: str | os.PathLike[str]) -> bool:
    """Whether a path is relative to the working folder."""
    return not Path(path).is_absolute() and "://" not in str(path)


def _copy(file: Path, place: Path) -> None:
    """Copy a file atomically; other processes may copy to the same place.

    The temporary name is random, so nobody can have planted a link there.
    """
    partial = place.with_name(f".{secrets.token_hex(8)}-{place.name}")
    place.parent.mkdir(parents=True, exist_ok=True)
    with file.open("rb") as source, partial.open("xb") as target:
        shutil.copyfileobj(source, target)
    partial.replace(place)
