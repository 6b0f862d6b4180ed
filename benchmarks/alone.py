"""A program alone on this machine until its time is over, and what its runs say it had by when."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.tiny import with_environment
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.store.tags import Tag, Tags

OURS = "lstm-sweep"
ROOT = Path(__file__).resolve().parent.parent
#: file of the store in the folder of a contestant
STORE = "mlflow.db"
#: environment variable by which the processes of a contestant are known
MARK = "BENCHMARKED"
#: seconds that a contestant gets to leave in order; what it finds in them after its time does not
#: count
LEAVE_WITHIN_S = 20.0


T = TypeVar("T")


@contextlib.contextmanager
def one_line(name: str) -> Iterator[None]:
    """Say in one line why benchmark `name` ends: code 2 for bad input, 130 for an interruption."""
    try:
        yield
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{name}: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


class Improving:
    """What a run had by when; a dataclass of runs has `improvements` as a field."""

    #: pairs of seconds and a validation loss lower than all before
    improvements: list[tuple[float, float]]

    @property
    def best(self) -> float:
        """The lowest validation loss; infinite if there is none."""
        return self.improvements[-1][1] if self.improvements else math.inf

    def best_at(self, second: float) -> float:
        """The lowest validation loss by then; infinite if there is none."""
        return min((loss for time, loss in self.improvements if time <= second), default=math.inf)

    def reached(self, loss: float) -> float:
        """Seconds until there was a loss as low as this; infinite if there never was."""
        return next((time for time, found in self.improvements if found <= loss), math.inf)


def read_lines(file: Path, of: Callable[[dict[str, Any]], T]) -> list[T]:
    """The runs that a file has, one a line of JSON; none if there is no such file.

    `of` makes a run of what a line has.

    Raises:
        InputError: a line is no run.
    """
    if not file.exists():
        return []
    runs = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            runs.append(of(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{file}:{number}: {reason}; expected a run, as JSON") from None
    return runs


def check_same(file: Path, runs: Iterable[object], **expected: object) -> None:
    """Refuse to mix runs that cannot be compared, by their fields.

    Raises:
        InputError: one differs.
    """
    for run in runs:
        for name, value in expected.items():
            if (found := getattr(run, name)) != value:
                text = f"{file}: has runs with {name} {found!r}, expected {value!r}"
                raise InputError(f"{text}; try another --out")


def append(file: Path, run: Any) -> None:
    """Add a run, a dataclass, to those that a file has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(asdict(run), allow_nan=False) + "\n")


def laid_out(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a table as text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def shown(value: float, form: str) -> str:
    """A number, or that it was never reached."""
    return f"{value:{form}}" if math.isfinite(value) else "never"


def above_zero(text: str) -> float:
    """A number above 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return value


def own_program() -> Path:
    """The path of `lstm-sweep` beside the Python that runs."""
    return Path(sys.executable).with_name(OURS)


def run_alone(command: Sequence[str], folder: Path, log: Path, until: float) -> int:
    """Run a program in a folder, with a store of its own there, and end it at a time.

    Returns its code, which is 0 if it had to be ended. `until` is in seconds since 1970.
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
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(max(0.0, until - time.time()))
            return process.poll() or 0
        finally:
            _end(process, mark)


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
        left = with_environment(MARK, mark)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return
        time.sleep(0.1)


class Kept:
    """The one sweep in the store of a folder, as MLflow has it; without one there is no loss."""

    def __init__(self, folder: Path) -> None:
        import mlflow

        self._client = mlflow.MlflowClient(_store(folder))
        places = [one.experiment_id for one in self._client.search_experiments()]
        runs = self._client.search_runs(places, max_results=5_000)
        trials = [run for run in runs if Tag.TRIAL in run.data.tags]
        #: the runs of the sweep, of which there is one at most
        self._own = [run for run in runs if run.data.tags.get(Tag.ROLE) == "sweep"]
        #: when its first trial began, in seconds since 1970
        self.first_trial = min((run.info.start_time / 1000 for run in trials), default=math.inf)
        rounds = (Tags(run).whole(Tag.ROUNDS_PER_EPOCH, 1, default=1) for run in trials)
        self.rounds_per_epoch = max(rounds, default=1)

    @property
    def tags(self) -> Tags:
        """Those of the run of the sweep."""
        return Tags(self._own[0])

    def improvements(self, begin: float, most_s: float) -> list[tuple[float, float]]:
        """When the best loss fell, in seconds since `begin`, and to what."""
        best, found = math.inf, list[tuple[float, float]]()
        for run in self._own:
            logged = self._client.get_metric_history(run.info.run_id, "best_val_loss")
            for at, loss in sorted((one.timestamp / 1000 - begin, one.value) for one in logged):
                if at <= most_s and loss < best:
                    best = loss
                    found.append((round(at, 3), loss))
        return found


def _store(folder: Path) -> str:
    """Where a contestant that runs in this folder tracks its runs."""
    return f"sqlite:///{folder / STORE}"


def rescored(sweep: str, store: Path, count: int) -> tuple[int, float]:
    """Validation targets and the loss on them in nats, of the network that a sweep has found best.

    A sweep chooses the best round of the best of many trials by a few thousand targets. So its loss
    is lower than that of the same network on others, and uncertain by the draw of the targets: by
    0.03 nats where the loss of a symbol has a deviation of 1.5 and 2,304 are scored. The folder
    `store` has the sweep; the targets are at most `count`, or all.
    """
    import lstm_sweep
    from lstm_sweep._launch import settings_of
    from lstm_sweep.models.bundle import bundle as bundles
    from lstm_sweep.models.data.windows import scoring_targets
    from lstm_sweep.models.network.evaluation import evaluate
    from lstm_sweep.search.actions.export import choose
    from lstm_sweep.search.actions.inference import predictor_of
    from lstm_sweep.search.driver.corpus_task import load_same_corpus
    from lstm_sweep.search.store import reader
    from lstm_sweep.search.store.tracking import MlflowStore

    record = choose(MlflowStore(settings_of(store)), sweep)
    source, scoring = reader.read_source(record)
    corpus = load_same_corpus(source, record)
    model = lstm_sweep.sweep(sweep, store=store).best.export(store / "rescored")
    folder, bundle = bundles.read(str(model.folder))
    targets = scoring_targets(corpus.validation, count, scoring.seed)
    predictor = predictor_of(folder, bundle, seed=0)
    found = evaluate(predictor, bundle.config, corpus, corpus.validation, targets)
    return len(targets), found["loss"]
