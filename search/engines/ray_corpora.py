"""For `ray`: the corpora that trials read, on the way from the driver to the nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lstm_sweep.search.engines import ray_folder
from lstm_sweep.search.engines.ray_fleet import Member


class Corpora:
    """Puts each corpus into Ray's object store once, and has each agent fetch it once."""

    def __init__(self) -> None:
        #: what a corpus consists of in the object store by its digest, and the digest by folder
        self._chunks: dict[str, dict[str, list[Any]]] = {}
        self._digests: dict[Path, str] = {}

    def send(self, member: Member, folder: Path | None) -> str | None:
        """Have an agent fetch the folder that a trial reads; its digest, if there is one."""
        import ray

        if folder is None or not folder.is_dir():
            return None
        digest = self._digests.get(folder)
        if digest is None:
            digest = self._digests[folder] = ray_folder.digest(folder)
        if digest not in self._chunks:
            self._chunks[digest] = ray_folder.put(folder, ray.put)
        if digest not in member.corpora:
            member.corpora.add(digest)
            member.call("fetch", digest, self._chunks[digest])
        return digest

    def forget(self) -> None:
        """Let the object store delete them."""
        self._chunks.clear()
