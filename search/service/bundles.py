"""Bundles as zip files: exported and checked once, and kept for those who ask again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search import api
from lstm_sweep.search.api.references import existing_store
from lstm_sweep.search.results import export as exporting
from lstm_sweep.search.service.http_settings import Limits
from lstm_sweep.search.service.uploads import check_free
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.trial_record import TrialRecord


@dataclass(frozen=True)
class Bundle:
    """A zipped bundle."""

    file: Path
    #: name that it is saved under
    name: str
    #: what `export --json` prints, but for the folder
    result: Mapping[str, Any]


class Bundles:
    """Zipped bundles in a folder, the newest ones."""

    def __init__(self, folder: Path, store: Settings, limits: Limits) -> None:
        self._folder, self._store, self._limits = folder, store, limits
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.glob(".*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
        #: one export at a time: each loads two networks
        self._lock = threading.Lock()

    def get(self, reference: str, format: str, *, unchecked: bool) -> Bundle:
        """The bundle of a trial, or of the best one of a sweep.

        Raises:
            InputError: there is none, it has no weights, or it cannot be checked.
        """
        record = exporting.choose(existing_store(f"'{reference}'", self._store), reference)
        key = f"{record.run_id}-{format}{'-unchecked' if unchecked else ''}"
        file = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.zip"
        with self._lock:
            if not file.exists():
                self._make(record, file, format, unchecked=unchecked)
            file.touch()  # the newest ones are kept
            about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        name = f"{record.trial.sweep}-{record.trial.number}"
        return Bundle(file, f"{name}.zip", about)

    def _make(self, record: TrialRecord, file: Path, format: str, *, unchecked: bool) -> None:
        self._drop_old()
        check_free(self._folder, 0, self._limits)
        scratch = Path(tempfile.mkdtemp(prefix=".bundle-", dir=self._folder))
        try:
            to = scratch / f"{record.trial.sweep}-{record.trial.number}"
            exported = api.export(
                record.run_id, str(to), settings=self._store, format=format, unchecked=unchecked
            )
            result = exported.to_dict() | {"lines": list(exported.lines)}
            del result["bundle"]
            _zip(to, scratch / "bundle.zip")
            file.with_suffix(".json").write_text(json_text(result), encoding="utf-8")
            (scratch / "bundle.zip").replace(file)
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


def _zip(folder: Path, file: Path) -> None:
    """Pack a folder, its own name included."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, path.relative_to(folder.parent))
