"""Which templates this user has run, so that they are found again without asking the store.

A store may say which digest a sweep's template had, but not which file is run: others may write to
it. So each template that was named on the command line is noted in a folder that is this user's
alone, by its digest.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path

import platformdirs

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.process import workdir
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.spaces.template.template import Template

#: what the digest of a template looks like
DIGEST = re.compile(r"[0-9a-f]{16}")
#: bytes of a path, at most
LONGEST_PATH = 1 << 13


def remember(template: Template) -> None:
    """Note that this user has named a template; nothing if there is no folder for that."""
    folder = _folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        handle, partial = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(os.fsencode(template.path))
        Path(partial).replace(folder / template.digest)


def path_of(digest: str) -> Path | None:
    """Where the template with this digest was when this user named it; None if that is unknown."""
    folder = _folder()
    if folder is None or not DIGEST.fullmatch(digest):
        return None
    with contextlib.suppress(OSError), (folder / digest).open("rb") as file:
        path = Path(os.fsdecode(file.read(LONGEST_PATH)))
        return path if path.is_absolute() else None
    return None


def digest_of(tags: Tags) -> str | None:
    """Digest of the template that a run is about; None if it is about none."""
    if Tag.TEMPLATE not in tags:
        return None
    digest = tags.json(Tag.TEMPLATE, dict).get("digest")
    if not (isinstance(digest, str) and DIGEST.fullmatch(digest)):
        raise tags.bad(Tag.TEMPLATE, "a digest of 16 hexadecimal digits")
    return digest


def read(tags: Tags, given: str | None) -> Template | None:
    """The user's own file of the template that a run is about; None if it is about none.

    It is read from `given`, or from where this user has run it before. No store says which file is
    run, for others may write to it.

    Raises:
        InputError: the file is not what it was, or has to be named.
    """
    digest = digest_of(tags)
    if digest is None:
        if given is not None:
            raise InputError(f"--template {shown(given)}: the sweep has no template, expected none")
        return None
    path = path_of(digest) if given is None else given
    if path is None:
        was = tags.json(Tag.TEMPLATE, dict).get("path")
        raise InputError(
            f"the sweep runs a template that you have not run here: expected --template FILE.py, "
            f"your own file (it was {shown(was)}); no store says which file is run"
        )
    template = Template.read(str(path))
    if template.digest != digest:
        raise InputError(
            f"template {template.where} has changed since: found digest {template.digest}, "
            f"expected {digest}"
        )
    if given is not None:
        remember(template)
    return template


def _folder() -> Path | None:
    """A lasting folder that only this user may write to; None if there is none."""
    try:
        own = platformdirs.user_state_path(workdir.PROGRAM, appauthor=False)
    except RuntimeError:  # this user has no home
        return None
    return workdir.private(own) and workdir.private(own / "templates")
