"""Fetches large files of a service: a download that breaks goes on where it was."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.client.connection import BROKEN, Connection, NoAnswerError

#: header with the digest of a whole file (RFC 9530)
DIGEST = "Repr-Digest"
#: bytes that are read at once, and bytes of a file at most
READ_BYTES, MOST_BYTES = 1 << 20, 16 << 30
#: seconds before a download that has broken goes on, and how often it does without a further byte;
#: while a service makes a file it may send nothing for longer than a connection waits
AGAIN_S, TRIES = 2.0, 30


def download(
    connection: Connection,
    to: Path,
    *path: str,
    sleep: Callable[[float], None] = time.sleep,
    most: int = MOST_BYTES,
    **query: object,
) -> Mapping[str, str]:
    """Write what a path of the service answers to file `to`; return the headers of the answer.

    The service may take long until it answers. Its answer has a digest, by which it is checked.

    Raises:
        RefusedError: the service refuses.
        NoAnswerError: it does not answer for a while.
        InputError: what has come has another digest, none, or too many bytes.
    """
    found = _Download(connection, connection.path(*path, **query), most)
    tries = 0
    with to.open("wb") as file:
        while True:
            before = found.received
            try:
                found.receive(file)
                break
            except NoAnswerError as error:
                tries = 0 if found.received > before else tries + 1
                if tries >= TRIES:
                    raise
                connection.say(f"{error}; asking for the rest")
            sleep(AGAIN_S)
            # whether it is there at all; it may still be making what was asked for
            connection.get("health")
    found.check()
    return found.headers


class _Download:
    """What has come so far."""

    def __init__(self, connection: Connection, path: str, most: int) -> None:
        self._connection, self._path, self._most = connection, path, most
        self.received = 0
        self.headers: dict[str, str] = {}
        self._digest = hashlib.sha256()

    def receive(self, file: IO[bytes]) -> None:
        """Receive the rest.

        Raises:
            NoAnswerError: the connection has broken.
        """
        wanted = {"Accept-Encoding": "identity"}
        if self.received:
            wanted |= {"Range": f"bytes={self.received}-", "If-Range": self.headers["etag"]}
        with self._connection.open(self._path, wanted) as response:
            given = {name.lower(): value for name, value in response.headers.items()}
            if response.status != 206:  # it begins anew
                self.received, self._digest = 0, hashlib.sha256()
                file.seek(0)
                file.truncate()
                self.headers = given
            left = int(given.get("content-length", "-1"))
            while left:
                try:
                    block = response.read(READ_BYTES)
                except BROKEN as error:
                    raise self._connection.no_answer(error) from None
                if not block:
                    raise self._connection.no_answer(OSError("the answer has broken off"))
                left -= len(block)
                self.received += len(block)
                if self.received > self._most:
                    raise InputError(
                        f"{self._connection.address}: it sends more than {self._most:,} bytes, "
                        f"expected at most as many"
                    )
                self._digest.update(block)
                file.write(block)

    def check(self) -> None:
        """Compare the digest with that of the answer.

        Raises:
            InputError: it is another one.
        """
        given = self.headers.get(DIGEST.lower(), "")
        found = re.search(r"sha-256=:([A-Za-z0-9+/=]{44}):", given)
        try:
            expected = base64.b64decode(found[1], validate=True) if found else None
        except binascii.Error:
            expected = None
        if expected != self._digest.digest():
            what = "no digest" if expected is None else f"digest {expected.hex()}"
            raise InputError(
                f"{self._connection.address}: what it has sent has digest "
                f"{self._digest.hexdigest()}, and it says {what}: expected the same"
            )
