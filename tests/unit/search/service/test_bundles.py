from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.search.service.bundles import Bundles
from lstm_sweep.search.service.http_settings import Limits
from lstm_sweep.search.store.settings import load


@pytest.mark.parametrize("broken", ["", '{"sha256": "0', '{"trial": "s/1"}'])
def test_a_bundle_of_which_nothing_is_known_is_made_anew(tmp_path: Path, broken: str) -> None:
    folder = tmp_path / "bundles"
    folder.mkdir()
    for name, about in (("whole", '{"sha256": "00"}'), ("broken", broken)):
        (folder / f"{name}.zip").touch()
        (folder / f"{name}.json").write_text(about)
    Bundles(folder, load(tmp_path, {}), Limits())
    assert [file.name for file in folder.glob("*.zip")] == ["whole.zip"]
