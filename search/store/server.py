"""MLflow's server on a store: what `ui` starts, and `serve` beside the service."""

from __future__ import annotations

import contextlib
import errno
import http.client
import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.process.scoped import is_running, start_ticks
from lstm_sweep.search.process.signals import Shield
from lstm_sweep.search.store import experiment, reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.settings import OF_SERVERS, Settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store

#: where the server listens by default
HERE = "127.0.0.1"
FIRST_PORT = 5000
#: ports that are tried if none is given, from `FIRST_PORT` on
PORTS = 50
#: seconds that the server has to start, and to end after SIGTERM
START_WITHIN_S, END_WITHIN_S = 180, 5.0
#: addresses and names of this machine for itself
LOCAL = {4: "127.0.0.1", 6: "::1"}
LOOPBACK = ("localhost", *LOCAL.values())
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: sweeps of which the newest that can be read is shown
LOOKED_AT = 20
#: MLflow's variable with the settings of its users; where it is set, the server asks for a login
USERS = "MLFLOW_AUTH_CONFIG_PATH"


@dataclass(frozen=True)
class BindAddress:
    """Where a server listens, and the host names that it accepts."""

    #: as the user wrote it
    host: str
    #: the address that `host` resolves to
    ip: Address
    port: int
    #: host names of its own address in a browser; the first is shown to the user
    names: tuple[str, ...]
    #: further host names with any port, such as those of a container or a reverse proxy
    further: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        return not self.ip.is_loopback

    @property
    def address(self) -> str:
        return f"http://{self.names[0]}:{self.port}"

    @property
    def local_address(self) -> str:
        host = LOCAL[self.ip.version] if self.ip.is_unspecified else str(self.ip)
        return f"http://{_written(host)}:{self.port}"

    @property
    def options(self) -> list[str]:
        """Options that make MLflow's server reject requests for any other host name.

        By default it accepts every private address, and as origins of requests `localhost` alone.
        """
        own = [f"{name}:{self.port}" for name in self.names]
        if self.port == 80:  # which browsers leave out
            own += self.names
        further = _at_any_port(self.further)
        tunnels = not self.is_open or self.ip.is_unspecified  # SSH tunnels have other ports
        hosts = [*own, *further, *(_at_any_port(LOOPBACK) if tunnels else ())]
        origins = [f"http://{host}" for host in own]
        origins += [f"{kind}://{name}" for name in further for kind in ("http", "https")]
        return [
            *("--host", str(self.ip), "--port", str(self.port)),
            *("--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(origins)),
        ]


@dataclass(frozen=True)
class Pages:
    """URLs of a store's server, of its list of runs, and of the run of the newest sweep."""

    address: str
    runs: str
    #: name of the newest sweep; None without sweeps
    name: str | None = None
    sweep: str | None = None


class MlflowServer:
    """`mlflow server` on a store, in a process of its own, from `start` to `close`."""

    def __init__(self, settings: Settings, bind: BindAddress, note: Path | None = None) -> None:
        """The file `note` names its process: if this program is killed, the next one ends it."""
        experiment.check_place(settings.artifacts or "mlartifacts")
        self._settings, self._bind, self._note = settings, bind, note
        self._process: subprocess.Popen[bytes] | None = None
        self._closed, self._lock = False, threading.Lock()
        if note:
            _end_orphan(note)

    def start(self) -> None:
        """Start it, unless it was closed before; it takes some seconds until it answers."""
        with self._lock:
            if self._closed:
                return
            self._process = process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            if self._note:
                with contextlib.suppress(OSError):
                    self._note.write_text(f"{process.pid} {start_ticks(process.pid)}", "ascii")

    @property
    def _command(self) -> list[str]:
        settings, files = self._settings, self._settings.artifacts or "mlartifacts"
        return [
            *(sys.executable, "-P", "-m", "mlflow", "server", "-w", str(settings.server_processes)),
            *(*self._bind.options, "--serve-artifacts", "--artifacts-destination", files),
            *("--default-artifact-root", f"{experiment.PROXIED}:/"),
            *(("--app-name", "basic-auth") if os.environ.get(USERS) else ()),
        ]

    @property
    def _environment(self) -> dict[str, str]:
        # the server could send the passwords `OF_SERVERS` to an address that a run names
        kept = {name: at for name, at in os.environ.items() if name not in OF_SERVERS}
        return kept | {
            # not an argument, since other users can list those of all processes
            "MLFLOW_BACKEND_STORE_URI": self._settings.mlflow_uri,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def wait_until_it_answers(self) -> None:
        """Wait for it; raises `InputError` if it does not start."""
        assert self._process
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        until = time.monotonic() + START_WITHIN_S
        while time.monotonic() < until:
            if (code := self._process.poll()) is not None:
                raise InputError(f"MLflow ended with code {code}; see `mlflow server`")
            with contextlib.suppress(OSError, http.client.HTTPException):  # it does not listen yet
                direct.open(f"{self._bind.local_address}/health", timeout=2).close()
                return
            time.sleep(0.2)
        raise InputError(f"MLflow does not answer at {self._bind.local_address}")

    def wait(self) -> int:
        assert self._process
        return self._process.wait()

    def close(self) -> None:
        """End it with its own processes; it keeps nothing that could be lost."""
        with self._lock:
            self._closed = True
            if self._process is None:
                return
            _signal_group(self._process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_WITHIN_S)
            _signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._note:
            self._note.unlink(missing_ok=True)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_orphan(note: Path) -> None:
    """End the server of a program that was killed; a process that has its number now is spared."""
    with contextlib.suppress(OSError, ValueError):
        pid, started = map(int, note.read_text(encoding="ascii").split())
        for number in (signal.SIGTERM, signal.SIGKILL):
            until = time.monotonic() + END_WITHIN_S
            if is_running(pid, started):
                _signal_group(pid, number)
            while is_running(pid, started) and time.monotonic() < until:
                time.sleep(0.1)


def serve(
    settings: Settings,
    host: str,
    port: int | None,
    *,
    announce: Callable[[Pages], None],
    say: Callable[[str], None],
) -> None:
    """Start the MLflow server on a store, `announce` it, and wait until it is interrupted.

    For a store that is a tracking server already, none is started. `say` gets lines for people.
    """
    if settings.is_server:
        announce(pages_of(MlflowStore(settings), settings.address.rstrip("/")))
        return
    bind = choose_bind_address(host, port, further=settings.allowed_hosts)
    store, server = MlflowStore(settings), MlflowServer(settings, bind)
    if bind.is_open:
        place = "this machine" if bind.ip.is_unspecified else bind.host
        can = "read, change and delete all runs"
        if os.environ.get(USERS):
            can = "try passwords, which are sent unencrypted"
        say(f"--host {bind.host}: whoever reaches {place} over a network can {can}")
    with Shield().up():
        say("starting the MLflow server ...")
        try:
            server.start()
            server.wait_until_it_answers()
            announce(pages_of(store, bind.address))
            raise StoreError(f"the MLflow server has ended, with code {server.wait()}")
        except KeyboardInterrupt:
            return
        finally:
            server.close()


def choose_bind_address(
    host: str, port: int | None, first: int = FIRST_PORT, further: tuple[str, ...] = ()
) -> BindAddress:
    """Where the server will listen; if `port` is None, on the first free port from `first` on."""
    wrong = f"--host {shown(host)}: expected an address or name of this machine, such as {HERE}"
    try:
        if not re.fullmatch(r"[0-9A-Za-z.:_-]+", host):
            raise InputError(wrong)
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        ip = ipaddress.ip_address(str(found[0][4][0]))
        wanted = range(first, first + PORTS) if port is None else [port]
        if (free := next((one for one in wanted if _is_free(ip, one)), None)) is not None:
            return BindAddress(host, ip, free, _names(host, ip), further)
    except (OSError, ValueError):
        raise InputError(wrong) from None
    raise InputError(f"--port {port or first}: it is taken, expected a free one")


def _is_free(ip: Address, port: int) -> bool:
    with socket.socket(FAMILY[ip.version], socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(ip), port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise
            return False
    return True


def _names(host: str, ip: Address) -> tuple[str, ...]:
    if re.fullmatch(r"[0-9.]+|.*:.*", host):
        host = str(ip)  # as browsers write it
    names = [host]
    if ip.is_unspecified:
        names = [_own_address(ip.version), socket.gethostname(), socket.getfqdn(), host]
    return tuple(dict.fromkeys(_written(name.lower()) for name in names))


def _own_address(version: int) -> str:
    """Address of this machine in its network; the loopback address if it has no network."""
    elsewhere = "192.0.2.1" if version == 4 else "2001:db8::1"
    with contextlib.suppress(OSError), socket.socket(FAMILY[version], socket.SOCK_DGRAM) as probe:
        probe.connect((elsewhere, 9))  # chooses a route, and sends nothing
        return str(probe.getsockname()[0])
    return LOCAL[version]


def _written(host: str) -> str:
    """A host as it is written in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _at_any_port(names: Iterable[str]) -> list[str]:
    """What MLflow takes for the names without a port, and with any."""
    hosts = list(map(_written, names))
    return [*hosts, *(f"{host.replace('[', '[[]')}:*" for host in hosts)]


def pages_of(store: Store, address: str) -> Pages:
    sweeps, _ = reader.newest_sweeps(store, LOOKED_AT)
    pages = Pages(address, f"{address}{store.page()}")
    if not sweeps:
        return pages
    page = f"{address}{store.page(sweeps[0].info.run_id)}"
    return replace(pages, name=sweeps[0].data.tags[Tag.NAME], sweep=page)
