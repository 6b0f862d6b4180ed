"""The slots and devices of this machine, who may use them, and how trials on them end."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pynvml
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.models.errors import InputError
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
from lstm_sweep.search.engines.worker import CorpusTraining
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.values.trial import Ended, Job, Message, Outcome, RoundDone, Slot, Trial


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
    "workers, per_gpu, expected",
    [
        (None, 1, ["0", "1"]),
        (None, 2, ["0", "1", "0", "1"]),
        (2, 4, ["0", "1"]),  # fewer than there are places for: each has a GPU of its own
        (3, 2, ["0", "1", "0"]),
        (3, 1, ["0", "1", "0"]),
    ],
)
def test_places_are_spread_evenly_over_gpus(
    workers: int | None, per_gpu: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    slots = find_slots(workers, per_gpu)
    assert [slot.gpu for slot in slots] == expected
    assert [slot.index for slot in slots] == list(range(len(expected)))


def test_a_reserved_slot_is_kept_until_it_is_released_also_while_events_are_waited_for(
    tmp_path: Path,
) -> None:
    slot = Slot(0, core=0)
    sharing, other = (SlotSharing([slot], tmp_path) for _ in range(2))
    engine = LocalEngine((slot,), sharing)
    engine.demand(1)
    assert engine.reserve(slot) == "" and engine.wait(0.0) == []
    assert other.take(slot)[0] == ""
    engine.release()
    assert other.take(slot)[0] == "core-0-0"
    other.close()
    engine.close()


def test_a_slot_on_which_no_worker_could_be_forked_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot, trial = Slot(0, core=0), Trial(sweep="s", number=0, config=TrialConfig(), seed=1)
    sharing = SlotSharing([slot], tmp_path)
    training = CorpusTraining(tmp_path, Scoring(1, 0))
    job = Job(trial=trial, slot=slot, training=training, folder=tmp_path / "0")

    def fail(*arguments: object, **more: object) -> None:
        raise OSError("no process")

    monkeypatch.setattr(forkserver, "fork", fail)
    with LocalEngine((slot,), sharing) as engine:
        assert engine.reserve(slot) == ""
        with pytest.raises(OSError, match="no process"):
            engine.start(job)
        assert sharing.take(slot)[0] == "core-0-0"


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


#: prints core and GPU of each slot that a process finds
SLOTS = """
from lstm_sweep.search.engines.local import find_slots
for slot in find_slots():
    print(slot.core, slot.gpu)
"""


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [("-1", ["{core} None"]), ("3", ["None 3"]), ("0,2", ["None 0", "None 2"])],
)
def test_a_batch_job_has_slots_where_it_was_given_cpus_or_gpus(
    gpus: str, expected: list[str]
) -> None:
    core = max(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", SLOTS],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": gpus},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # as Slurm does with --cpus-per-task 1
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [line.format(core=core) for line in expected]


def test_the_gpus_of_this_machine_are_those_that_its_driver_lists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None where there is no driver; NVML is the real one."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    listed = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    assert find_gpus() == [str(index) for index in range(listed)]
    assert len(hardware.gpu_names()) == 2 * listed, "each by its index and by its UUID"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_gpus_are_those_that_the_driver_counts(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = replace_nvml(monkeypatch, lambda: [Gpu(f"GPU-{n}") for n in range(count)])
    assert find_gpus() == [str(index) for index in range(count)]
    assert opened() == 0


def check_error(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding GPUs is one line with an advice, which is true."""
    with pytest.raises(InputError) as caught:
        find_gpus()
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "CUDA_VISIBLE_DEVICES=-1 leaves GPUs out" in str(caught.value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert find_gpus() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, GPU-5a")
    assert find_gpus() == ["0", "GPU-5a"]


@pytest.mark.parametrize(
    "code, why",
    [
        (pynvml.NVML_ERROR_NO_PERMISSION, "reports 'Insufficient Permissions', expected one"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "reports 'RM has detected an NVML/RM version"),
        (pynvml.NVML_ERROR_UNKNOWN, "reports 'Unknown Error', expected one that works"),
    ],
)
def test_a_driver_that_fails_is_one_line(
    code: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Sequence[Gpu]:
        raise pynvml.NVMLError(code)

    replace_nvml(monkeypatch, fail)
    check_error(why, monkeypatch)


def test_a_driver_that_hangs_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang() -> Sequence[Gpu]:
        over.wait()
        return []

    replace_nvml(monkeypatch, hang)
    monkeypatch.setattr(hardware, "WITHIN_S", 0.2)
    try:
        check_error("has not answered within 0.2 s, expected one that works", monkeypatch)
    finally:
        over.set()


@pytest.fixture
def cpu_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """What has the system say this of its CPU."""
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(hardware, "CPU_INFO", file)
    _forget()

    def say(text: str) -> None:
        file.write_text(text, encoding="utf-8")

    yield say
    _forget()


def _forget() -> None:
    hardware.cpu_model.cache_clear()
    hardware.cpu_flags.cache_clear()
    hardware.gpu_names.cache_clear()


def test_a_cpu_is_described_by_its_name_and_its_instructions(
    cpu_info: Callable[[str], None],
) -> None:
    one = "model name\t: A CPU: 2 GHz\nflags\t\t: avx2 amx_bf16\n\n"
    cpu_info(f"processor\t: 0\n{one}processor\t: 1\n{one}")
    found = hardware.describe(None)
    assert (found.kind, found.gpu, found.node) == ("cpu: A CPU: 2 GHz", False, None)
    assert found.cpu_flags == {"avx2", "amx_bf16"}
    assert found.cores == len(hardware.cores()) >= 1
    assert found.memory and found.memory > 1 << 26


def test_a_gpu_is_called_by_the_name_of_its_card(
    cpu_info: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu_info("flags: avx2\n")
    cards = [Gpu("GPU-5a", name="NVIDIA H100"), Gpu("GPU-7c", name="NVIDIA T4")]
    replace_nvml(monkeypatch, lambda: cards)
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


EVERY = (Slot(0, core=0), Slot(1, core=1))
NAMES = ("core-0-0", "core-1-0")


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


def test_locks_of_a_process_that_was_killed_hold_nobody_up(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from lstm_sweep.search.engines.local import SlotSharing\n"
        "from lstm_sweep.search.values.trial import Slot\n"
        f"other = SlotSharing({EVERY!r}, Path(sys.argv[1]))\n"
        "assert other.take()[0] and other.take()[0]\n"
        "print('taken', flush=True)\n"
        "time.sleep(600)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    assert other.stdout.readline() == "taken\n"
    mine = driver(tmp_path)
    assert mine.take(EVERY[0])[0] == ""
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
    sharing = SlotSharing(slots, tmp_path)
    with LocalEngine(slots, sharing, Quota(file)) as engine:
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
        for number in range(300):
            folder = tmp_path / str(number)
            assert [*pool.map(found, [str(folder)] * drivers)] == [folder] * drivers


def test_a_link_in_place_of_a_slot_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / f"{NAMES[0]}.slot").symlink_to(target)
    assert driver(tmp_path).take(EVERY[0]) == (NAMES[0], "")
    assert not target.exists()


def said(file: Path) -> str | None:
    demand = file.with_suffix(".demand")
    return demand.read_text() if demand.exists() else None


def test_a_sweep_that_had_a_slot_too_many_asks_for_no_more_for_a_while(tmp_path: Path) -> None:
    file, now = tmp_path / "r.slots", [0.0]
    quota = Quota(file, lambda: now[0])
    quota.demand(2, 2)  # all are used: perhaps more could be
    assert said(file) is None
    quota.demand(1, 2)
    assert said(file) == "1"
    quota.demand(1, 1)
    now[0] += CONTENT_S - 1
    quota.demand(1, 1)
    assert said(file) == "1"
    now[0] += 1
    quota.demand(1, 1)
    assert said(file) is None


class ResourceExhaustedError(Exception):
    """Bears the name by which TensorFlow says that memory is used up."""


def ended_by(error: Exception, slot: Slot, monkeypatch: pytest.MonkeyPatch) -> Ended:
    def train(job: Job) -> Iterator[Message]:
        yield RoundDone(1, {"val_loss": 1.0})
        raise error

    monkeypatch.setattr(worker, "_train", train)
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=1)
    here = Path()
    job = Job(trial=trial, slot=slot, training=CorpusTraining(here, Scoring(1, 0)), folder=here)
    *_, last = worker.run(job)
    assert isinstance(last, Ended)
    return last


PLACE = "on /job:localhost/replica:0/task:0/device"


@pytest.mark.parametrize(
    ("error", "gpu", "where"),
    [
        (MemoryError("x"), None, "host"),
        (MemoryError("x"), "0", "host"),
        (ResourceExhaustedError("OOM when allocating"), None, "host"),
        (ResourceExhaustedError("OOM when allocating"), "0", "card"),
        (ResourceExhaustedError(f"OOM {PLACE}:GPU:0 by allocator GPU_0_bfc"), "0", "card"),
        (ResourceExhaustedError(f"OOM {PLACE}:CPU:0 by allocator gpu_host_bfc"), "0", "host"),
    ],
)
def test_memory_of_host_and_card_are_told_apart(
    error: Exception, gpu: str | None, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ended_by(error, Slot(0, gpu=gpu), monkeypatch)
    assert ended.outcome is Outcome.OUT_OF_MEMORY
    assert ended.reason == f"memory of the {where}: {type(error).__name__}: {error}"


def test_another_error_is_one_line_and_its_traceback_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = ended_by(ValueError("no such layer\nmore of it"), Slot(0), monkeypatch)
    assert ended == Ended(Outcome.ERROR, "ValueError: no such layer")
    assert "Traceback" in capsys.readouterr().err


def test_the_name_of_a_file_that_is_no_text_is_a_reason_that_a_store_can_keep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = b"caf\xe9.csv".decode("utf-8", "surrogateescape")
    ended = ended_by(ValueError(f"no file {name}"), Slot(0), monkeypatch)
    assert ended == Ended(Outcome.ERROR, r"ValueError: no file caf\udce9.csv")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("file write failed: errno = 28, error message = 'No space left on device'"),
    ],
)
def test_a_trial_without_space_for_its_files_is_lost_and_goes_on_later(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ended_by(error, Slot(0), monkeypatch)
    assert (ended.outcome, ended.unfinished) == (Outcome.LOST, True)
    assert ended.reason.startswith("no space left: ")
