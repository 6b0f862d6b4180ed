"""The job API of a Ray head: jobs submitted, followed and stopped over HTTP, without Ray.

Ray documents it under "Ray Jobs REST API"; what is used here is that of version 2.60.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from lstm_sweep.models.errors import InputError, cut, shown
from lstm_sweep.models.wording import option
from lstm_sweep.search.process import secrets

#: seconds that the head has to answer a request, and to take an upload
REQUEST_TIMEOUT_S, UPLOAD_TIMEOUT_S = 20.0, 600.0
#: bytes of an upload from which on the head refuses it (DASHBOARD_CLIENT_MAX_SIZE of Ray)
UPLOAD_LIMIT = 100 << 20
#: what an address should look like, for messages
EXPECTED = "expected the address of its dashboard, such as http://HEAD:8265"
#: how a token is given
HOW_TOKEN = "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or its file as RAY_AUTH_TOKEN_PATH"
#: names of this machine, which is never reached through a proxy
LOOPBACK = ("localhost", "127.0.0.1", "::1")
#: file of the token if no variable names another
TOKEN_FILE = Path("~/.ray/auth_token")
#: status of a job that has ended
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class NoAnswerError(Exception):
    """The head does not answer, or fails; it may do better later."""


class UnknownJobError(Exception):
    """The head does not know a job, for instance since it was started again."""


@dataclass(frozen=True)
class JobState:
    """What the head says of a job."""

    #: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED
    status: str
    #: why it waits or has failed
    message: str = ""
    #: of its command, negative if it was killed by a signal; None if it has not ended by itself
    exit_code: int | None = None

    @property
    def has_ended(self) -> bool:
        """Whether its command has ended, or never will begin."""
        return self.status in ENDED


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would send the token to another server."""

    def redirect_request(self, *_: Any) -> None:
        """Return None, by which urllib raises the redirect as an `HTTPError`."""


class RayJobs:
    """The job API at an address; requests carry a token if one is given.

    Each method raises

    - `NoAnswerError` if the head does not answer or fails,
    - `InputError` if it refuses the token, or if there is no Ray head at the address.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = address
        self._token = token
        is_here = urlsplit(address).hostname in LOOPBACK
        proxies = urllib.request.ProxyHandler({} if is_here else None)
        self._open = urllib.request.build_opener(proxies, _NoRedirect).open

    def version(self) -> str:
        """Ray's version there."""
        answer = self._json(self._answer("GET", "/api/version") or b"", "/api/version")
        version = answer.get("ray_version")
        if not isinstance(version, str):
            raise self._no_head(f"/api/version has no ray_version but {shown(answer)}")
        return version

    def has_package(self, name: str) -> bool:
        """Whether a package was uploaded before."""
        return self._answer("GET", f"/api/packages/gcs/{name}", may_miss=True) is not None

    def upload(self, name: str, file: IO[bytes], size: int) -> None:
        """Upload a package, below `UPLOAD_LIMIT` bytes."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        path = f"/api/packages/gcs/{name}"
        self._answer("PUT", path, file, headers=headers, timeout_s=UPLOAD_TIMEOUT_S)

    def submit(
        self, job: str, command: str, *, environment: Mapping[str, str], package: str | None = None
    ) -> None:
        """Run a command of the shell on the head as a job of this name, in a package's folder.

        Ray replaces what looks like a variable in values of the environment: `$A` and `${A}`.

        A job of this name that is there already is taken for this one, whose answer was lost.
        """
        runtime: dict[str, Any] = {"env_vars": dict(environment)}
        if package is not None:
            runtime["working_dir"] = f"gcs://{package}"
        asked = {"entrypoint": command, "submission_id": job, "runtime_env": runtime}
        try:
            self._answer("POST", "/api/jobs/", asked)
        except NoAnswerError:
            try:
                self.state(job)
            except UnknownJobError:
                pass
            else:
                return
            raise

    def state(self, job: str) -> JobState:
        """What has become of a job.

        Raises:
            UnknownJobError: there is no such job.
        """
        path = f"/api/jobs/{job}"
        answer = self._json(self._known(job, path), path)
        code, message = answer.get("driver_exit_code"), answer.get("message")
        return JobState(
            str(answer.get("status")),
            message if isinstance(message, str) else "",
            code if isinstance(code, int) else None,
        )

    def log(self, job: str) -> str:
        """All that a job has printed, on both of its outputs.

        Raises:
            UnknownJobError: there is no such job.
        """
        path = f"/api/jobs/{job}/logs"
        return str(self._json(self._known(job, path), path).get("logs") or "")

    def stop(self, job: str) -> None:
        """Send SIGTERM to all processes of a job, if it runs.

        Raises:
            UnknownJobError: there is no such job.
        """
        self._known(job, f"/api/jobs/{job}/stop", "POST")

    def _known(self, job: str, path: str, method: str = "GET") -> bytes:
        answer = self._answer(method, path, may_miss=True)
        if answer is None:
            raise UnknownJobError(f"{self.address} does not know the job {job}")
        return answer

    def _json(self, text: bytes, path: str) -> dict[str, Any]:
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._no_head(f"{path} is {shown(text[:80].decode('utf-8', 'replace'))}")
        return answer

    def _answer(
        self,
        method: str,
        path: str,
        content: Mapping[str, Any] | IO[bytes] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        may_miss: bool = False,
    ) -> bytes | None:
        """The head's answer to a request; None if it says 404 and what is asked for `may_miss`."""
        request = urllib.request.Request(
            self.address + path,
            data=json.dumps(content).encode() if isinstance(content, Mapping) else content,
            headers={"Content-Type": "application/json", **(headers or {})},
            method=method,
        )
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            with self._open(request, timeout=timeout_s or REQUEST_TIMEOUT_S) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(2000).decode("utf-8", "replace").strip()
            if error.code == 404 and may_miss:
                return None
            raise self._refused(method, path, error.code, said) from None
        except urllib.error.URLError as error:
            raise NoAnswerError(f"{self.address}: {_reason(error.reason)}") from None
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(f"{self.address}: {_reason(error)}") from None

    def _refused(self, method: str, path: str, status: int, said: str) -> Exception:
        if status == 401 and self._token is None:
            return InputError(f"{self.address} wants a token: expected {HOW_TOKEN}")
        if status in (401, 403):
            return InputError(
                f"{self.address} refuses the token (HTTP {status}), expected that of its cluster: "
                f"{HOW_TOKEN}"
            )
        last = said.splitlines()[-1] if said else "no reason"
        why = f"{method} {path} is answered by HTTP {status}: {cut(last, 300)}"
        return NoAnswerError(f"{self.address}: {why}") if status >= 500 else self._no_head(why)

    def _no_head(self, why: str) -> InputError:
        return InputError(f"{self.address} is no Ray head: {why}; {EXPECTED}")


def _reason(error: object) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def checked_address(given: str) -> str:
    """The address of a head's dashboard, without a slash at its end.

    Raises:
        InputError: it is none.
    """
    try:
        parts = urlsplit(given)
        well = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        well = False
    if not well or parts.query or parts.fragment or re.search(r"[\s\x00-\x1f]", given):
        raise InputError(option("address"), f" is {shown(given)}: {EXPECTED}")
    if "@" in parts.netloc:
        raise InputError(option("address"), f" has a login: {EXPECTED}, and {HOW_TOKEN}")
    return given.rstrip("/")


def token_of(environment: Mapping[str, str] = os.environ) -> str | None:
    """The token that the environment gives by Ray's own variables; None if it gives none.

    Raises:
        InputError: it asks for one (`RAY_AUTH_MODE=token`), and there is none that can be sent.
    """
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    if mode not in ("", "disabled", "token"):
        raise InputError(f"RAY_AUTH_MODE is {shown(mode)}: expected token or disabled")
    if mode == "disabled":
        return None
    token, origin = environment.get("RAY_AUTH_TOKEN", ""), "RAY_AUTH_TOKEN"
    file = environment.get("RAY_AUTH_TOKEN_PATH", "") or (str(TOKEN_FILE) if mode else "")
    if not token and file:
        token, origin = _read_token(file), file
    if not token.strip():
        if mode:
            raise InputError(f"RAY_AUTH_MODE is token, and {origin} is empty: expected {HOW_TOKEN}")
        return None
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        raise InputError(
            f"the token in {origin} has characters that cannot be sent, expected ASCII"
        )
    secrets.hide(token)
    return token


def _read_token(file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, RuntimeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it cannot be read"
        raise InputError(f"no token for Ray: {file}: {why}, expected {HOW_TOKEN}") from None
