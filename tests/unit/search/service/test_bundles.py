from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import Mock

import pytest

from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.bundles import Bundles
from lstm_sweep.search.service.settings import Limits
from lstm_sweep.search.store.settings import load


def test_one_export_is_made_at_a_time_and_a_user_waits_for_one(tmp_path: Path) -> None:
    (tmp_path / "bundles").mkdir()
    bundles = Bundles(tmp_path / "bundles", load(tmp_path, {}), Limits())
    had, gone = list[str](), set[str]()

    async def export(user: str, until: asyncio.Event) -> None:
        async def has_left() -> bool:
            return user in gone

        async with bundles.turn(user, has_left):
            had.append(user)
            await until.wait()

    async def all_of_them() -> None:
        may = asyncio.Event()
        first = asyncio.create_task(export("ann", may))
        others = [asyncio.create_task(export(user, may)) for user in ("bob", "eve")]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert had == ["ann"]
        for user in ("ann", "bob"):
            with pytest.raises(ProblemError) as refused:
                await export(user, may)
            assert refused.value.status == 429
        gone.add("eve")
        may.set()
        await asyncio.gather(first, others[0])
        with pytest.raises(ProblemError, match="has left"):
            await others[1]
        await export("ann", may)

    asyncio.run(all_of_them())
    assert had == ["ann", "bob", "ann"]


@pytest.mark.parametrize("broken", ["", '{"sha256": "0', '{"trial": "s/1"}', '{"sha256": "x"}'])
def test_a_bundle_of_which_nothing_is_known_is_not_there(tmp_path: Path, broken: str) -> None:
    bundles = Bundles(tmp_path / "bundles", load(tmp_path, {}), Limits())
    file, record = tmp_path / "bundles" / "x.zip", Mock(sweep="s", number=1)
    file.touch()
    for about, is_there in (('{"sha256": "00"}', True), (broken, False)):
        file.with_suffix(".json").write_text(about)
        assert bool(bundles._read(record, file)) == is_there
