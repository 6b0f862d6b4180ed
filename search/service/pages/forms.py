"""What forms send: fields, and an uploaded file, which goes to the disk as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qsl

from anyio import CancelScope, to_thread
from fastapi import Request
from starlette.requests import ClientDisconnect

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.site import Site
from lstm_sweep.search.service.uploads import Receiver

#: bytes of all fields of a form, and parts that it has, at most
FIELD_BYTES, PARTS = 64 << 10, 100
#: bytes of the end of a form beside its boundary: two dashes before and after it, two line ends
MARKS = 8
#: fields of a sweep that are numbers, and whether they are whole
NUMBERS = {"trials": True, "minutes": False, "seed": True, "priority": True,
           "confirm_configs": True}  # fmt: skip
#: fields that are on or off, and those that have a value on each line
SWITCHES, LINES = ("ladder", "halving"), ("set",)


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form without files.

    Raises:
        ProblemError: the body is none.
    """
    body = await request.body()
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=PARTS))
    except ValueError:
        raise ProblemError(400, "the body is no form, expected fields in UTF-8") from None


def filled_in(given: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a sweep that are filled in, as a spec has them.

    What is no number or switch stays a text, which the spec refuses.
    """
    return {name: _value(name, text.strip()) for name, text in given.items() if text.strip()}


def _value(name: str, text: str) -> Any:
    if name in NUMBERS:
        return _number(text, whole=NUMBERS[name])
    if name in SWITCHES and text in ("on", "off"):
        return text == "on"
    if name in LINES:
        return [line.strip() for line in text.splitlines() if line.strip()]
    return text


def _number(text: str, *, whole: bool) -> int | float | str:
    try:
        return int(text) if whole or text.isdecimal() else float(text)
    except ValueError:
        return text


#: the field of one file, and that of several, which are the sessions of a corpus
FILE, FILES = "file", "files"


class SentForm:
    """A form with a file or several; entered, it has room for them until it is left."""

    def __init__(self, site: Site, owner: str) -> None:
        self._site, self._owner = site, owner
        self.fields: dict[str, str] = {}
        #: the field that files came with
        self._files_of = ""
        #: name of the file that came last, and bytes of it
        self._file_name, self._size = "", 0
        #: bytes of all fields
        self._taken = 0
        #: what has come last, and is not decoded yet
        self._held = b""
        #: the field that comes, or where the file goes
        self._into: str | None = None
        self._receiver: Receiver | None = None

    async def __aenter__(self) -> SentForm:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._receiver:
            with CancelScope(shield=True):  # whatever ends the request
                await to_thread.run_sync(self._receiver.close)

    async def receive(self, request: Request) -> None:
        """Read the body of a request.

        Raises:
            ProblemError: it is no form, is too large, or does not come.
        """
        from werkzeug.http import parse_options_header
        from werkzeug.sansio.multipart import MultipartDecoder

        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind != "multipart/form-data" or not options.get("boundary"):
            raise ProblemError(415, "the body is no form with a file: expected multipart/form-data")
        boundary = options["boundary"].encode()
        decoder, held = MultipartDecoder(boundary, max_parts=PARTS), len(boundary) + MARKS
        try:
            async with asyncio.timeout(self._site.settings.limits.upload_s):
                async for block in request.stream():
                    await to_thread.run_sync(self._take_block, decoder, block, held)
        except TimeoutError:
            raise ProblemError(408, "the form takes too long, expected all of it") from None
        except ClientDisconnect:
            raise ProblemError(400, "the connection has broken, expected all of it") from None
        except InputError:
            raise
        except ValueError:
            raise ProblemError(400, "the body is no form that can be read") from None

    def _take_block(self, decoder: Any, block: bytes, held: int) -> None:
        """Take what has come of the form, but for the last `held` bytes; nothing is its end.

        If the decoder were given the end of the form in two parts, it might take some of that for
        content of the last file.
        """
        from werkzeug.exceptions import RequestEntityTooLarge

        come = self._held + block
        parts = [come[:-held]] if block else [come, None]
        self._held = come[-held:]
        try:
            for part in parts:
                decoder.receive_data(part)
                while self._take(decoder.next_event()):
                    pass
        except RequestEntityTooLarge:
            raise ProblemError(413, f"the form has over {PARTS} parts, expected fewer") from None
        if len(decoder.buffer) > FIELD_BYTES:  # headers that do not end
            raise ProblemError(413, f"a part has headers of over {FIELD_BYTES:,} bytes")

    def _take(self, event: Any) -> bool:
        """Take a part of the form; whether more may follow at once."""
        kind = type(event).__name__
        if kind == "Field":
            self._into = event.name
            self.fields[event.name] = ""
        elif kind == "File":
            self._into = None
            self._begin(event.name, event.filename)
        elif kind == "Data" and self._into is None:
            self._write(event.data)
        elif kind == "Data" and self._into is not None:
            self._taken += len(event.data)
            if self._taken > FIELD_BYTES:
                raise ProblemError(413, f"the fields have more than {FIELD_BYTES:,} bytes")
            self.fields[self._into] += event.data.decode("utf-8", "replace")
        return kind not in ("NeedData", "Epilogue")

    def _begin(self, field: str, file_name: str) -> None:
        """Begin with a file; a field for one that was left empty sends one without a name.

        Raises:
            InputError: it has no name that can be used, or the form has another one.
            ProblemError: there is no room for it.
        """
        self._end()
        if not file_name:
            return
        is_folder = field == FILES
        if self._receiver and not (is_folder and self._files_of == FILES):
            raise InputError("the form has a file beside others: expected one, or several sessions")
        name = PurePath(file_name.replace("\\", "/")).name or "data"
        if not self._receiver:
            corpus = "sessions" if is_folder else name
            self._receiver = self._site.uploads.receive(corpus, self._owner, is_folder=is_folder)
        self._receiver.begin(name)
        self._files_of, self._file_name, self._size = field, file_name, 0

    def _write(self, data: bytes) -> None:
        if self._file_name and self._receiver and data:
            self._size += len(data)
            self._receiver.write(data)

    def _end(self) -> None:
        """End the file that has come, if one has.

        Raises:
            InputError: it is empty.
        """
        if not self._file_name:
            return
        if not self._size or not self._receiver:
            raise InputError(f"file '{self._file_name}': it is empty, expected a text")
        self._receiver.end()
        self._file_name = ""

    @property
    def has_files(self) -> bool:
        """Whether files were sent."""
        return self._receiver is not None

    async def corpus(self) -> str:
        """The name of the data that were sent, as a sweep calls them.

        Raises:
            InputError: a file is empty.
            ProblemError: there is no room for it.
        """
        return await to_thread.run_sync(self._make_corpus)

    def _make_corpus(self) -> str:
        self._end()
        assert self._receiver
        return f"corpus:{self._receiver.finish().id}"
