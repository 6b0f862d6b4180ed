"""Slots shared between drivers; other drivers are other objects, and a real process."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lstm_sweep.search.engines.local import LocalEngine
from lstm_sweep.search.engines.slot_sharing import (
    CONTENT_S,
    SURPLUS,
    Quota,
    Share,
    SlotSharing,
    read_quota,
    shared_folder,
    write_quota,
)
from lstm_sweep.search.values.trial import Slot

NAMES = ("core-0-0", "core-1-0")


def driver(folder: Path) -> SlotSharing:
    """A driver that could use both slots."""
    return SlotSharing(NAMES, folder)


def take_all(sharing: SlotSharing) -> list[str]:
    """Names of the slots that it gets, until it gets none."""
    found = []
    while name := sharing.take(NAMES[0])[0]:
        found.append(name)
    return found


def test_a_second_driver_gets_what_the_first_has_left_and_waits_for_the_rest(
    tmp_path: Path,
) -> None:
    first, second = driver(tmp_path), driver(tmp_path)
    assert first.take(NAMES[0]) == (NAMES[0], "")
    assert take_all(second) == [NAMES[1]]
    assert second.take(NAMES[0]) == ("", "other sweeps use all 2 slots of this machine")
    first.give_back(NAMES[0])
    assert take_all(second) == [NAMES[0]]
    second.close()
    assert take_all(first) == list(NAMES)


def test_locks_of_a_process_that_was_killed_hold_nobody_up(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from lstm_sweep.search.engines.slot_sharing import SlotSharing\n"
        f"other = SlotSharing({NAMES!r}, Path(sys.argv[1]))\n"
        "assert other.take('core-0-0')[0] and other.take('core-0-0')[0]\n"
        "print('taken', flush=True)\n"
        "time.sleep(600)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    assert other.stdout.readline() == "taken\n"
    mine = driver(tmp_path)
    assert mine.take(NAMES[0])[0] == ""
    os.kill(other.pid, signal.SIGKILL)
    other.communicate()
    assert take_all(mine) == list(NAMES)


def test_other_users_may_open_the_files_of_one_whose_umask_forbids_it(tmp_path: Path) -> None:
    kept = os.umask(0o077)
    try:
        folder = shared_folder({"LSTM_SWEEP_SLOTS": str(tmp_path / "slots")})
        assert folder
        assert take_all(driver(folder)) == list(NAMES)
    finally:
        os.umask(kept)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    modes = [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()]
    assert modes == [0o644] * 2


def test_a_quota_is_obeyed_and_a_broken_one_allows_all(tmp_path: Path) -> None:
    file, slots = tmp_path / "s.slots", tuple(Slot(index, core=index) for index in range(2))
    sharing = SlotSharing(NAMES, tmp_path)
    with LocalEngine(slots, sharing, Quota(file)) as engine:
        engine.demand(2)
        assert file.with_suffix(".demand").read_text() == "2"
        assert [engine.reserve(slot) for slot in slots] == ["", ""]
        engine.release()
        write_quota(file, 1, "waits: a higher priority", 0.0)
        assert [engine.reserve(slot) for slot in slots] == ["", "waits: a higher priority"]
        assert engine.quota and (engine.quota.surplus(2), engine.refusal()) == (1, "")
        assert file.with_suffix(SURPLUS).read_text() == "1"
        file.write_text("{")
        assert read_quota(file) is None
        assert (engine.reserve(slots[1]), engine.surplus()) == ("", 0)
        assert not file.with_suffix(SURPLUS).exists()


def test_drivers_that_start_at_the_same_time_share_a_folder_that_was_missing(
    tmp_path: Path,
) -> None:
    drivers = 4
    together = threading.Barrier(drivers)

    def found(place: str) -> Path | None:
        together.wait(10)
        return shared_folder({"LSTM_SWEEP_SLOTS": place})

    with ThreadPoolExecutor(drivers) as pool:
        for number in range(300):
            folder = tmp_path / str(number)
            assert [*pool.map(found, [str(folder)] * drivers)] == [folder] * drivers


def test_a_link_in_place_of_a_slot_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / f"{NAMES[0]}.slot").symlink_to(target)
    assert driver(tmp_path).take(NAMES[0]) == (NAMES[0], "")
    assert not target.exists()


def said(file: Path) -> str | None:
    demand = file.with_suffix(".demand")
    return demand.read_text() if demand.exists() else None


def test_a_sweep_that_had_a_slot_too_many_asks_for_no_more_for_a_while(tmp_path: Path) -> None:
    file, now = tmp_path / "r.slots", [0.0]
    share = Share(file, lambda: now[0])
    share.demand(2, 2)  # all are used: perhaps more could be
    assert said(file) is None
    share.demand(1, 2)
    assert said(file) == "1"
    share.demand(1, 1)
    now[0] += CONTENT_S - 1
    share.demand(1, 1)
    assert said(file) == "1"
    now[0] += 1
    share.demand(1, 1)
    assert said(file) is None
    share.demand(1, 2)  # in vain again: now for twice as long
    now[0] += CONTENT_S
    share.demand(1, 1)
    assert said(file) == "1"
    share.demand(2, 2)  # slots that it still has are of use after all
    assert said(file) is None
