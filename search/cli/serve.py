"""`serve`: the service, its HTTP side and MLflow's server, until they are told to end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import signal
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from lstm_sweep.models.data.source import open_only_below
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.cli.terminal import DONE
from lstm_sweep.search.process.signals import SERVICE_STOP_S, SIGNALS, service_stop_s
from lstm_sweep.search.store import experiment
from lstm_sweep.search.store import server as mlflow_server
from lstm_sweep.search.store.server import BindAddress, MlflowServer
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.values.spec import ray_address

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lstm_sweep.search.service.service import Service
    from lstm_sweep.search.service.settings import HttpSettings, Limits
    from lstm_sweep.search.service.supervisor import ClusterSlots


#: the port of the service by default
FIRST_PORT = 8000
#: seconds that open requests have to end once the service ends
GRACE_S = 2
#: seconds that the program ends before it would be killed, and from the end of drivers and MLflow's
#: server to its own, whatever requests still wait for
AHEAD_S, AFTER_ALL_S = 2.0, 4.0
#: permissions that new files of a service with logins do not give: any to other users
PRIVATE = 0o077


def serve(arguments: Namespace) -> int:
    """Run the service until a signal ends it; drivers are ended too, and go on later."""
    for name in ("port", "slots", "per_user"):
        number, most = getattr(arguments, name), 65_535 if name == "port" else 1_000
        if number is not None and not 1 <= number <= most:
            option = name.replace("_", "-")
            raise InputError(f"--{option} is {shown(number)}: expected 1 to {most}")
    cluster = _cluster(arguments)
    if arguments.store:  # drivers and reruns use it too
        load(Path.cwd(), given=arguments.store)
        os.environ["MLFLOW_TRACKING_URI"] = arguments.store
    settings = load(Path.cwd())
    bind = mlflow_server.choose_bind_address(
        arguments.host, arguments.port, FIRST_PORT, settings.allowed_hosts
    )
    stop_s = service_stop_s()
    end = _End(stop_s - AHEAD_S)
    with contextlib.ExitStack() as stack:
        if _asks_login(arguments, bind):
            stack.callback(os.umask, os.umask(PRIVATE))  # that of drivers and MLflow's server too
            if said := _open_to_others(settings):
                print(said, file=sys.stderr, flush=True)
        from lstm_sweep.search.service.app import create_app
        from lstm_sweep.search.service.settings import UPLOADS, service_folder

        stack.enter_context(end.on_signals())
        if cluster:
            cluster.start()
            stack.callback(cluster.close)
        service = _service(arguments, settings, cluster, stop_s)
        end.calls(service.drain)
        service.on_lost = lambda: os.kill(os.getpid(), signal.SIGTERM)
        mlflow, mlflow_url = None, settings.address.rstrip("/") if settings.is_server else None
        if not settings.is_server and not arguments.no_mlflow:
            note = service_folder(settings, Path.cwd()) / "mlflow-process"
            at = mlflow_server.choose_bind_address(
                mlflow_server.HERE, None, further=settings.allowed_hosts
            )
            mlflow = MlflowServer(settings, at, note)
            end.calls(mlflow.close)
            mlflow_url = at.address
        mlflow_url = _page(arguments.mlflow_page) or mlflow_url
        http = _http_settings(arguments, settings, bind, mlflow_url)
        open_only_below((http.folder / UPLOADS, *http.data_roots))
        told = {"url": bind.address, "mlflow_url": mlflow_url, "auth": _auth(http)}
        app = create_app(service, http)
        service.start()
        if mlflow:
            mlflow.start()
        return _run(app, bind, told, end, as_json=arguments.json)


def _cluster(arguments: Namespace) -> ClusterSlots | None:
    """The slots of the Ray cluster on which sweeps run; None if they run here.

    Raises:
        InputError: there can be no such address.
    """
    from lstm_sweep.search.service.supervisor import ClusterSlots

    if address := ray_address(arguments.address, arguments.on):
        os.environ["RAY_ADDRESS"] = address  # drivers find it there
    return ClusterSlots() if arguments.on == "ray" else None


def _service(
    arguments: Namespace, settings: Settings, cluster: ClusterSlots | None, stop_s: float
) -> Service:
    from lstm_sweep.search.service.service import Service
    from lstm_sweep.search.service.settings import ServiceSettings, service_folder

    return Service(
        ServiceSettings(
            store=settings,
            folder=Path.cwd(),
            state=service_folder(settings, Path.cwd()) / "drivers",
            slots=arguments.slots,
            cluster=cluster,
            most_per_user=arguments.per_user,
            stop_within_s=stop_s,
        )
    )


def _http_settings(
    arguments: Namespace,
    settings: Settings,
    bind: BindAddress,
    mlflow_page: str | None,
) -> HttpSettings:
    from lstm_sweep.search.service.auth import check_user_header, parse_proxies
    from lstm_sweep.search.service.settings import (
        HttpSettings,
        Role,
        checked_roots,
        service_folder,
    )

    if arguments.user_header is not None and not arguments.proxy:
        raise InputError("--user-header needs --proxy: expected the address of the proxy")
    return HttpSettings(
        folder=service_folder(settings, Path.cwd()),
        names=tuple({name.strip("[]") for name in (*bind.names, *bind.further)}),
        asks_login=_asks_login(arguments, bind),
        data_roots=checked_roots(tuple(arguments.data_root)),
        allow_code=arguments.allow_code,
        mlflow_page=mlflow_page,
        proxies=parse_proxies(tuple(arguments.proxy)),
        user_header=arguments.user_header and check_user_header(arguments.user_header),
        user_role=Role(arguments.user_role),
        limits=_limits(arguments),
    )


def _asks_login(arguments: Namespace, bind: BindAddress) -> bool:
    """Whether each request needs a login."""
    return bind.is_open or arguments.login or _has_proxy(arguments, bind)


def _open_to_others(settings: Settings) -> str:
    """What to say of files of the store that other users of the machine may read; empty if none."""
    kept = experiment.folder_of(settings.artifacts) if settings.artifacts else None
    places = (settings.database_file, kept)
    found = [str(place) for place in places if place and _is_open_to_others(place)]
    if not found:
        return ""
    files = " ".join(f"{shlex.quote(place)}*" for place in found)
    return (
        f"other users of this machine may read {' and '.join(found)}, whatever the login: "
        f"expected files of your own alone, chmod -R go= {files}"
    )


def _is_open_to_others(place: Path) -> bool:
    """Whether a file or folder, and each folder that it is in, lets other users in."""
    try:
        inside = all(folder.stat().st_mode & 0o011 for folder in place.resolve().parents)
        return inside and bool(place.stat().st_mode & 0o077)
    except OSError:
        return False


def _has_proxy(arguments: Namespace, bind: BindAddress) -> bool:
    """Whether requests may come from elsewhere although the service listens on loopback."""
    below_a_proxy = (arguments.mlflow_page or "").startswith("/")
    return bool(bind.further) or bool(arguments.proxy) or below_a_proxy


def _page(given: str | None) -> str | None:
    """The address of MLflow's pages that was given.

    Raises:
        InputError: it is neither a URL nor a path.
    """
    if given is not None and not re.fullmatch(r"(https?://[^/\s]+)?(/[!-~]*)?", given or " "):
        raise InputError(
            f"--mlflow-page is {shown(given)}: expected http://HOST/... or a path, /..."
        )
    return given and given.rstrip("/")


def _limits(arguments: Namespace) -> Limits:
    """The limits that are given, and those that are not."""
    from lstm_sweep.search.service.settings import Limits

    given = {
        "corpus_bytes": arguments.max_corpus,
        "uploads_bytes": arguments.max_uploads,
        "free_bytes": arguments.keep_free,
    }
    return Limits(**{name: value for name, value in given.items() if value is not None})


def _auth(http: HttpSettings) -> str | None:
    """How requests log in; None if they do not."""
    if not http.asks_login:
        return None
    return "token or proxy" if http.user_header else "token"


class _End:
    """The end of the service: what is called when a signal comes, and how long that may take."""

    def __init__(self, within_s: float = SERVICE_STOP_S - AHEAD_S) -> None:
        """`within_s` is how long it takes at most."""
        self._within_s = within_s
        self._lock = threading.RLock()  # a signal may come while it is held
        self._calls: list[Callable[[], None]] = []
        self._threads: list[threading.Thread] = []
        self._wanted, self._over = False, threading.Event()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Begin the end when a signal comes, or else when the context ends; wait for all calls."""
        before = {number: signal.signal(number, self._begin) for number in SIGNALS}
        try:
            yield
        finally:
            self._begin()
            for thread in self._threads:
                thread.join()
            self._over.set()
            for number, handler in before.items():
                signal.signal(number, handler)

    def calls(self, call: Callable[[], None]) -> None:
        """Call something once the end has begun, beside all else; at once if it has."""
        with self._lock:
            self._calls.append(call)
            if self._wanted:
                self._start()

    def _begin(self, number: int = 0, frame: FrameType | None = None) -> None:
        with self._lock:
            if not self._wanted:
                self._wanted = True
                self._start()
                threading.Thread(target=self._force, name="last resort", daemon=True).start()

    def _start(self) -> None:
        while self._calls:  # each is made once, also if a signal comes in between
            thread = threading.Thread(target=self._calls.pop(0))
            thread.start()
            self._threads.append(thread)  # not before: what is in the list may be joined at once

    def _force(self) -> None:
        """End the program if requests that do not end keep it."""
        until = time.monotonic() + self._within_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        if not self._over.wait(min(AFTER_ALL_S, max(0.0, until - time.monotonic()))):
            os._exit(DONE)


def _run(app: FastAPI, bind: BindAddress, told: dict[str, Any], end: _End, *, as_json: bool) -> int:
    """Answer requests until the end has begun."""
    import uvicorn

    from lstm_sweep.search.service import connections

    most = connections.connections_for(connections.raise_open_files())
    config = uvicorn.Config(
        app,
        host=str(bind.ip),
        port=bind.port,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        proxy_headers=False,  # `resolve_forwarded` reads them
        **connections.server_options(most),
    )

    class Server(uvicorn.Server):
        """Leaves signals to `_End`, which ends drivers too."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Install no handlers of signals."""
            yield

    server = Server(config)

    def stop() -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # requests are broken off
        server.should_exit = True
        app.state.site.feeds.closing = True

    end.calls(stop)
    threading.Thread(
        target=_announce, args=(server, told), kwargs={"as_json": as_json}, daemon=True
    ).start()
    try:
        server.run()
    except SystemExit:  # it could not listen
        server.should_exit = True
        raise InputError(f"--port {bind.port}: it is taken, expected a free one") from None
    return DONE


def _announce(server: Any, told: dict[str, Any], *, as_json: bool) -> None:
    """Say where the service is once it answers."""
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.02)
    if as_json:
        print(json.dumps(told), flush=True)
        return
    print(f"service: {told['url']}", flush=True)
    if told["mlflow_url"]:
        print(f"MLflow: {told['mlflow_url']}", flush=True)
    if told["auth"]:
        print("requests need a token: lstm-sweep token add NAME --role run", flush=True)
    print("Ctrl-C ends it; sweeps go on when it is started again", file=sys.stderr, flush=True)
