"""How soon a search has a good network: this program beside scripts for its peers.

    python benchmarks/time_to_target.py --data FILE --minutes 30 --seeds 3

Each contestant searches the same space on the same data and is scored on the same validation
targets, alone on the machine's CPUs, until its time is over; the time counts from the start of its
process. The results go to `runs.jsonl` one by one, so a benchmark that was broken off goes on where
it stopped. `--report` makes table and plot again from that file.

The peers are scripts in `peers/`. They train by stock `fit`, as their users do; on TensorFlow that
loses time at the end of each epoch. With `--cured` they are run without this loss, under names of
their own, which tells apart what the search gains and what the training gains.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lstm_sweep.models.config import FIELDS
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError, one_of

ROOT = Path(__file__).resolve().parent.parent
OURS = "lstm-sweep"
#: script of each peer, and the packages that it needs
PEERS = {
    "hyperopt": ("hyperopt_fmin", ("hyperopt", "mlflow")),
    "keras-tuner": ("keras_tuner_hyperband", ("keras_tuner", "tensorboard")),
    "optuna": ("optuna_pruning", ("optuna",)),
    "ray": ("ray_tune", ("ray", "hyperopt", "pyarrow")),
}
NAMES = (OURS, *PEERS)
#: what is added to the name of a peer that does not wait for sleeping threads
CURED = ", cured"
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
LONGEST_WINDOW = 160
DIRECTIONS = {"uni": ["uni"], "bi": ["bi"], "both": ["uni", "bi"]}
#: environment variable by which the processes of a contestant are known
MARK = "TIME_TO_TARGET"
#: seconds that a contestant gets to leave in order; what it finds in them does not count
LEAVE_WITHIN_S = 20.0


@dataclass(frozen=True)
class Setting:
    """What must be the same for results to be compared."""

    #: fingerprint of the corpus
    corpus: str
    minutes: float
    direction: str
    #: trials at once, for contestants that can
    workers: int


@dataclass(frozen=True)
class Event:
    """What a contestant has done by a time, in seconds since its start."""

    seconds: float
    trial: str
    #: 0: the trial begins
    epoch: int
    #: None if there is none, or if it is not a number
    val_loss: float | None
    config: dict[str, Any]
    ended: bool = False


@dataclass(frozen=True)
class Run:
    """What one contestant found with one seed."""

    #: its name, and `, cured` for a peer that does not wait for sleeping threads
    contestant: str
    seed: int
    setting: Setting
    #: pairs of seconds and a validation loss lower than all before
    improvements: list[tuple[float, float]]
    best_config: dict[str, Any]
    #: trials begun and ended, as the contestant counts them
    begun: int
    ended: int
    #: different configs among them
    configs: int
    epochs: int

    @property
    def key(self) -> tuple[str, int]:
        """What makes a run another one."""
        return self.contestant, self.seed

    @property
    def best(self) -> float:
        """The lowest validation loss; infinite if there is none."""
        return self.improvements[-1][1] if self.improvements else math.inf

    def reached(self, loss: float) -> float:
        """Seconds until there was a loss as low as this; infinite if there never was."""
        return next((seconds for seconds, found in self.improvements if found <= loss), math.inf)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Run:
        """Read a line of `runs.jsonl`."""
        pairs = [(seconds, loss) for seconds, loss in values["improvements"]]
        setting = Setting(**values["setting"])
        return cls(**{**values, "setting": setting, "improvements": pairs})


def main() -> None:
    """Run what is missing, then print the table and draw the plot."""
    given = _arguments()
    try:
        failed = _benchmark(given)
    except InputError as error:
        print(f"time_to_target: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("time_to_target: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    if failed:
        print(f"time_to_target: no result of {'; '.join(failed)}", file=sys.stderr)
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else None,
        epilog=f"contestants: {', '.join(NAMES)}",
    )
    parser.add_argument("--data", type=Path, metavar="FILE", help="a text, or a file of event ids")
    parser.add_argument("--minutes", type=float, default=30.0, metavar="M", help="for each (30)")
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="runs of each (3)")
    parser.add_argument("--characters", type=int, metavar="N", help="only the first of the file")
    parser.add_argument("--direction", choices=tuple(DIRECTIONS), default="both")
    parser.add_argument("--workers", type=int, metavar="N", help="trials at once (one per core)")
    parser.add_argument("--cured", action="store_true", help="keep the peers from waiting in fit")
    parser.add_argument("--only", metavar="NAME,...", help="only these contestants")
    parser.add_argument("--out", type=Path, default=Path("time_to_target"), metavar="DIR")
    parser.add_argument("--report", action="store_true", help="run nothing (as --minutes 0 does)")
    return parser.parse_args()


def _benchmark(given: argparse.Namespace) -> list[str]:
    """Do what was asked; return what failed."""
    names = _names(given.only)
    for name, low in (("minutes", 0), ("seeds", 1), ("characters", 1), ("workers", 1)):
        value = getattr(given, name)
        if value is not None and not low <= value < math.inf:
            raise InputError(f"--{name} is {value:g}: expected a number from {low}")
    file = given.out / "runs.jsonl"
    failed = []
    if not given.report and given.minutes > 0:
        _check_installed(names)
        with tempfile.TemporaryDirectory(prefix="ttt-", ignore_cleanup_errors=True) as scratch:
            failed = _run_missing(given, names, file, Path(scratch))
    runs = _read(file)
    if failed and not runs:
        return failed
    if not runs:
        raise InputError(f"{file}: found no runs, expected some; run without --report first")
    print(table(runs))
    plot(runs, given.out / "time_to_target.png")
    print(f"plot: {given.out / 'time_to_target.png'}")
    return failed


def _names(only: str | None) -> list[str]:
    names = [part.strip() for part in only.split(",")] if only is not None else list(NAMES)
    for name in names:
        if name not in NAMES:
            raise InputError(f"--only has '{name}': {one_of(name, list(NAMES))}")
    return [name for name in NAMES if name in names]


def _check_installed(names: Sequence[str]) -> None:
    needed = {package for name in names if name != OURS for package in PEERS[name][1]}
    missing = sorted(name for name in needed if not importlib.util.find_spec(name))
    if missing:
        raise InputError(
            f"not installed: {', '.join(missing)}; expected the packages of the peers, "
            f"which lstm-sweep[benchmark] brings"
        )
    if OURS in names and not _program().exists():
        raise InputError(f"{_program()}: no such program, expected {OURS} beside this Python")


def _program() -> Path:
    return Path(sys.executable).with_name(OURS)


def _run_missing(
    given: argparse.Namespace, names: Sequence[str], file: Path, scratch: Path
) -> list[str]:
    data = _data(given, scratch)
    corpus = corpora.load(Source(data=str(data)))
    corpus.check_windows(LONGEST_WINDOW)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = given.workers or cores or 1
    setting = Setting(corpus.digest, given.minutes, given.direction, workers)
    runs = _read(file)
    _check_same(file, runs, setting)
    file.parent.mkdir(parents=True, exist_ok=True)
    done, failed = {run.key for run in runs}, []
    for seed in range(given.seeds):
        for name in names:
            label = f"{name}{CURED}" if given.cured and name != OURS else name
            if (label, seed) in done:
                continue
            folder = scratch / f"{NAMES.index(name)}-{seed}"
            folder.mkdir()
            log = file.parent / f"{label.replace(', ', '-')}-{seed}.log"
            print(f"{label}, seed {seed}: {given.minutes:g} minutes", flush=True)
            run = _contest(name, label, seed, setting, data, folder, log)
            if run is None:
                failed.append(f"{label}, seed {seed} (see {log})")
                continue
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(run), allow_nan=False) + "\n")
    return failed


def _check_same(file: Path, runs: Sequence[Run], setting: Setting) -> None:
    """Refuse to mix runs that cannot be compared."""
    for name, value in asdict(setting).items():
        for run in runs:
            if (other := getattr(run.setting, name)) != value:
                raise InputError(
                    f"{file}: has runs with {name} {other}, expected {value}; try another --out"
                )


def _data(given: argparse.Namespace, scratch: Path) -> Path:
    if given.data is None:
        raise InputError("--data is missing: expected a file")
    file: Path = given.data.expanduser().resolve()
    if not file.is_file():
        raise InputError(f"--data {given.data}: expected a file")
    if given.characters is None:
        return file
    try:
        with file.open(encoding="utf-8") as text:
            start = text.read(given.characters)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--data {given.data}: {error}; expected text in UTF-8") from None
    cut = scratch / file.name
    cut.write_text(start, encoding="utf-8")
    return cut


def _read(file: Path) -> list[Run]:
    if not file.exists():
        return []
    runs = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            runs.append(Run.from_dict(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{file}:{number}: {reason}; expected a run, as JSON") from None
    return runs


def _contest(
    name: str, label: str, seed: int, setting: Setting, data: Path, folder: Path, log: Path
) -> Run | None:
    """Run a contestant until its time is over.

    None if it ends by itself with an error, or does not finish a single epoch: then something is
    broken, which must not pass for a slow search.
    """
    mark = uuid.uuid4().hex
    environment = {
        **os.environ,
        MARK: mark,
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "RAY_TMPDIR": str(folder / "ray"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    began = time.time()
    with log.open("wb") as out:
        process = subprocess.Popen(
            _command(name, label, seed, setting, data, folder, began),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(max(0.0, began + 60 * setting.minutes - time.time()))
        except subprocess.TimeoutExpired:
            code = 0
        finally:
            _end(process, mark)
    events = _our_events(folder, began) if name == OURS else _events(folder / "events.jsonl")
    run = _condensed(label, seed, setting, events)
    return None if code or not run.epochs else run


def _command(
    name: str, label: str, seed: int, setting: Setting, data: Path, folder: Path, began: float
) -> list[str]:
    if name == OURS:
        space = folder / "space.yaml"
        dimensions = {"direction": DIRECTIONS[setting.direction], **SPACE}
        space.write_text(yaml.safe_dump(dimensions, sort_keys=False), encoding="utf-8")
        return [
            str(_program()), "launch", "--data", str(data), "--space", str(space),
            "--name", "contest", "--minutes", f"{setting.minutes:g}", "--trials", "100000",
            "--workers", str(setting.workers), "--seed", str(seed), "--targets", str(TARGETS),
        ]  # fmt: skip
    command = [
        sys.executable, "-m", f"benchmarks.peers.{PEERS[name][0]}", "--data", str(data),
        "--seed", str(seed), "--direction", setting.direction, "--workers", str(setting.workers),
        "--folder", str(folder), "--began", f"{began:.3f}",
    ]  # fmt: skip
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


def _events(file: Path) -> list[Event]:
    """What a peer has written; a last line without an end is dropped."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return [Event(**json.loads(line)) for line in lines if line.endswith("\n")]


def _our_events(folder: Path, began: float) -> list[Event]:
    """What the sweep's runs say; the time of an epoch is when its metrics were logged."""
    import mlflow

    file = folder / "mlflow.db"
    if not file.exists():
        return []
    client = mlflow.MlflowClient(f"sqlite:///{file}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    events: list[Event] = []
    token = None
    while True:
        page = client.search_runs(experiments, max_results=1000, page_token=token)
        for run in page:
            if "sweep.trial" in run.data.tags:
                events += _events_of_run(client, run, began)
        token = page.token
        if not token:
            return sorted(events, key=lambda event: event.seconds)


def _events_of_run(client: Any, run: Any, began: float) -> Iterable[Event]:
    trial, params = run.data.tags["sweep.trial"], run.data.params
    config = {name: _plain(params[name]) for name in FIELDS if name in params}
    yield Event(run.info.start_time / 1000 - began, trial, 0, None, config)
    for metric in client.get_metric_history(run.info.run_id, "val_loss"):
        yield Event(metric.timestamp / 1000 - began, trial, metric.step, metric.value, config)
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


def _condensed(label: str, seed: int, setting: Setting, events: Iterable[Event]) -> Run:
    """Keep what improved the best loss in time, and count the rest."""
    best, best_config, improvements = math.inf, {}, []
    begun, ended, configs, epochs = set(), set(), set(), 0
    for event in sorted(events, key=lambda event: event.seconds):
        if event.seconds > 60 * setting.minutes:
            break
        begun.add(event.trial)
        configs.add(json.dumps(event.config, sort_keys=True))
        if event.ended:
            ended.add(event.trial)
            continue
        epochs += event.epoch > 0
        if event.val_loss is not None and event.val_loss < best:
            best, best_config = event.val_loss, event.config
            improvements.append((round(event.seconds, 3), event.val_loss))
    return Run(
        label, seed, setting, improvements, best_config, len(begun), len(ended), len(configs),
        epochs,
    )  # fmt: skip


def _grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each contestant: ours first, then by name."""
    labels = sorted({run.contestant for run in runs}, key=lambda label: (label != OURS, label))
    return {label: [run for run in runs if run.contestant == label] for label in labels}


def _median_best(runs: Sequence[Run]) -> float:
    return statistics.median(run.best for run in runs)


def table(runs: Sequence[Run]) -> str:
    """Medians over the seeds: how good each contestant is at its end, how fast, how soon.

    The target is the median of the losses that the best peer has at its end; the best peer is the
    one for which that is lowest, run as its users do.
    """
    groups = _grouped(runs)
    peers = [label for label in groups if label != OURS and not label.endswith(CURED)]
    lines = []
    best_peer = min(peers, key=lambda label: _median_best(groups[label])) if peers else None
    target = _median_best(groups[best_peer]) if best_peer else math.inf
    setting = runs[0].setting
    times = {
        label: [run.reached(target) for run in group] if best_peer else []
        for label, group in groups.items()
    }
    ours = statistics.median(times.get(OURS) or [math.inf])
    head = ("contestant", "seeds", "final loss", "configs/h", "epochs/h", "time to target", "ratio")
    rows = [head]
    for label, group in groups.items():
        hours = setting.minutes / 60
        rows.append(
            (
                label,
                str(len(group)),
                f"{_median_best(group):.4f}" if math.isfinite(_median_best(group)) else "none",
                f"{statistics.median(run.configs for run in group) / hours:.0f}",
                f"{statistics.median(run.epochs for run in group) / hours:.0f}",
                _time_to_target(times[label]),
                _ratio(times[label], ours, 60 * setting.minutes),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]))
    about = f"{setting.minutes:g} minutes each, direction {setting.direction}, "
    lines.append(f"{about}{setting.workers} at once; losses in nats per symbol, medians over seeds")
    if best_peer:
        lines.append(
            f"target: {target:.4f}, the median of what {best_peer} has at its end; ratio: time to "
            f"it, divided by that of {OURS}"
        )
    return "\n".join(lines)


def _time_to_target(times: Sequence[float]) -> str:
    if not times:
        return "-"
    median, reached = statistics.median(times), sum(map(math.isfinite, times))
    share = f" ({reached} of {len(times)})" if reached < len(times) else ""
    return f"{f'{median:.0f} s' if math.isfinite(median) else 'never'}{share}"


def _ratio(times: Sequence[float], ours: float, budget: float) -> str:
    """How many times longer than ours; for one that never gets there, what it is at least."""
    if not times or not math.isfinite(ours):
        return "-"
    median = statistics.median(times)
    return f"{median / ours:.2f}" if math.isfinite(median) else f"over {budget / ours:.2f}"


def plot(runs: Sequence[Run], file: Path) -> None:
    """Draw the best loss over time: the median over seeds as a line, lowest to highest as a band.

    A line begins when there is a loss for each seed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.add_subplot()
    end, groups = 60 * runs[0].setting.minutes, _grouped(runs)
    for label, group in groups.items():
        found = {seconds for run in group for seconds, _ in run.improvements}
        seconds = np.array(sorted(found | {end}))
        losses = np.array([[_best_at(run, moment) for moment in seconds] for run in group])
        seen = np.isfinite(losses).all(axis=0)  # [moments]
        if not seen.any():
            continue
        minutes, losses = seconds[seen] / 60, losses[:, seen]
        kind = {"linewidth": 2.4, "color": "black"} if label == OURS else {"linewidth": 1.4}
        style = "--" if label.endswith(CURED) else "-"
        [line] = axes.step(
            minutes, np.median(losses, axis=0), where="post", label=label, linestyle=style, **kind
        )
        axes.fill_between(
            minutes, losses.min(axis=0), losses.max(axis=0), step="post", alpha=0.15,
            color=line.get_color(), linewidth=0,
        )  # fmt: skip
    axes.set_xlabel("minutes since the start of the process")
    axes.set_ylabel("best validation loss (nats per symbol)")
    axes.set_xlim(0, end / 60)
    finals = [loss for group in groups.values() if math.isfinite(loss := _median_best(group))]
    if finals:  # the first losses may be many times as high
        spread = max(finals) - min(finals) + 0.1
        axes.set_ylim(min(finals) - 0.2 * spread, max(finals) + spread)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


def _best_at(run: Run, moment: float) -> float:
    return min((loss for seconds, loss in run.improvements if seconds <= moment), default=math.inf)


if __name__ == "__main__":
    main()
