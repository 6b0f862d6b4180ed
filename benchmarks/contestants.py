"""A contestant alone on this machine until its time is over: this program, or a peer's script."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.contest_records import CURED, OURS, Event, Run, Setting, condensed
from lstm_sweep.models.config import FIELDS
from lstm_sweep.search.store.tags import Tag

ROOT = Path(__file__).resolve().parent.parent


class Peer(NamedTuple):
    """A tool to compare with."""

    #: name of its script in `peers/`
    script: str
    #: packages that it needs
    packages: tuple[str, ...]
    #: sampler and pruner, for Optuna
    variant: str | None = None


OPTUNA = "optuna_pruning"
PEERS = {
    "hyperopt": Peer("hyperopt_fmin", ("hyperopt", "mlflow")),
    "keras-tuner": Peer("keras_tuner_hyperband", ("keras_tuner", "tensorboard")),
    "optuna": Peer(OPTUNA, ("optuna",)),
    "optuna-group": Peer(OPTUNA, ("optuna",), "group"),
    "optuna-gp": Peer(OPTUNA, ("optuna", "torch"), "gp"),
    "optuna-cmaes": Peer(OPTUNA, ("optuna", "cmaes"), "cmaes"),
    "optuna-wilcoxon": Peer(OPTUNA, ("optuna",), "wilcoxon"),
    "ray": Peer("ray_tune", ("ray", "hyperopt", "pyarrow")),
}
#: validation targets of all contestants, as `peers/common.py` has them
TARGETS = 10_000
#: the space of all contestants, in this program's words; `peers/common.py` has it for the others
SPACE = {
    "learning_rate": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0],
    "dropout": {"low": 0.0, "high": 0.8},
    "layers": [2, 3],
    "layer_size": {"low": 32, "high": 256, "step": 16, "scale": "log"},
    "sequence_length": {"low": 20, "high": 160, "step": 10, "scale": "log"},
    "batch_size": [32, 64, 128, 256],
    "epochs": 27,
}
DIRECTIONS = {"uni": ["uni"], "bi": ["bi"], "both": ["uni", "bi"]}
#: file of the store in the folder of a contestant
STORE = "mlflow.db"
#: environment variable by which the processes of a contestant are known
MARK = "TIME_TO_TARGET"
#: seconds between two looks at what a contestant has
LOOK_EVERY_S = 20.0
#: seconds that a contestant gets to leave in order; what it finds in them after its time does not
#: count
LEAVE_WITHIN_S = 20.0


def own_program() -> Path:
    """The path of `lstm-sweep` beside the Python that runs."""
    return Path(sys.executable).with_name(OURS)


def contest(
    name: str, label: str, seed: int, setting: Setting, data: Path, folder: Path, log: Path
) -> Run | None:
    """Run a contestant until its time is over.

    None if it ends by itself with an error, or has begun no trial: then something is broken, which
    must not pass for a slow search. One that has trained, but has no loss by the end of its time,
    is slow.
    """
    began = time.time()
    command = _command(name, label, seed, setting, data, folder, began)
    code = run_alone(command, folder, log, began + 60 * setting.minutes)
    events = our_events(folder, began) if name == OURS else events_of_peer(folder / "events.jsonl")
    run = condensed(label, seed, setting, events)
    return None if code or not run.begun else run


def run_alone(
    command: Sequence[str],
    folder: Path,
    log: Path,
    until: float,
    enough: Callable[[], bool] = lambda: False,
) -> int:
    """Run a program in a folder, with a store of its own there, and end it at a time.

    It is ended before if it has `enough`, which is asked every `LOOK_EVERY_S` seconds. Returns its
    code, which is 0 if it had to be ended. `until` is in seconds since 1970.
    """
    mark = uuid.uuid4().hex
    environment = {
        **os.environ,
        MARK: mark,
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": _store(folder),
        "RAY_TMPDIR": str(folder / "ray"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while (left := until - time.time()) > 0:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(min(LOOK_EVERY_S, left))
                if enough():
                    break
            return process.poll() or 0
        finally:
            _end(process, mark)


def _command(
    name: str, label: str, seed: int, setting: Setting, data: Path, folder: Path, began: float
) -> list[str]:
    if name == OURS:
        space = folder / "space.yaml"
        dimensions = {"direction": DIRECTIONS[setting.direction], **SPACE}
        space.write_text(yaml.safe_dump(dimensions, sort_keys=False), encoding="utf-8")
        return [
            str(own_program()), "launch", "--data", str(data), "--space", str(space),
            "--name", "contest", "--minutes", f"{setting.minutes:g}", "--trials", "100000",
            "--workers", str(setting.workers), "--seed", str(seed), "--targets", str(TARGETS),
            "--targets-seed", str(seed), "--adjacent-targets", "1",
            "--prior", "on" if setting.prior else "off",
        ]  # fmt: skip
    peer = PEERS[name]
    command = [
        sys.executable, "-m", f"benchmarks.peers.{peer.script}", "--data", str(data),
        "--seed", str(seed), "--direction", setting.direction, "--workers", str(setting.workers),
        "--folder", str(folder), "--began", f"{began:.3f}",
    ]  # fmt: skip
    command += ["--variant", peer.variant] if peer.variant else []
    return [*command, "--cured"] if label.endswith(CURED) else command


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """Ask a contestant to leave, then kill all that is left of it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(LEAVE_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for _ in range(50):
        left = _marked(mark)
        for pid in left:
            _kill(pid)
        if not left:
            return
        time.sleep(0.1)


def _marked(mark: str) -> list[int]:
    """Processes of a contestant, also those that have left its process group, on Linux."""
    found, wanted = [], f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it has ended, or is not ours
            continue
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def events_of_peer(file: Path) -> list[Event]:
    """What a peer has written; a last line without an end is dropped."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return [Event(**json.loads(line)) for line in lines if line.endswith("\n")]


def our_events(folder: Path, began: float) -> list[Event]:
    """What the sweep's runs say; the time of a round is when its metrics were logged."""
    runs = [run for run in runs_in(folder) if Tag.TRIAL in run.data.tags]
    if not runs:
        return []
    client = _client(folder)
    events = [event for run in runs for event in _events_of_run(client, run, began)]
    return sorted(events, key=lambda event: event.seconds)


def lowest_loss(folder: Path) -> float:
    """The lowest validation loss that the trials of a folder have by now, by their own summaries.

    It is infinite if there is none, or if the store cannot be read just now.
    """
    try:
        trials = [run for run in runs_in(folder) if Tag.TRIAL in run.data.tags]
    except Exception:  # the program is making the store, or has locked it
        return math.inf
    losses = [run.data.metrics.get("best_val_loss", math.inf) for run in trials]
    return min(losses, default=math.inf)


def runs_in(folder: Path) -> list[Any]:
    """All runs in the store of a folder, as MLflow has them; none if there is no store."""
    if not (folder / STORE).exists():
        return []
    client = _client(folder)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs(experiments, max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _client(folder: Path) -> Any:
    import mlflow

    return mlflow.MlflowClient(_store(folder))


def _store(folder: Path) -> str:
    """Where a contestant that runs in this folder tracks its runs."""
    return f"sqlite:///{folder / STORE}"


def _events_of_run(client: Any, run: Any, began: float) -> Iterable[Event]:
    trial, params = run.data.tags[Tag.TRIAL], run.data.params
    config = {name: _plain(params[name]) for name in FIELDS if name in params}
    rounds_per_epoch = int(run.data.tags.get(Tag.ROUNDS_PER_EPOCH, 1))
    yield Event(run.info.start_time / 1000 - began, trial, 0, None, config)
    for metric in client.get_metric_history(run.info.run_id, "val_loss"):
        epoch = metric.step / rounds_per_epoch
        yield Event(metric.timestamp / 1000 - began, trial, epoch, metric.value, config)
    if run.info.end_time:
        yield Event(run.info.end_time / 1000 - began, trial, 0, None, config, ended=True)


def _plain(text: str) -> int | float | str:
    """A value from the text that MLflow keeps of it."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
