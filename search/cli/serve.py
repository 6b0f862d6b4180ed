"""`serve`: the service, its HTTP side and MLflow's server, until they end; `token`: its users."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import signal
import socket
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from rich.table import Table

from lstm_sweep.models.data.source import open_only_below
from lstm_sweep.models.errors import InputError, plain, shown
from lstm_sweep.search.cli import DONE, Answer
from lstm_sweep.search.process.signals import Shield, handled, service_stop_s
from lstm_sweep.search.service import guard
from lstm_sweep.search.service.app import create_app
from lstm_sweep.search.service.auth import TokenFile, check_user_header, parse_proxies
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import (
    HttpSettings,
    Limits,
    Role,
    ServiceSettings,
    checked_roots,
    service_folder,
)
from lstm_sweep.search.service.supervisor import ClusterSlots
from lstm_sweep.search.store import experiment
from lstm_sweep.search.store import server as mlflow_server
from lstm_sweep.search.store.server import BindAddress, MlflowServer
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.values.spec import ray_address

FIRST_PORT = 8000
#: seconds that open requests have to end once the service ends
GRACE_S = 2
#: seconds from the end of drivers and MLflow's server to that of the program, whatever requests
#: still wait for
AFTER_ALL_S = 4.0
#: permissions that new files of a service with logins do not give: any to other users
PRIVATE = 0o077


def serve(arguments: Namespace) -> int:
    """Run the service until a signal ends it; drivers are ended too, and go on later."""
    if address := ray_address(arguments.address, arguments.on):
        os.environ["RAY_ADDRESS"] = address  # drivers find it there
    if arguments.store:  # drivers and reruns use it too
        load(Path.cwd(), given=arguments.store)
        os.environ["MLFLOW_TRACKING_URI"] = arguments.store
    settings = load(Path.cwd())
    bind = mlflow_server.choose_bind_address(
        arguments.host, arguments.port, FIRST_PORT, settings.allowed_hosts
    )
    stop_s = service_stop_s()
    ends = _Ends()
    with contextlib.ExitStack() as stack:
        if _asks_login(arguments, bind):
            stack.callback(os.umask, os.umask(PRIVATE))  # that of drivers and MLflow's server too
            if said := _open_to_others(settings):
                print(said, file=sys.stderr, flush=True)
        stack.enter_context(Shield(stop_s).up())
        stack.callback(ends.wait)
        cluster = ClusterSlots() if arguments.on == "ray" else None
        if cluster:
            cluster.start()
            stack.callback(cluster.close)
        folder = service_folder(settings, Path.cwd())
        service = Service(
            ServiceSettings(
                store=settings,
                folder=Path.cwd(),
                state=folder / "drivers",
                slots=arguments.slots,
                cluster=cluster,
                most_per_user=arguments.per_user,
                stop_within_s=stop_s,
                allow_code=arguments.allow_code,
            )
        )
        ends.calls(service.drain)
        service.on_lost = lambda: os.kill(os.getpid(), signal.SIGTERM)
        mlflow, mlflow_url = None, settings.address.rstrip("/") if settings.is_server else None
        if not settings.is_server and not arguments.no_mlflow:
            at = mlflow_server.choose_bind_address(
                mlflow_server.HERE, None, further=settings.allowed_hosts
            )
            mlflow, mlflow_url = MlflowServer(settings, at, folder / "mlflow-process"), at.address
            ends.calls(mlflow.close)
        http = http_settings(arguments, folder, bind, mlflow_url)
        open_only_below(http.data_folders)
        app = create_app(service, http)
        service.start()
        if mlflow:
            mlflow.start()
        return _run(app, bind, ends, as_json=arguments.json)


def http_settings(
    arguments: Namespace, folder: Path, bind: BindAddress, mlflow_url: str | None
) -> HttpSettings:
    if arguments.user_header is not None and not arguments.proxy:
        raise InputError("--user-header needs --proxy: expected the address of the proxy")
    page = arguments.mlflow_page
    if page is not None and not re.fullmatch(r"(https?://[^/\s]+)?(/[!-~]*)?", page or " "):
        raise InputError(
            f"--mlflow-page is {shown(page)}: expected http://HOST/... or a path, /..."
        )
    limits = {
        "corpus_bytes": arguments.max_corpus,
        "uploads_bytes": arguments.max_uploads,
        "free_bytes": arguments.keep_free,
    }
    return HttpSettings(
        folder=folder,
        names=tuple({name.strip("[]") for name in (*bind.names, *bind.further)}),
        asks_login=_asks_login(arguments, bind),
        data_roots=checked_roots(tuple(arguments.data_root)),
        mlflow_page=(page or "").rstrip("/") or mlflow_url,
        proxies=parse_proxies(arguments.proxy),
        user_header=arguments.user_header and check_user_header(arguments.user_header),
        user_role=Role(arguments.user_role),
        limits=Limits(**{name: value for name, value in limits.items() if value is not None}),
    )


def _asks_login(arguments: Namespace, bind: BindAddress) -> bool:
    """Whether each request needs a login, since it may come from elsewhere, or the user says so."""
    below_a_proxy = (arguments.mlflow_page or "").startswith("/")
    has_proxy = bool(bind.further) or bool(arguments.proxy) or below_a_proxy
    return bind.is_open or arguments.login or has_proxy


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


class _Ends:
    """What is called, all at once, when the service ends."""

    def __init__(self) -> None:
        self._threads, self._begun = list[threading.Thread](), False
        self._over = threading.Event()

    def calls(self, call: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=call))

    def begin(self) -> None:
        if not self._begun:  # a second signal changes nothing
            self._begun = True
            for one in [*self._threads, threading.Thread(target=self._force, daemon=True)]:
                one.start()

    def wait(self) -> None:
        with handled(lambda *_: None):
            self.begin()
            for one in self._threads:
                one.join()
        self._over.set()

    def _force(self) -> None:
        """End the program if a request still waits, as for a store that hangs."""
        for one in self._threads:
            one.join()
        if not self._over.wait(AFTER_ALL_S):
            os._exit(DONE)


def _run(app: FastAPI, bind: BindAddress, ends: _Ends, *, as_json: bool) -> int:
    config = uvicorn.Config(
        app,
        host=str(bind.ip),
        port=bind.port,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        proxy_headers=False,  # `resolve_forwarded` reads them
        **guard.SERVER,
    )

    class Server(uvicorn.Server):
        """Ends all with it when a signal comes, and says where it is once it answers."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            with handled(self._end_all):
                yield

        def _end_all(self, *_: object) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # requests are broken off
            self.should_exit = app.state.site.feeds.closing = True
            ends.begin()

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                _announce(app.state.site.settings, bind, as_json=as_json)

    try:
        Server(config).run()
    except SystemExit:  # it could not listen
        raise InputError(f"--port {bind.port}: it is taken, expected a free one") from None
    return DONE


def _announce(http: HttpSettings, bind: BindAddress, *, as_json: bool) -> None:
    auth = "token or proxy" if http.user_header else "token"
    asked = auth if http.asks_login else None
    if as_json:
        told = {"url": bind.address, "mlflow_url": http.mlflow_page, "auth": asked}
        print(json.dumps(told), flush=True)
        return
    print(f"service: {bind.address}", flush=True)
    if http.mlflow_page:
        print(f"MLflow: {http.mlflow_page}", flush=True)
    if asked:
        print("requests need a token: lstm-sweep token add NAME --role run", flush=True)
    print("Ctrl-C ends it; sweeps go on when it is started again", file=sys.stderr, flush=True)


def token(arguments: Namespace) -> Answer:
    here = Path.cwd()
    file = TokenFile(service_folder(load(here, given=arguments.store or ""), here))
    if arguments.action == "add":
        made = file.add(arguments.name, arguments.role)
        return Answer({"name": arguments.name, "role": arguments.role, "token": made}, [made])
    if arguments.action == "revoke":
        row = file.revoke(arguments.name)
        return Answer(row.to_dict(), [f"token '{row.name}' is refused from now on"])
    rows = file.rows()
    table = Table("name", "role", "made")
    for row in rows:
        table.add_row(plain(row.name), row.role, plain(row.created))
    none = f"no tokens in {file.file}; lstm-sweep token add NAME --role run makes one"
    return Answer([row.to_dict() for row in rows], [table if rows else none])
