"""What a user's program saves is put beside it without following what others have put there."""

from __future__ import annotations

import os
from pathlib import Path

from lstm_sweep.spaces.template import runner


def test_a_link_that_waits_for_the_copy_is_not_followed(tmp_path: Path) -> None:
    saved, precious, place = (tmp_path / name for name in ("saved", "precious", "model.keras"))
    saved.write_bytes(b"weights")
    precious.write_bytes(b"precious")
    (tmp_path / f".{os.getpid()}-model.keras").symlink_to(precious)
    place.symlink_to(precious)
    runner._copy(saved, place)
    assert precious.read_bytes() == b"precious"
    assert place.read_bytes() == b"weights" and not place.is_symlink()
