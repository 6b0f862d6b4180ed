"""The paths of the templates that this user has run, by digest.

Others may write to the store, so a path in it is never run. `resume` takes the digest of a sweep's
template from the store, and its path from a file that only this user can write: each template that
is named on the command line is recorded there.
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

#: the digest of a template
DIGEST = re.compile(r"[0-9a-f]{16}")
#: bytes of the longest path
LONGEST_PATH = 1 << 13


def remember(template: Template) -> None:
    """Record the path of a template that this user has named, if the folder can be written."""
    folder = _folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        handle, partial = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(os.fsencode(template.path))
        Path(partial).replace(folder / template.digest)


def path_of(digest: str) -> Path | None:
    """The path of the template with a digest; None if it is not recorded."""
    folder = _folder()
    if folder is None or not DIGEST.fullmatch(digest):
        return None
    with contextlib.suppress(OSError), (folder / digest).open("rb") as file:
        path = Path(os.fsdecode(file.read(LONGEST_PATH)))
        return path if path.is_absolute() else None
    return None


def digest_of(tags: Tags) -> str | None:
    """Digest of the template of a run; None if it has none."""
    if Tag.TEMPLATE not in tags:
        return None
    digest = tags.json(Tag.TEMPLATE, dict).get("digest")
    if not (isinstance(digest, str) and DIGEST.fullmatch(digest)):
        raise tags.bad(Tag.TEMPLATE, "a digest of 16 hexadecimal digits")
    return digest


def read(tags: Tags, given: str | None) -> Template | None:
    """The template of a run, read from the path `given` or else the recorded one.

    None if the run has no template. Refused are a file with another digest, and none at all.
    """
    digest = digest_of(tags)
    if digest is None:
        if given is not None:
            raise InputError(f"--template {given!r}: the sweep has no template, expected none")
        return None
    path = path_of(digest) if given is None else given
    if path is None:
        was = tags.json(Tag.TEMPLATE, dict).get("path")
        raise InputError(
            "the sweep runs a template that you have not run here: expected --template FILE.py, "
            f"your own file (it was {shown(was)}); a path from the store is never run"
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
