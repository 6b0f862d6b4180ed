from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service.settings import checked_roots, service_folder
from lstm_sweep.search.store.settings import Settings


def test_the_folder_is_the_users_alone(tmp_path: Path) -> None:
    store = Settings(f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}", None, "test", "test")
    own = service_folder(store, tmp_path)
    assert own == tmp_path / "store" / "lstm-sweep-service"
    assert own.stat().st_mode & 0o077 == 0
    own.chmod(0o777)
    with pytest.raises(InputError, match="no other user may write to"):
        service_folder(store, tmp_path)
    server = Settings("http://127.0.0.1:5000", None, "test", "test")
    assert service_folder(server, tmp_path) == tmp_path / "lstm-sweep-service"


def test_roots_are_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert checked_roots((str(tmp_path / "link"),)) == (tmp_path,)
    (tmp_path / "file").touch()
    for wrong in ("", str(tmp_path / "none"), str(tmp_path / "file"), "\0"):
        with pytest.raises(InputError, match="--data-root"):
            checked_roots((wrong,))
