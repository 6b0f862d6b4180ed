"""The slots and devices of this machine, who may use them, and how trials on them end."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pynvml
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.engines import hardware, worker
from lstm_sweep.search.engines.base import CONTENT_S, SURPLUS, Quota, read_quota, write_quota
from lstm_sweep.search.engines.hardware import find_gpus
from lstm_sweep.search.engines.local import (
    LocalEngine,
    SlotSharing,
    find_slots,
    open_local,
    shared_folder,
)
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.values.trial import Ended, Job, Message, Outcome, Slot, Trial
from tests.fakes import job_of

EVERY = (Slot(0, core=0), Slot(1, core=1))
NAMES = ("core-0-0", "core-1-0")
TRIAL = Trial(sweep="s", number=0, config=TrialConfig(), seed=1)


@dataclass
class Gpu:
    """A GPU as NVML reports it."""

    uuid: str
    name: str = "NVIDIA H100"


def replace_nvml(
    monkeypatch: pytest.MonkeyPatch, gpus: Callable[[], Sequence[Gpu]]
) -> Callable[[], int]:
    """Let NVML report what `gpus` returns, or raises, at each initialization.

    Returns how many times NVML is initialized and not shut down.
    """
    reported: list[Sequence[Gpu]] = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    for name, function in {
        "nvmlInit": lambda: reported.append(gpus()),
        "nvmlShutdown": lambda: reported.pop(),
        "nvmlDeviceGetCount": lambda: len(reported[-1]),
        "nvmlDeviceGetHandleByIndex": lambda index: reported[-1][index],
        "nvmlDeviceGetUUID": lambda gpu: gpu.uuid,
        "nvmlDeviceGetName": lambda gpu: gpu.name,
    }.items():
        monkeypatch.setattr(pynvml, name, function)
    return lambda: len(reported)


@pytest.mark.parametrize(
    ("gpus", "workers", "per_gpu", "expected"),
    [
        ("0,1", None, 1, [(None, "0"), (None, "1")]),
        ("0,1", None, 2, [(None, "0"), (None, "1"), (None, "0"), (None, "1")]),
        ("0,2", 2, 4, [(None, "0"), (None, "2")]),  # fewer than places: each has a GPU of its own
        ("0,1", 3, 2, [(None, "0"), (None, "1"), (None, "0")]),
        ("0,1", 3, 1, [(None, "0"), (None, "1"), (None, "0")]),
        ("-1", None, 1, [(5, None), (7, None)]),  # the cores that a batch job was given
        ("-1", 3, 1, [(5, None), (7, None), (5, None)]),
    ],
)
def test_slots_are_spread_evenly_over_the_gpus_or_cores_that_a_job_was_given(
    gpus: str,
    workers: int | None,
    per_gpu: int,
    expected: list[tuple[int | None, str | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {7, 5})
    slots = find_slots(workers, per_gpu)
    assert [(slot.core, slot.gpu) for slot in slots] == expected
    assert [slot.index for slot in slots] == list(range(len(expected)))


def test_a_reserved_slot_is_kept_until_it_is_released_or_no_worker_could_be_forked_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = mock.Mock(side_effect=OSError("no process"))
    monkeypatch.setattr(forkserver, "fork", fork)
    slot = EVERY[0]
    other = SlotSharing([slot], tmp_path)
    with LocalEngine((slot,), SlotSharing([slot], tmp_path)) as engine:
        for give_back in (engine.release, lambda: engine.start(job_of(TRIAL, slot, tmp_path))):
            assert engine.reserve(slot) == "" and engine.wait(0.0) == []
            assert other.take(slot)[0] == ""
            with contextlib.suppress(OSError):
                give_back()
            assert other.take(slot)[0] == NAMES[0]
            other.close()
    fork.assert_called_once()


def test_sweeps_with_the_time_of_some_cores_alone_use_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as in two containers with two CPUs each of a machine with four."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("LSTM_SWEEP_SLOTS", str(tmp_path))
    monkeypatch.setattr(hardware, "all_cores", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(hardware, "cpu_limit", lambda: 2.0)
    engines = [open_local(None, 1) for _ in range(2)]
    for engine in engines:
        engine.demand(2)
        assert [engine.reserve(slot) for slot in engine.slots] == ["", ""]
    for engine in engines:
        engine.close()


def test_the_gpus_of_this_machine_are_those_that_its_driver_lists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None where there is no driver; NVML is the real one."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    listed = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    assert find_gpus() == [str(index) for index in range(listed)]
    assert len(hardware.gpu_names()) == 2 * listed, "each by its index and by its UUID"


@pytest.mark.parametrize(
    "code, why",
    [
        (pynvml.NVML_ERROR_NO_PERMISSION, "reports 'Insufficient Permissions', expected one"),
        (pynvml.NVML_ERROR_UNKNOWN, "reports 'Unknown Error', expected one that works"),
        (None, "has not answered within 0.2 s, expected one that works"),
    ],
)
def test_a_driver_that_fails_or_hangs_is_one_line_whose_advice_is_true(
    code: int | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def fail() -> Sequence[Gpu]:
        if code is not None:
            raise pynvml.NVMLError(code)
        over.wait()
        return []

    replace_nvml(monkeypatch, fail)
    monkeypatch.setattr(hardware, "WITHIN_S", 0.2 if code is None else 60.0)
    with pytest.raises(InputError, match=r"^(?!.*\n).*CUDA_VISIBLE_DEVICES=-1 leaves") as caught:
        find_gpus()
    over.set()
    assert why in str(caught.value)
    for given, found in (("-1", []), ("0, GPU-5a", ["0", "GPU-5a"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert find_gpus() == found


@pytest.fixture
def cpu_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the system says of its CPU what a test has written."""
    kept = (hardware.cpu_model, hardware.cpu_flags, hardware.gpu_names)
    monkeypatch.setattr(hardware, "CPU_INFO", tmp_path / "cpuinfo")
    for function in kept:
        function.cache_clear()
    yield tmp_path / "cpuinfo"
    for function in kept:
        function.cache_clear()


def test_a_cpu_is_described_by_its_name_and_its_instructions(cpu_info: Path) -> None:
    one = "model name\t: A CPU: 2 GHz\nflags\t\t: avx2 amx_bf16\n\n"
    cpu_info.write_text(f"processor\t: 0\n{one}processor\t: 1\n{one}", encoding="utf-8")
    found = hardware.describe(None)
    assert (found.kind, found.gpu, found.node) == ("cpu: A CPU: 2 GHz", False, None)
    assert found.cpu_flags == {"avx2", "amx_bf16"}
    assert found.cores == len(hardware.cores()) >= 1
    assert found.memory and found.memory > 1 << 26


def test_the_gpus_that_the_driver_counts_are_called_by_the_names_of_their_cards(
    cpu_info: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu_info.write_text("flags: avx2\n", encoding="utf-8")
    cards = [Gpu("GPU-5a", name="NVIDIA H100"), Gpu("GPU-7c", name="NVIDIA T4")]
    opened = replace_nvml(monkeypatch, lambda: cards)
    assert (find_gpus(), opened()) == (["0", "1"], 0)
    kinds = {gpu: hardware.describe(gpu).kind for gpu in ("0", "1", "GPU-7c", "MIG-1")}
    t4 = "gpu: NVIDIA T4"
    assert kinds == {"0": "gpu: NVIDIA H100", "1": t4, "GPU-7c": t4, "MIG-1": "gpu"}
    found = hardware.describe("0")
    assert (found.gpu, found.cpu_flags) == (True, frozenset({"avx2"}))


@pytest.mark.parametrize(
    "own, files, limit",
    [
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000", "a/cpu.max": "150000 100000"}, 0.5),
        ("0::/host/path\n", {"cpu.max": "300000 100000"}, 3.0),
        ("1:name=systemd:/\n0::/a\n", {"unified/a/cpu.max": "200000 100000"}, 2.0),
        (
            "3:cpu,cpuacct:/docker/1\n0::/\n",
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("", {}, None),
    ],
)  # fmt: skip
def test_the_time_of_control_groups_limits_how_many_cores_are_used_and_pins_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: str,
    files: dict[str, str],
    limit: float | None,
) -> None:
    monkeypatch.setattr(hardware, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(hardware, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5, 2, 3, 4})
    (tmp_path / "own").write_text(own, encoding="utf-8")
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text, encoding="utf-8")
    assert hardware.cpu_limit() == limit
    assert hardware.cores() == [2, 3, 4, 5][: 4 if limit is None else max(1, int(limit))]
    assert hardware.pins() == (limit in (None, 4.0))


def driver(folder: Path) -> SlotSharing:
    """A driver that could use both slots."""
    return SlotSharing(EVERY, folder)


def take_all(sharing: SlotSharing) -> list[str]:
    """Names of the slots that it gets, until it gets none."""
    found = []
    while name := sharing.take(EVERY[0])[0]:
        found.append(name)
    return found


def test_a_second_driver_gets_what_the_first_has_left_and_waits_for_the_rest(
    tmp_path: Path,
) -> None:
    first, second = driver(tmp_path), driver(tmp_path)
    assert first.take(EVERY[0]) == (NAMES[0], "")
    assert take_all(second) == [NAMES[1]]
    assert second.take(EVERY[0]) == ("", "other sweeps use all 2 slots of this machine")
    first.give_back(NAMES[0])
    assert take_all(second) == [NAMES[0]]
    second.close()
    assert take_all(first) == list(NAMES)


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
    file, slots = tmp_path / "s.slots", EVERY
    with LocalEngine(slots, driver(tmp_path), Quota(file)) as engine:
        engine.demand(1)
        assert file.with_suffix(".demand").read_text() == "1"
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
        for number in range(100):
            folder = tmp_path / str(number)
            assert [*pool.map(found, [str(folder)] * drivers)] == [folder] * drivers


def test_a_link_in_place_of_a_slot_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / f"{NAMES[0]}.slot").symlink_to(target)
    assert driver(tmp_path).take(EVERY[0]) == (NAMES[0], "")
    assert not target.exists()


def test_a_sweep_that_had_a_slot_too_many_asks_for_no_more_for_a_while(tmp_path: Path) -> None:
    now = [0.0]
    quota, demand = Quota(tmp_path / "r.slots", lambda: now[0]), tmp_path / "r.demand"
    for after_s, count, slots, said in [
        (0.0, 2, 2, None),  # all are used: perhaps more could be
        (0.0, 1, 2, "1"),
        (CONTENT_S - 1, 1, 1, "1"),
        (1.0, 1, 1, None),
    ]:
        now[0] += after_s
        quota.demand(count, slots)
        assert (demand.read_text() if demand.exists() else None) == said


class ResourceExhaustedError(Exception):
    """Bears the name by which TensorFlow says that memory is used up."""


OOM, PLACE = "ResourceExhaustedError: OOM", "on /job:localhost/replica:0/task:0/device"


NOT_TEXT = b"caf\xe9.csv".decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("error", "gpu", "outcome", "reason"),
    [
        (MemoryError("x"), "0", Outcome.OUT_OF_MEMORY, "memory of the host: MemoryError: x"),
        (ResourceExhaustedError("OOM"), None, Outcome.OUT_OF_MEMORY, f"memory of the host: {OOM}"),
        (ResourceExhaustedError("OOM"), "0", Outcome.OUT_OF_MEMORY, f"memory of the card: {OOM}"),
        (
            ResourceExhaustedError(f"OOM {PLACE}:GPU:0 by allocator GPU_0_bfc"), "0",
            Outcome.OUT_OF_MEMORY, f"memory of the card: {OOM} {PLACE}:GPU:0",
        ),
        (
            ResourceExhaustedError(f"OOM {PLACE}:CPU:0 by allocator gpu_host_bfc"), "0",
            Outcome.OUT_OF_MEMORY, f"memory of the host: {OOM} {PLACE}:CPU:0",
        ),
        (ValueError("no layer\nmore of it"), None, Outcome.ERROR, "ValueError: no layer"),
        # the name of a file that is no text is a reason that a store can keep
        (ValueError(f"no {NOT_TEXT}"), None, Outcome.ERROR, r"ValueError: no caf\udce9.csv"),
        (OSError(errno.ENOSPC, "No space"), None, Outcome.LOST, "no space left: "),
        (
            RuntimeError("errno = 28, error message = 'No space left on device'"), None,
            Outcome.LOST, "no space left: ",
        ),
    ],
)  # fmt: skip
def test_an_error_ends_a_trial_with_one_line_that_says_what_was_used_up(
    error: Exception,
    gpu: str | None,
    outcome: Outcome,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def train(job: Job) -> Iterator[Message]:
        yield RoundDone(1, {"val_loss": 1.0})
        raise error

    monkeypatch.setattr(worker, "_train", train)
    with contextlib.redirect_stderr(io.StringIO()) as err:
        *_, ended = worker.run(job_of(TRIAL, Slot(0, gpu=gpu)))
    assert isinstance(ended, Ended)
    assert (ended.outcome, ended.unfinished) == (outcome, outcome is Outcome.LOST)
    assert ended.reason.startswith(reason) and "\n" not in ended.reason
    assert "Traceback" in err.getvalue()
