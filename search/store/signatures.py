"""What a service has queued itself: signatures in the tags of runs, which nobody else can make.

Many may write to a store. A service drives only what it has signed, with a key that lies in its own
folder: the spec and the changes with which a driver begins, and who has queued the sweep, when and
with which priority. Each of both has a signature of its own, since a driver signs the spec that it
has settled while the service may give the sweep another priority. They name the run, so they hold
for no other one. Whoever may write to the store can still end a sweep or hide it, and put back what
was signed for the same run before.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process.files import replace_text
from lstm_sweep.search.store.tags import Tag

#: tags that say what is driven, beside the parts of the spec, and those that say for whom and when
WHAT = (Tag.NAME, Tag.CHANGES)
WHEN = (Tag.NAME, Tag.OWNER, Tag.PRIORITY, Tag.SUBMITTED)
#: hexadecimal digits of a key
KEY_DIGITS = 64


class Signer:
    """Signs what is queued, and knows its own signatures."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, file: Path) -> Signer:
        """The signer whose key is in a file, which is made if it is missing.

        Raises:
            InputError: it holds no key, or others may read it.
        """
        if not file.exists():
            replace_text(file, secrets.token_hex(KEY_DIGITS // 2), lasting=True)
        found = file.stat()
        text = file.read_text(encoding="ascii", errors="replace").strip()
        is_own = found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
        if not is_own or len(text) != KEY_DIGITS:
            raise InputError(
                f"{file}: expected the key of a service, {KEY_DIGITS} hexadecimal digits that only "
                f"you may read, or no such file"
            )
        return cls(text.encode())

    def of_spec(self, run_id: str, tags: Mapping[str, str]) -> dict[str, str]:
        """The tag that signs what is driven, of a run that has these tags."""
        parts = (name for name in tags if name.startswith(Tag.SPEC))
        return {Tag.SPEC_SIGNATURE: self._signature(run_id, tags, (*parts, *WHAT))}

    def of_place(self, run_id: str, tags: Mapping[str, str]) -> dict[str, str]:
        return {Tag.QUEUE_SIGNATURE: self._signature(run_id, tags, WHEN)}

    def _signature(self, run_id: str, tags: Mapping[str, str], names: Iterable[str]) -> str:
        """Of some tags; one that is empty is as good as one that is missing."""
        signed = sorted((name, tags[name]) for name in names if tags.get(name))
        return hmac.new(
            self._key, json.dumps([run_id, signed]).encode(), hashlib.sha256
        ).hexdigest()

    def knows_spec(self, run: Any) -> bool:
        return self._knows(run, self.of_spec)

    def knows_place(self, run: Any) -> bool:
        """Whether for whom, when and with which priority it is driven is as it was signed."""
        return self._knows(run, self.of_place)

    def _knows(self, run: Any, sign: Callable[[str, Mapping[str, str]], dict[str, str]]) -> bool:
        tags = run.data.tags
        [(name, signature)] = sign(str(run.info.run_id), tags).items()
        return hmac.compare_digest(tags.get(name, "").encode(), signature.encode())
