"""Who may do what: roles of users, and what belongs to one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from lstm_sweep.search.service.problems import ProblemError

#: the highest priority that whoever is no admin may give a sweep
MOST_PRIORITY = 0
#: what can be the name of a user: as of a sweep, or the address by which a proxy knows somebody
USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")


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
