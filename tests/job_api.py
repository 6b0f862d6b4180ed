"""The job API of a Ray head, as far as it is used, played by a server of the tests' own."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: an answer: HTTP status and content
Answer = tuple[int, str]


@dataclass
class JobApi:
    """What the server knows, and how it answers."""

    #: what requests must carry; None if they need nothing
    token: str | None = None
    version: Answer = (200, '{"version": "4", "ray_version": "2.60.0"}')
    packages: dict[str, bytes] = field(default_factory=dict)
    #: what was submitted, by the name of the job
    submitted: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: states of the job, one for each question, the last one for all further ones
    states: list[dict[str, Any]] = field(default_factory=lambda: [{"status": "SUCCEEDED"}])
    #: lines that the command has printed, or what to answer in their place
    lines: list[str] = field(default_factory=list)
    #: answers to the next requests whose path ends with a text, in place of the true ones
    instead: list[tuple[str, Answer]] = field(default_factory=list)
    #: what happens before the request of this number is answered
    before: dict[int, Callable[[], None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    stops: int = 0
    address: str = ""

    def answer(self, method: str, path: str, authorization: str | None, content: bytes) -> Answer:
        """The answer to a request."""
        self.asked.append(f"{method} {path}")
        self.before.get(len(self.asked), lambda: None)()
        if self.instead and path.endswith(self.instead[0][0]):
            return self.instead.pop(0)[1]
        if self.token is not None and not authorization:
            return 401, "Unauthorized: Missing authentication token"
        if self.token is not None and authorization != f"Bearer {self.token}":
            return 403, "Forbidden: Invalid authentication token"
        if path == "/api/version":
            return self.version
        if path.startswith("/api/packages/gcs/"):
            return self._package(method, path.rpartition("/")[2], content)
        if (method, path) == ("POST", "/api/jobs/"):
            job = json.loads(content)
            self.submitted[job["submission_id"]] = job
            return 200, json.dumps({"submission_id": job["submission_id"]})
        return self._job(method, path.removeprefix("/api/jobs/"))

    def _package(self, method: str, name: str, content: bytes) -> Answer:
        if method == "PUT":
            self.packages[name] = content
        return (200, "") if name in self.packages else (404, f"Package {name} does not exist")

    def _job(self, method: str, path: str) -> Answer:
        name, _, what = path.partition("/")
        if name not in self.submitted:
            return 404, f"Job {name} does not exist"
        if what == "stop":
            self.stops += 1
            return 200, '{"stopped": true}'
        if what == "logs":
            begin = f"INFO -- set up\n{name} begins\nRunning entrypoint for job {name}: x\n"
            return 200, json.dumps({"logs": begin + "".join(self.lines)})
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return 200, json.dumps(state)


@contextlib.contextmanager
def answering(api: JobApi) -> Iterator[JobApi]:
    """The API at an address of this machine, which it is told."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, text = api.answer(
                self.command, self.path, self.headers.get("Authorization"), content
            )
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", text)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = _answer  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of clients that have left."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    api.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
