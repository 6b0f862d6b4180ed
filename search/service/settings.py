"""What a service was started with: its queue, its HTTP side, and the limits of that."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.process.files import private
from lstm_sweep.search.process.signals import SERVICE_STOP_S
from lstm_sweep.search.store.cache import AGE_S
from lstm_sweep.search.store.settings import Settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: name of the folder of a service beside an SQLite store, or in its working folder
FOLDER = "lstm-sweep-service"
#: and of its folders in that: what was sent, zipped bundles, and what it makes of data
UPLOADS, BUNDLES, KEPT = "uploads", "bundles", "kept"
#: where each request begins that a program makes
API = "/api/v1"


class Role(StrEnum):
    """What a user may do; each role also allows what those before it do."""

    READ = "read"
    #: also to submit sweeps, to upload, and to change what is one's own
    RUN = "run"
    #: also to change what is others', and to give priorities above 0
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What a service was started with."""

    #: the store, which drivers use too; its settings file is that of `folder`
    store: Settings
    #: working folder of drivers: relative paths of specs start there
    folder: Path
    #: folder of the service itself, for the files of drivers: their locks, quotas and logs
    state: Path
    #: trials at once on this machine; None: one for each GPU or CPU core
    slots: int | None = None
    #: how many slots the Ray cluster has on which sweeps run, at most `slots` of which are used;
    #: None if they run on this machine
    cluster: Callable[[], int] | None = None
    #: seconds from a signal to the end that is forced, `SERVICE_STOP_S` or more
    stop_within_s: float = SERVICE_STOP_S
    #: slots that the sweeps of one user have together, at most; None: no limit
    most_per_user: int | None = None
    allow_code: bool = False
    #: sweeps and reruns of one user that wait or run, at most
    most_queued_per_user: int = 1_000

    def count_slots(self) -> int:
        from lstm_sweep.search.engines.local import find_slots

        if self.cluster:
            return min(self.cluster(), self.slots or sys.maxsize)
        return self.slots or len(find_slots())


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What requests may take."""

    #: bytes of the body of a request, but for uploads
    request_bytes: int = 1 << 20
    #: bytes of one uploaded corpus, and of the disk that all of them take
    corpus_bytes: int = 10 << 30
    uploads_bytes: int = 50 << 30
    #: corpora of all and of one user that come just now
    coming: int = 16
    coming_per_user: int = 4
    #: bytes of zipped bundles that are kept; the oldest ones go first
    bundles_bytes: int = 2 << 30
    #: bytes of the disk that uploads and bundles leave free
    free_bytes: int = 1 << 30
    #: files of one corpus, and folders of one
    files: int = 10_000
    #: streams of events that are open at once, and those of one user
    streams: int = 200
    streams_per_user: int = 20
    anonymous_bytes: int = 64 << 10
    #: seconds between two parts of a body
    silence_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    """What the HTTP side of a service was started with."""

    #: tokens, uploads, bundles and the list of changes; only this user may read it
    folder: Path
    #: host names under which it may be requested; addresses are accepted, and names of loopback
    names: tuple[str, ...] = ()
    asks_login: bool = False
    #: folders below which data may be named as `server:PATH`
    data_roots: tuple[Path, ...] = ()
    #: address of MLflow's pages, to which those of the service link
    mlflow_page: str | None = None
    #: addresses of proxies, which say who asks them
    proxies: tuple[Network, ...] = ()
    #: the header in which a proxy names the user, in lower case; None: it names none
    user_header: str | None = None
    #: role of users whom a proxy names and of whose name there is no token
    user_role: Role = Role.READ
    limits: Limits = field(default_factory=Limits)
    remembered_s: float = AGE_S
    look_every_s: float = 2.0

    @property
    def data_folders(self) -> tuple[Path, ...]:
        """Folders below which it opens data: where it keeps some, what was sent, and named."""
        return *(self.folder / own for own in (KEPT, UPLOADS, BUNDLES)), *self.data_roots


def service_folder(store: Settings, folder: Path) -> Path:
    """The folder of a service, created if missing: beside an SQLite store, else in `folder`."""
    file = store.database_file
    own = (file.parent if file else folder) / FOLDER
    if private(own) is None:
        raise InputError(
            f"{own}: expected a folder of your own, or none, that no other user may write to"
        )
    own.chmod(0o700)
    return own


def checked_roots(given: tuple[str, ...]) -> tuple[Path, ...]:
    """The folders that `--data-root` names, without links."""
    found = []
    for text in given:
        try:
            root = Path(text).expanduser().resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            root = Path()
        if not text or not root.is_dir() or root == Path():
            raise InputError(f"--data-root {shown(text)}: expected a folder")
        found.append(root)
    return tuple(found)
