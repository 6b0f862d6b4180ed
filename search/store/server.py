"""`ui`: the MLflow UI on this store."""

from __future__ import annotations

import contextlib
import errno
import http.client
import ipaddress
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.process.signals import GIVE_UP_ALL_S, Shield
from lstm_sweep.search.store import approval, artifacts, auth, reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store

#: where the server listens by default
HERE = "127.0.0.1"
FIRST_PORT = 5000
#: seconds that the server has to start
START_WITHIN_S = 180
#: ports that are tried if none is given, from `FIRST_PORT` on
PORTS = 50
#: header with a random value by which the server that was started here is recognized
MARK = "Lstm-Sweep"
#: names of this machine for itself, and MLflow's patterns for them with any port (SSH tunnels)
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
LOOPBACK_PATTERNS = ("localhost:*", "127.0.0.1:*", "[[]::1]:*")
#: variables that could make the server accept more requests than its options allow
OPENING = (
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE",
    "MLFLOW_SERVER_ALLOWED_HOSTS",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
    "MLFLOW_UVICORN_OPTS",
    "MLFLOW_GUNICORN_OPTS",
)


@dataclass(frozen=True)
class BindAddress:
    """Where a server listens, and the host names that it accepts."""

    #: as the user wrote it
    host: str
    #: the address that `host` resolves to
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    #: host names of its own address in a browser; the first is shown to the user
    names: tuple[str, ...]
    #: further host names with any port, such as those of a container or a reverse proxy
    further: tuple[str, ...] = ()

    @property
    def is_free(self) -> bool:
        """Whether the port is free.

        Raises:
            OSError: the address is none of this machine.
        """
        family = socket.AF_INET if self.ip.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((str(self.ip), self.port))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise
                return False
            return True

    @property
    def is_open(self) -> bool:
        """Whether other machines can connect."""
        return not self.ip.is_loopback

    @property
    def address(self) -> str:
        """URL to show to the user."""
        return f"http://{self.names[0]}:{self.port}"

    @property
    def local_address(self) -> str:
        """URL for requests of this program."""
        ip = self.ip
        if ip.is_unspecified:
            ip = ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")
        return f"http://{_written(str(ip))}:{self.port}"

    @property
    def options(self) -> list[str]:
        """Options that make MLflow's server reject requests for any other host name.

        MLflow's default accepts every private address. Its own pages have to be listed as origins
        of requests, since it accepts only those of `localhost` by default.
        """
        hosts = [f"{name}:{self.port}" for name in self.names]
        origins = [f"http://{host}" for host in hosts]
        if self.port == 80:  # which browsers leave out
            hosts += self.names
            origins += [f"http://{name}" for name in self.names]
        if not self.is_open or self.ip.is_unspecified:
            hosts += [*LOOPBACK, *LOOPBACK_PATTERNS]
        for name in self.further:
            host, pattern = _written(name), _written(name).replace("[", "[[]")
            hosts += [host, f"{pattern}:*"]
            for kind in ("http", "https"):
                origins += [f"{kind}://{host}", f"{kind}://{pattern}:*"]
        return [
            *("--host", str(self.ip), "--port", str(self.port)),
            *("--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(origins)),
        ]


@dataclass(frozen=True)
class Pages:
    """Where a browser finds the runs of a store."""

    #: URL of the server
    address: str
    #: URL of all runs
    runs: str
    #: name of the newest sweep and URL of its run; None without sweeps
    name: str | None
    sweep: str | None


class PortTakenError(Exception):
    """Another process has taken the port of a server before it could listen."""


def serve(
    settings: Settings,
    host: str,
    port: int | None,
    *,
    announce: Callable[[Pages], None],
    say: Callable[[str], None],
) -> None:
    """Start the MLflow server on a store and wait until it is interrupted.

    `announce` is called once the server answers; `say` before that, with lines for people. For a
    store that is a tracking server already, none is started, and only `announce` is called.

    Raises:
        InputError: it cannot listen there, needs a password, or does not start.
        StoreError: it ends by itself later.
    """
    if settings.is_server:
        announce(pages_of(Store(settings), settings.address.rstrip("/")))
        return
    if settings.auth:
        auth.check(os.environ)
    bind = choose_bind_address(host, port, further=settings.allowed_hosts)
    store = Store(settings)
    artifacts.check_place(settings.artifacts or "mlartifacts")
    if bind.is_open:
        say(_warning(bind, settings.auth is not None))
    with Shield().up(), tempfile.TemporaryDirectory(prefix="lstm-sweep-") as folder:
        environment = environment_of(settings, Path(folder))
        say("starting the MLflow server ...")
        while True:
            try:
                _serve_at(bind, store, environment, announce)
            except PortTakenError:
                if port is not None:
                    raise _taken(port) from None
                bind = choose_bind_address(host, port, bind.port + 1, settings.allowed_hosts)
            except KeyboardInterrupt:
                return


def environment_of(settings: Settings, folder: Path) -> dict[str, str]:
    """The environment of the server of a store; `folder` keeps a file of its login while it runs.

    Raises:
        InputError: its login cannot be set up.
    """
    # the server could send the passwords `OF_SERVERS` to an address that a run names
    left_out = (*OPENING, *approval.OF_SERVERS)
    environment = {name: value for name, value in os.environ.items() if name not in left_out} | {
        # not an argument, since other users can list those of all processes
        "MLFLOW_BACKEND_STORE_URI": settings.mlflow_uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return environment | (auth.prepare(settings, folder, os.environ) if settings.auth else {})


def start_server(
    bind: BindAddress, settings: Settings, environment: dict[str, str], mark: str, **more: Any
) -> subprocess.Popen[bytes]:
    """Start the server of a store, as `Popen` does; its answers have `MARK` with this value."""
    command = [
        *(sys.executable, "-P", "-m", "mlflow", "server", "-w", str(settings.server_processes)),
        *(*bind.options, "--serve-artifacts", "--default-artifact-root", f"{artifacts.PROXIED}:/"),
        *("--artifacts-destination", settings.artifacts or "mlartifacts"),
        *(("--app-name", auth.APP) if settings.auth else ()),
    ]
    return subprocess.Popen(
        command,
        # not an argument: another user could read it there, and imitate this server
        env=environment | {"UVICORN_HEADERS": f"{MARK}:{mark}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **more,
    )


def end_server(server: subprocess.Popen[bytes]) -> None:
    """End a server, by SIGKILL if it does not end in time."""
    server.terminate()
    try:
        server.wait(GIVE_UP_ALL_S)
    except subprocess.TimeoutExpired:
        server.kill()


def _serve_at(
    bind: BindAddress,
    store: Store,
    environment: dict[str, str],
    announce: Callable[[Pages], None],
) -> NoReturn:
    settings, mark = store.settings, secrets.token_hex(16)
    server = start_server(bind, settings, environment, mark)
    try:
        wait_for(server, bind, mark)
        if settings.auth:
            auth.check_server(bind.local_address, os.environ, (MARK, mark))
        announce(pages_of(store, bind.address))
        raise StoreError(f"the MLflow server has ended, with code {server.wait()}; start it again")
    finally:
        end_server(server)


def choose_bind_address(
    host: str, port: int | None, first: int = FIRST_PORT, further: tuple[str, ...] = ()
) -> BindAddress:
    """Where the server will listen; if `port` is None, on the first free port from `first` on.

    Raises:
        InputError: the host is no address of this machine, or no port is free.
    """
    wrong = f"--host {shown(host)}: expected an address or name of this machine, such as {HERE}"
    try:
        if not re.fullmatch(r"[0-9A-Za-z.:_-]+", host):
            raise InputError(wrong)
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        ip = ipaddress.ip_address(str(found[0][4][0]))
        begin = FIRST_PORT if first < FIRST_PORT + PORTS else first
        wanted = range(first, begin + PORTS) if port is None else [port]
        names = _names(host, ip)
        binds = (BindAddress(host, ip, candidate, names, further) for candidate in wanted)
        if bind := next((bind for bind in binds if bind.is_free), None):
            return bind
    except (OSError, ValueError):
        raise InputError(wrong) from None
    raise _taken(port or first)


def _taken(port: int) -> InputError:
    return InputError(f"--port {port}: it is taken, expected a free one")


def _names(host: str, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[str, ...]:
    if re.fullmatch(r"[0-9.]+|.*:.*", host):
        host = str(ip)  # as browsers write it
    names = [host]
    if ip.is_unspecified:
        names = [_own_address(ip.version), socket.gethostname(), socket.getfqdn(), host]
    return tuple(dict.fromkeys(_written(name.lower()) for name in names))


def _own_address(version: int) -> str:
    """Address of this machine in its network; the loopback address if it has no network."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    elsewhere = "192.0.2.1" if version == 4 else "2001:db8::1"
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((elsewhere, 9))  # chooses a route, and sends nothing
        return str(probe.getsockname()[0])
    return "127.0.0.1" if version == 4 else "::1"


def _written(host: str) -> str:
    """A host as it is written in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _warning(bind: BindAddress, asks: bool) -> str:
    place = "this machine" if bind.ip.is_unspecified else bind.host
    who = f"--host {bind.host}: whoever reaches {place} over a network"
    if asks:
        return (
            f"{who} can try passwords, which are sent unencrypted; whoever has one can change runs"
        )
    return (
        f"{who} can read, change and delete all runs; `auth: basic` in mlflow.yaml asks for a "
        f"password"
    )


def wait_for(server: subprocess.Popen[bytes], bind: BindAddress, mark: str) -> None:
    """Wait until a server answers.

    Raises:
        PortTakenError: another process has taken its port.
        InputError: it does not start.
    """
    until = time.monotonic() + START_WITHIN_S
    while time.monotonic() < until:
        if server.poll() is not None:
            # MLflow exits with 0 if the port is taken; it may be free again by now
            if server.returncode == 0 or not bind.is_free:
                raise PortTakenError
            raise InputError(f"MLflow ended with code {server.returncode}; see `mlflow server`")
        try:
            with auth.direct.open(f"{bind.local_address}/health", timeout=2) as answer:
                if answer.headers[MARK] == mark:
                    return
        except (OSError, http.client.HTTPException):  # it does not listen yet, or is another server
            pass
        time.sleep(0.2)
    raise InputError(f"MLflow does not answer at {bind.local_address}; see `mlflow server`")


def pages_of(store: Store, address: str) -> Pages:
    """Pages of the runs of a store, on a server with this address.

    Raises:
        StoreError: the store cannot be read.
    """
    sweeps, runs = reader.sweeps(store), f"{address}{store.page()}"
    if not sweeps:
        return Pages(address, runs, None, None)
    newest = sweeps[-1]
    page = f"{address}{store.page(newest.info.run_id)}"
    return Pages(address, runs, newest.data.tags[Tag.NAME], page)
