"""Bundles as zip files: exported and checked once, and kept for those who ask again."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from anyio import to_thread

from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.actions import export as exporting
from lstm_sweep.search.actions.classification import (
    Classification,
    Given,
    Wish,
    classify,
)
from lstm_sweep.search.actions.detection import Detection, detect
from lstm_sweep.search.actions.references import check_sweep_or_trial, existing_store
from lstm_sweep.search.actions.transfers import unpack
from lstm_sweep.search.process.files import replace_text
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.settings import API, Limits
from lstm_sweep.search.service.uploads import check_free
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.journal import WEIGHTS
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore

Item = TypeVar("Item")

#: what the lines of a request are called: their file, and their session if they name none
LINES = "lines"
#: times the bytes of the weights that a bundle takes while it is made: downloaded, the model, the
#: formats beside it, and the zip file
COPIES = 6


@dataclass(frozen=True)
class Bundle:
    """A zipped bundle."""

    file: Path
    #: name that it is saved under
    name: str
    #: what `export --json` prints, but for the folder, and `lines` that it prints for people
    result: Mapping[str, Any]
    #: of the file, hexadecimal
    sha256: str


class Bundles:
    """Zipped bundles in a folder, the newest ones."""

    def __init__(self, folder: Path, store: Settings, limits: Limits) -> None:
        self._folder, self._store, self._limits = folder, store, limits
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.glob(".*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
        #: one export at a time, since each loads two networks; users who have one or wait for it
        self._turn, self._users = asyncio.Lock(), set[str]()

    def find(self, reference: str, format: str, *, unchecked: bool) -> Bundle:
        records = self._records(reference)
        found = self._read(records[0], self._file_of(records, format, unchecked=unchecked))
        if not found:
            raise ProblemError(
                404,
                f"{shown(reference)}: its bundle is not there, expected one that was made by "
                f"POST {API}/.../exports or `export`",
            )
        return found

    def make(
        self, reference: str, format: str, *, unchecked: bool, register: str | None = None
    ) -> Bundle:
        """The bundle of a trial or of a sweep's best, made if missing; also to `register` it."""
        exporting.check_wish(format, register)
        records = self._records(reference)
        file = self._file_of(records, format, unchecked=unchecked)
        found, version = self._read(records[0], file), None
        if register is not None or not found:
            version = self._make(records, file, format, unchecked, register)
            found = self._read(records[0], file)
        if not found:
            raise ProblemError(409, f"{shown(reference)}: its bundle was deleted just now")
        return replace(found, result={**found.result, "model_version": version})

    def classify(
        self,
        reference: str,
        data: str | Sequence[Given],
        wish: Wish,
        columns: Mapping[str, str | None],
    ) -> Classification:
        with self._unpacked(reference) as folder:
            return classify(str(folder), data, wish, **columns)

    def judge(self, reference: str, given: str | Sequence[str], **asked: Any) -> Detection:
        """What `detect` makes of data, or lines, and of what else is asked."""
        with self._unpacked(reference) as folder:
            data = given if isinstance(given, str) else str(folder.with_name(LINES))
            if not isinstance(given, str):
                Path(data).write_text("\n".join([*given, ""]), encoding="utf-8")
            return detect(str(folder), data, apart=True, **asked)

    @contextlib.contextmanager
    def _unpacked(self, reference: str) -> Iterator[Path]:
        """The checked bundle of a trial in a folder for a while."""
        made = self.make(reference, "keras", unchecked=False)
        with tempfile.TemporaryDirectory(prefix=".asked-", dir=self._folder) as scratch:
            folder = unpack(made.file, Path(scratch) / "bundle")
            try:
                yield folder
            except InputError as error:  # of its folder a client knows nothing
                text = str(error).replace(shown(str(folder)), f"of {reference}")
                raise InputError(text.replace(str(folder.with_name(LINES)), LINES)) from None

    async def in_turn(self, user: str, call: Callable[[], Item]) -> Item:
        """What `call` returns, which may make a bundle, in a thread: one at a time."""
        if user in self._users:
            raise ProblemError(
                429, f"an export of '{user}' is made or waits already, expected one at a time"
            )
        self._users.add(user)
        try:
            async with self._turn:
                return await to_thread.run_sync(call)
        finally:
            self._users.discard(user)

    def _records(self, reference: str) -> list[TrialRecord]:
        """The trial that is exported, and those that it may be averaged with."""
        check_sweep_or_trial(reference)
        store = existing_store(f"'{reference}'", self._store)
        return exporting.chosen(store, reference)

    def _file_of(self, records: Sequence[TrialRecord], format: str, *, unchecked: bool) -> Path:
        best, *others = (one.run_id for one in records)
        name = "-".join([best, *(one[:8] for one in others)])
        return self._folder / f"{name}-{format}{'-unchecked' if unchecked else ''}.zip"

    def _read(self, record: TrialRecord, file: Path) -> Bundle | None:
        """What is there of a bundle; it is used, so that it is kept longer than others."""
        try:
            os.utime(file)
            about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
            digest = bytes.fromhex(about.pop("sha256")).hex()
        except (OSError, ValueError, KeyError):
            return None
        return Bundle(file, f"{record.sweep}-{record.number}.zip", about, digest)

    def _make(
        self,
        records: list[TrialRecord],
        file: Path,
        format: str,
        unchecked: bool,
        register: str | None,
    ) -> dict[str, Any] | None:
        """Write the file of a bundle, and what is known of it beside it; the version it became."""
        self._drop_old()
        store, record = MlflowStore(self._store), records[0]
        taken = sum(store.bytes_of(one.run_id, WEIGHTS) for one in records) * COPIES
        if taken > self._limits.bundles_bytes:
            raise ProblemError(
                413,
                f"trial {record.id}: its weights have {taken // COPIES:,} bytes, and a bundle "
                f"takes {COPIES} times as many: expected at most {self._limits.bundles_bytes:,}",
            )
        check_free(self._folder, taken, self._limits)
        scratch = Path(tempfile.mkdtemp(prefix=".bundle-", dir=self._folder))
        to, packed = scratch / f"{record.sweep}-{record.number}", scratch / "bundle.zip"
        try:
            exported = exporting.write_bundle(
                store, records, to, format, unchecked=unchecked, model=register
            )
            shutil.make_archive(str(packed.with_suffix("")), "zip", scratch, to.name)
            with packed.open("rb") as zipped:
                digest = hashlib.file_digest(zipped, "sha256").hexdigest()
                os.fsync(zipped.fileno())
            about = json_text(exported.document() | {"model_version": None, "sha256": digest})
            replace_text(scratch / "about", about, lasting=True)
            (scratch / "about").replace(file.with_suffix(".json"))
            packed.replace(file)
            return exported.version.to_dict() if exported.version else None
        except (InputError, StoreError) as error:
            if register is None or str(to) not in str(error):
                raise
            said = str(error).partition(", but ")[2]  # the folder is none that the client has
            raise type(error)(said) from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _drop_old(self) -> None:
        used = 0
        for file in sorted(self._folder.glob("*.zip"), key=lambda one: -one.stat().st_mtime):
            used += file.stat().st_size
            if used > self._limits.bundles_bytes:
                with contextlib.suppress(OSError):
                    file.unlink()
                    file.with_suffix(".json").unlink()
