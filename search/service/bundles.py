"""Bundles as zip files: exported and checked once, and kept for those who ask again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter

from lstm_sweep.models.errors import InputError
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search import api
from lstm_sweep.search.api.references import check_sweep_or_trial, existing_store
from lstm_sweep.search.process.whole_files import replace_text
from lstm_sweep.search.results import export as exporting
from lstm_sweep.search.service.http_settings import Limits
from lstm_sweep.search.service.uploads import check_free
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.registry import Version
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.trial_record import TrialRecord

#: requests that make a bundle or wait for one at once; the threads of others are their own
WAITING = 16


@dataclass(frozen=True)
class Bundle:
    """A zipped bundle."""

    file: Path
    #: name that it is saved under
    name: str
    #: what `export --json` prints, but for the folder, and `lines` that it prints for people
    result: Mapping[str, Any]
    #: SHA-256 of the file, 32 bytes
    digest: bytes


class Bundles:
    """Zipped bundles in a folder, the newest ones."""

    def __init__(self, folder: Path, store: Settings, limits: Limits) -> None:
        self._folder, self._store, self._limits = folder, store, limits
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.glob(".*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
        for about in folder.glob("*.json"):
            if not _has_digest(about):
                about.with_suffix(".zip").unlink(missing_ok=True)
        #: of threads that make a bundle or wait for one
        self.limiter = CapacityLimiter(WAITING)
        #: one export at a time: each loads two networks
        self._lock = threading.Lock()

    def get(
        self, reference: str, format: str, *, unchecked: bool, register: str | None = None
    ) -> Bundle:
        """The bundle of a trial, or of the best one of a sweep.

        With `register` its network becomes a version of the registered model of this name.

        Raises:
            InputError: there is none, it has no weights, it cannot be checked or registered.
            StoreError: the store has failed, or refuses a version.
        """
        check_sweep_or_trial(reference)
        record = exporting.choose(existing_store(f"'{reference}'", self._store), reference)
        key = f"{record.run_id}-{format}{'-unchecked' if unchecked else ''}"
        file = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.zip"
        with self._lock:
            version = None
            if register is not None or not file.exists():
                version = self._make(record, file, format, unchecked, register)
            file.touch()  # the newest ones are kept
            about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        digest = bytes.fromhex(about.pop("sha256"))
        if version:
            about["model_version"] = version.to_dict()
            about["lines"].append(f"registered: {version.text}")
        name = f"{record.trial.sweep}-{record.trial.number}"
        return Bundle(file, f"{name}.zip", about, digest)

    def _make(
        self, record: TrialRecord, file: Path, format: str, unchecked: bool, register: str | None
    ) -> Version | None:
        """Write the file of a bundle, and what is known of it beside it."""
        self._drop_old()
        check_free(self._folder, 0, self._limits)
        scratch = Path(tempfile.mkdtemp(prefix=".bundle-", dir=self._folder))
        try:
            to = scratch / f"{record.trial.sweep}-{record.trial.number}"
            exported = api.export(
                record.run_id,
                str(to),
                settings=self._store,
                format=format,
                unchecked=unchecked,
                register=register,
            )
            result = exported.to_dict() | {"lines": list(exported.lines), "model_version": None}
            del result["bundle"]
            _zip(to, scratch / "bundle.zip")
            with (scratch / "bundle.zip").open("rb") as zipped:
                result["sha256"] = hashlib.file_digest(zipped, "sha256").hexdigest()
                os.fsync(zipped.fileno())
            replace_text(scratch / "about", json_text(result), lasting=True)
            (scratch / "about").replace(file.with_suffix(".json"))
            (scratch / "bundle.zip").replace(file)
            return exported.version
        except (InputError, StoreError) as error:
            if register is None or str(to) not in str(error):
                raise
            said = str(error).partition(", but ")[2]  # the folder is none that the client has
            raise type(error)(said) from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _drop_old(self) -> None:
        newest = sorted(self._folder.glob("*.zip"), key=lambda one: -one.stat().st_mtime)
        used = 0
        for file in newest:
            used += file.stat().st_size
            if used > self._limits.bundles_bytes:
                with contextlib.suppress(OSError):
                    file.unlink()
                    file.with_suffix(".json").unlink()


def _has_digest(about: Path) -> bool:
    """Whether a file says what a bundle is; one of an earlier version or a broken one does not."""
    try:
        return "sha256" in json.loads(about.read_text(encoding="utf-8"))
    except ValueError:
        return False


def _zip(folder: Path, file: Path) -> None:
    """Pack a folder, its own name included."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, path.relative_to(folder.parent))
