"""Who may do what: roles of users, what belongs to one of them, and the tokens they log in with.

Tokens are kept hashed, in a file that only this user may read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from lstm_sweep.models.errors import InputError, one_of, shown
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.process.folder_lock import locked
from lstm_sweep.search.process.whole_files import replace_text
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.values.documents import OMITTED, Document

#: the highest priority that whoever is no admin may give a sweep
MOST_PRIORITY = 0
#: what can be the name of a user: as of a sweep, or the address by which a proxy knows somebody
USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
TOKENS_FILE = "tokens.json"
#: beginning of each token, by which people and programs recognize one
PREFIX = "lstm-sweep-"
#: random bytes of a token; as many as cannot be guessed, so a plain hash keeps it secret
RANDOM_BYTES = 32
#: characters of the longest token that is looked at
LONGEST_TOKEN = 200


class Role(StrEnum):
    """What a user may do; each role also allows what those before it do."""

    READ = "read"
    #: also to submit sweeps, to upload, and to change what is one's own
    RUN = "run"
    #: also to change what is others', and to give priorities above 0
    ADMIN = "admin"


@dataclass(frozen=True)
class User:
    """Who has sent a request."""

    name: str
    role: Role

    @property
    def may_run(self) -> bool:
        """Whether the user may submit sweeps."""
        return self.role in (Role.RUN, Role.ADMIN)

    @property
    def is_admin(self) -> bool:
        """Whether the user may change what belongs to others."""
        return self.role is Role.ADMIN

    def may_change(self, owner: str | None) -> bool:
        """Whether the user may change what belongs to `owner`; None: to nobody."""
        return self.is_admin or (self.may_run and bool(owner) and owner == self.name)


def check_owner(user: User, owner: str | None, what: str) -> None:
    """Refuse a change of what belongs to somebody else; `what` names it, as "sweep 'logs-1'".

    What belongs to nobody, as a sweep that was launched without the service, is for admins.

    Raises:
        ProblemError: 403.
    """
    if user.may_change(owner):
        return
    whose, who = f"is {owner}'s", f"{owner} or an admin"
    if not owner:
        whose, who = "was made without the service", "an admin"
    raise ProblemError(403, f"{what} {whose}: expected {who} for this, '{user.name}' is neither")


def check_may_prioritise(user: User, priority: int) -> None:
    """Refuse a priority before those of others to whoever is no admin.

    Raises:
        ProblemError: 403.
    """
    if priority > MOST_PRIORITY and not user.is_admin:
        raise ProblemError(
            403,
            f"priority is {priority}, and '{user.name}' is no admin: expected {MOST_PRIORITY} or "
            f"less, or an admin",
        )


@dataclass(frozen=True)
class TokenRow(Document):
    """A token in the file, without itself."""

    name: str
    role: Role
    #: SHA-256 of the token, in hexadecimal
    digest: str = field(metadata=OMITTED)
    #: when it was made, ISO 8601, UTC
    created: str


class TokenFile:
    """The tokens of a service; changes of other processes are noticed."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / TOKENS_FILE
        self._lock = threading.Lock()
        self._read_at: tuple[int, int, int] | None = None
        self._rows: tuple[TokenRow, ...] = ()

    def rows(self) -> tuple[TokenRow, ...]:
        """All tokens, oldest first.

        Raises:
            InputError: the file cannot be read, or others may read it.
        """
        with self._lock:
            try:
                found = self.file.lstat()
            except FileNotFoundError:
                self._rows, self._read_at = (), None
                return ()
            except OSError as error:
                raise InputError(f"{self.file}: {error.strerror}, expected to read it") from None
            _check_private(self.file, found)
            read_at = (found.st_ino, found.st_mtime_ns, found.st_size)
            if read_at != self._read_at:
                self._rows, self._read_at = self._read(), read_at
            return self._rows

    def find(self, token: str) -> User | None:
        """Whose token this is; None if it is nobody's. Takes as long whichever it is."""
        given = _digest_of(token[:LONGEST_TOKEN])
        found = None
        for row in self.rows():
            if hmac.compare_digest(given, row.digest):
                found = User(row.name, row.role)
        return found

    def user_with(self, digest: str) -> User | None:
        """Whose token has this hash; None if it is nobody's."""
        own = next((row for row in self.rows() if digest and row.digest == digest), None)
        return User(own.name, own.role) if own else None

    def add(self, name: str, role: str) -> str:
        """Make a token, and return it; it is not kept.

        Raises:
            InputError: there is one of this name, or no such role.
        """
        if not USER_NAME.fullmatch(name):
            raise InputError(
                f"token is {shown(name)}: expected up to 100 letters, digits, '.', '_', '@', '+' "
                f"and '-', a letter or digit first"
            )
        if role not in list(Role):
            raise InputError(f"--role is {shown(role)}: {one_of(role, list(Role))}")
        token = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with locked(self.file.parent):
            rows = self.rows()
            if any(row.name == name for row in rows):
                raise InputError(f"token '{name}' exists, expected a new name, or revoke it first")
            self._write((*rows, TokenRow(name, Role(role), _digest_of(token), now)))
        return token

    def revoke(self, name: str) -> TokenRow:
        """Delete a token; it is refused from now on.

        Raises:
            InputError: there is none of this name.
        """
        with locked(self.file.parent):
            rows = self.rows()
            known = [row.name for row in rows]
            if name not in known:
                names = one_of(name, known) if known else "there are none"
                raise InputError(f"token {shown(name)}: no such token; {names}")
            self._write(tuple(row for row in rows if row.name != name))
        return rows[known.index(name)]

    def _read(self) -> tuple[TokenRow, ...]:
        try:
            written = json.loads(self.file.read_text(encoding="utf-8"))
            return tuple(
                TokenRow(row["name"], Role(row["role"]), row["sha256"], row["created"])
                for row in written["tokens"]
            )
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            raise InputError(
                f"{self.file}: expected tokens as `lstm-sweep token add` writes them"
            ) from None

    def _write(self, rows: tuple[TokenRow, ...]) -> None:
        written = [row.to_dict() | {"sha256": row.digest} for row in rows]
        try:
            replace_text(self.file, json_text({"tokens": written}, indent=1), lasting=True)
        except OSError as error:
            raise InputError(f"{self.file}: {error.strerror}, expected to write it") from None


def _check_private(file: Path, found: os.stat_result) -> None:
    """Refuse a file that is not this user's alone; it is looked at each time, not once."""
    own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    if not own or stat.S_IMODE(found.st_mode) & 0o077:
        raise InputError(f"{file}: expected a file that nobody but you may read (0600)")


def _digest_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
