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

import pytest

from lstm_sweep.search.engines.slot_sharing import (
    TURN_S,
    SlotSharing,
    read_allotment,
    shared_folder,
    write_allotment,
)

NAMES = ("core-0-0", "core-1-0")


class Time:
    """A clock that tests set; each reading is a second later."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def driver(folder: Path, time: Time, demand: int = 2, allotment: Path | None = None) -> SlotSharing:
    """A driver that could use so many slots."""
    made = SlotSharing(NAMES, folder, allotment, time)
    made.demand(demand)
    return made


def take_all(sharing: SlotSharing) -> list[str]:
    """Names of the slots that it gets, until it gets none."""
    found = []
    while name := sharing.take(NAMES[0])[0]:
        found.append(name)
    return found


def test_a_driver_alone_has_all_slots_and_the_preferred_one_first(
    tmp_path: Path, time: Time
) -> None:
    alone = driver(tmp_path, time)
    assert alone.take(NAMES[1]) == (NAMES[1], "")
    assert alone.take(NAMES[1]) == (NAMES[0], "")
    assert alone.take(NAMES[1])[0] == ""


def test_a_second_driver_gets_what_the_first_must_give_back(tmp_path: Path, time: Time) -> None:
    first = driver(tmp_path, time)
    assert take_all(first) == list(NAMES)
    second = driver(tmp_path, time)
    assert second.take(NAMES[0]) == ("", "other sweeps use all 2 slots of this machine")
    assert (first.held, first.most()) == (2, 1)
    first.give_back(NAMES[0])
    assert first.take(NAMES[0]) == ("", "2 sweeps share 2 slots")
    assert take_all(second) == [NAMES[0]]


def test_what_a_driver_does_not_want_is_for_the_others(tmp_path: Path, time: Time) -> None:
    first, second = driver(tmp_path, time), driver(tmp_path, time)
    assert first.most() == 1
    second.demand(0)
    assert first.most() == 2
    second.demand(1)
    assert first.most() == 1
    second.close()
    assert first.most() == 2


def test_more_drivers_than_slots_take_turns_and_each_has_one(tmp_path: Path, time: Time) -> None:
    drivers = [driver(tmp_path, time) for _ in range(3)]
    had = [0, 0, 0]
    for turn in range(9):
        time.now = TURN_S * turn + 1
        most = [one.most() for one in drivers]
        assert sum(most) == 2
        had = [sum(pair) for pair in zip(had, most, strict=True)]
    assert had == [6, 6, 6]


@pytest.mark.parametrize(
    ("mine", "its", "mine_alone"),
    [
        ("core-0-0", "core-1-0", True),
        ("gpu-0-0", "gpu-1-0", True),
        ("gpu-GPU-1a-0", "gpu-GPU-2b-0", True),
        ("gpu-0-0", "core-0-0", True),
        ("gpu-0-0", "gpu-0-1", False),
        ("gpu-0-0", "gpu-GPU-1a-0", False),  # may be the same card
    ],
)
def test_only_drivers_that_could_use_the_same_gpu_or_core_share(
    tmp_path: Path, time: Time, mine: str, its: str, mine_alone: bool
) -> None:
    first, second = (SlotSharing([name], tmp_path, None, time) for name in (mine, its))
    first.demand(1)
    second.demand(1)
    most = []
    for turn in range(4):
        time.now = TURN_S * turn + 1
        most.append((first.most(), second.most()))
    assert most == ([(1, 1)] * 4 if mine_alone else [(1, 0), (0, 1)] * 2)


@pytest.mark.parametrize("left", ["", "[", "7", "[7]", '{"a": 1}', '[["core-9"]]'])
def test_a_claim_that_does_not_say_of_what_is_on_all(tmp_path: Path, time: Time, left: str) -> None:
    other = SlotSharing(["core-9-0"], tmp_path, None, time)
    other.demand(1)
    mine = driver(tmp_path, time)
    assert mine.most() == 2
    [file] = (path for path in tmp_path.glob("*.driver") if "core-9" in path.read_text())
    file.write_text(f"     1\n{left}\n", encoding="ascii")
    time.now += 1.0
    assert mine.most() == 1


def test_locks_of_a_process_that_was_killed_hold_nobody_up(tmp_path: Path, time: Time) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from lstm_sweep.search.engines.slot_sharing import SlotSharing\n"
        f"other = SlotSharing({NAMES!r}, Path(sys.argv[1]))\n"
        "other.demand(2)\n"
        "assert other.take('core-0-0')[0] and other.take('core-0-0')[0]\n"
        "print('taken', flush=True)\n"
        "time.sleep(600)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    assert other.stdout.readline() == "taken\n"
    mine = driver(tmp_path, time)
    assert mine.take(NAMES[0])[0] == ""
    os.kill(other.pid, signal.SIGKILL)
    other.communicate()
    assert take_all(mine) == list(NAMES)
    assert len(list(tmp_path.glob("*.driver"))) == 1


def test_other_users_may_open_the_files_of_one_whose_umask_forbids_it(
    tmp_path: Path, time: Time
) -> None:
    kept = os.umask(0o077)
    try:
        folder = shared_folder({"LSTM_SWEEP_SLOTS": str(tmp_path / "slots")})
        assert folder
        assert take_all(driver(folder, time)) == list(NAMES)
    finally:
        os.umask(kept)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    modes = [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()]
    assert modes == [0o644] * 3


def test_an_allotment_is_obeyed_and_a_broken_one_allows_all(tmp_path: Path, time: Time) -> None:
    file = tmp_path / "s.slots"
    mine = driver(tmp_path, time, allotment=file)
    assert file.with_suffix(".demand").read_text() == "2"
    assert len(take_all(mine)) == 2
    write_allotment(file, 0, "waits: a higher priority", 0.0)
    assert mine.most() == 0
    mine.give_back(NAMES[0])
    assert mine.take(NAMES[0]) == ("", "waits: a higher priority")
    file.write_text("{")
    assert read_allotment(file)[0] > 2
    assert mine.most() == 2


def test_drivers_that_were_allotted_no_slot_leave_them_to_those_that_were(
    tmp_path: Path, time: Time
) -> None:
    files = [tmp_path / f"{number}.slots" for number in range(4)]
    for number, file in enumerate(files):
        write_allotment(file, int(number > 1), "waits", 0.0)
    drivers = [driver(tmp_path, time, allotment=file) for file in files]
    assert [file.with_suffix(".demand").read_text() for file in files] == ["2"] * 4
    for turn in range(4):
        time.now = TURN_S * turn + 1
        assert [one.most() for one in drivers] == [0, 0, 1, 1]
    assert drivers[0].take(NAMES[0]) == ("", "waits")
    for number, file in enumerate(files):
        write_allotment(file, int(number < 2), "waits", 0.0)
    assert [one.most() for one in drivers][2:] == [0, 0]
    assert [one.most() for one in drivers] == [1, 1, 0, 0]


def test_a_driver_claims_no_more_than_it_was_allotted(tmp_path: Path, time: Time) -> None:
    write_allotment(tmp_path / "s.slots", 1, "has 1 of 4 slots", 0.0)
    driver(tmp_path, time, demand=4, allotment=tmp_path / "s.slots")
    four = SlotSharing([*NAMES, "core-2-0", "core-3-0"], tmp_path, None, time)
    four.demand(4)
    assert four.most() == 3


def test_a_slot_beyond_the_allotment_is_refused_even_if_the_service_has_not_said_why(
    tmp_path: Path, time: Time
) -> None:
    write_allotment(tmp_path / "s.slots", 1, "", 0.0)
    mine = driver(tmp_path, time, allotment=tmp_path / "s.slots")
    assert mine.take(NAMES[0]) == (NAMES[0], "")
    assert mine.take(NAMES[0]) == ("", "the service gives it no more slots")


@pytest.mark.parametrize("given, expected", [("off", False), ("place", True)])
def test_the_folder_is_that_of_the_variable(tmp_path: Path, given: str, expected: bool) -> None:
    folder = shared_folder({"LSTM_SWEEP_SLOTS": given if given == "off" else str(tmp_path / given)})
    assert (folder == tmp_path / "place") is expected
    assert folder is None or folder.stat().st_mode & 0o1777 == 0o1777


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


def test_a_link_in_place_of_a_slot_is_not_followed(tmp_path: Path, time: Time) -> None:
    target = tmp_path / "target"
    (tmp_path / f"{NAMES[0]}.slot").symlink_to(target)
    assert driver(tmp_path, time).take(NAMES[0]) == (NAMES[0], "")
    assert not target.exists()
