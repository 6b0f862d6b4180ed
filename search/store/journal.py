"""Writes a sweep and its trials into the store: runs with their names, params, tags and metrics.

A sweep is a parent run, and each attempt of a trial is a child run. The run of a trial contains all
that is needed to repeat the trial.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from lstm_sweep.models.baselines import BaselineScore
from lstm_sweep.models.scoring import bits
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.store.base import TAG_LENGTH, now_ms
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.tags import Tag, device_tags
from lstm_sweep.search.store.writer import Write, Writer, write_all
from lstm_sweep.search.values.device import Device
from lstm_sweep.search.values.progress import TrialProgress, comparable
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.stop_reason import Stop, SweepStatus
from lstm_sweep.search.values.trial import Ended, Phase, Trial, TrialFiles

PACKAGES = ("lstm-sweep", "keras", "tensorflow", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the bits of a trial depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


#: values of each round in the tag `Tag.CURVE`, from which a sweep is resumed
CURVE = ("val_loss", "round_seconds")
#: reason of a trial whose driver was killed, for people
DRIVER_DIED = "the program that drove the sweep died"
#: characters of the longest reason
LONGEST_REASON = 500
#: bytes of a trial's output that are kept
LONGEST_LOG = 1 << 24


def written_reason(ended: Ended) -> str:
    """Why a trial has ended, without secrets and cut to `LONGEST_REASON`."""
    return without_secrets(ended.reason)[:LONGEST_REASON]


def end_tags(progress: TrialProgress, ended: Ended) -> dict[str, str]:
    """How a trial has ended, and its rounds, from which a sweep is resumed."""
    tags = {Tag.OUTCOME: str(ended.outcome), Tag.REASON: written_reason(ended)}
    if ended.unfinished:
        tags[Tag.UNFINISHED] = "yes"
    if progress.waited:
        tags[Tag.SECONDS] = f"{progress.seconds:.3f}"
        if not ended.unfinished:
            tags[Tag.PAUSED] = ""
    curve = json_text([[one.get(name) for name in CURVE] for one in progress.rounds])
    if len(curve) <= TAG_LENGTH:
        tags[Tag.CURVE] = curve
    scoring = [one.get("scoring_seconds") for one in progress.rounds]
    measured = [None if seconds is None else round(seconds, 3) for seconds in scoring]
    if any(scoring) and len(text := json_text(measured)) <= TAG_LENGTH:
        tags[Tag.SCORING_SECONDS] = text
    return {str(name): text for name, text in tags.items()}


def lost_with_driver(ended: Ended) -> dict[str, str]:
    """The tags of an attempt that its driver has left open, and that ended so."""
    tags = {Tag.OUTCOME: str(ended.outcome), Tag.REASON: ended.reason}
    return tags | dict.fromkeys((Tag.UNFINISHED, Tag.DRIVER_DIED), "yes")


def was_lost_with_driver(tags: Mapping[str, str]) -> bool:
    """Whether an attempt with these tags ended with its driver."""
    return tags.get(Tag.DRIVER_DIED) == "yes"


def end_of(log: Path) -> str:
    """The last `LONGEST_LOG` bytes of a trial's output, without secrets."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_LOG))
        return without_secrets(file.read().decode("utf-8", "replace"))


def round_metrics(progress: TrialProgress) -> dict[str, float]:
    """Metrics of the last round of a trial, with the best ones so far."""
    trial = progress.trial
    done = float(trial.epochs_after(len(progress.rounds)))
    found = progress.rounds[-1] | {"epochs_done": done}
    if progress.best_round is not None:
        found["best_epoch"] = float(trial.epochs_after(progress.best_round))
    if progress.best_loss is not None:
        found["best_val_loss"] = progress.best_loss
    in_bits = progress.trial.objective.bits_per_symbol(progress.best_loss)
    if in_bits is not None:
        found["bits_per_symbol"] = in_bits
    return found


def result(progress: TrialProgress) -> dict[str, float] | None:
    """The loss that a trial has returned, as a metric; None without a finite loss."""
    loss = comparable(progress.ended.loss) if progress.ended else None
    return None if loss is None else {"best_val_loss": loss}


WEIGHTS = "model"
#: beginning of the name of a metric of a sweep that is the loss of a baseline
BASELINE = "baseline_"
#: version of the layout of a sweep's runs; those of another are refused
SCHEMA = 3
#: rounds that are logged in one request, at most; MLflow takes 1,000 metrics, a round has a dozen
MOST_HELD = 50
#: characters of a part of the spec in one tag
CHUNK = 7_500


def spec_tags(
    spec: SweepSpec, name: str, before: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The spec of a sweep as tags, which are written at the creation of its run.

    `before` are the tags of an existing run: parts of a longer spec are overwritten with "".
    """
    text = json.dumps(spec.to_dict() | {"name": name})
    parts = [text[begin : begin + CHUNK] for begin in range(0, len(text), CHUNK)]
    emptied = {key: "" for key in before or {} if key.startswith(Tag.SPEC)}
    return (
        emptied
        | {f"{Tag.SPEC}{number}": part for number, part in enumerate(parts)}
        | {
            Tag.SPEC_DIGEST: spec.digest(),
            Tag.SPACE_DIGEST: spec.space.digest(),
        }
    )


@dataclass(frozen=True)
class Dataset:
    """What the runs of a sweep are about."""

    name: str
    #: its fingerprint
    digest: str
    #: path of its files, or name of a sample
    source: str


#: number of a trial, and which attempt at it
Attempt = tuple[int, int]


def attempt_of(trial: Trial) -> Attempt:
    """By what a trial is known before it has a run."""
    return trial.number, trial.attempt


class Journal:
    """Writes the runs of one sweep, in the order in which its methods are called.

    None of them waits for the store: a `Writer` makes the requests. Rounds of a trial that wait
    are logged in one request, with its params or its end if these wait too.
    """

    def __init__(
        self,
        writer: Writer,
        run_id: str,
        dataset: Dataset,
        tags: dict[str, str],
        step: int | None = None,
        created: Callable[[Trial, str], None] = lambda trial, run_id: None,
    ) -> None:
        """`step` is the last step of the sweep's metrics, if an earlier driver has logged any.

        `created` is told which run a trial has got.
        """
        self.writer, self._store = writer, writer.store
        #: the parent run
        self.run_id = run_id
        self._dataset, self._created = dataset, created
        self._step = step or 0
        #: the best loss that was logged last; NaN if it is to be logged whatever it is
        self._best_loss = None if step is None else math.nan
        #: logs the latest progress, and whether a write waits that does so
        self._latest: Write = lambda: None
        self._is_latest_queued = False
        #: when the last run was created: runs are listed in the order of these times
        self._created_ms = 0
        #: run of each attempt at a trial that has one
        self.runs: dict[Attempt, str] = {}
        #: attempts whose ends are not written yet
        self.unclosed = set[Attempt]()
        #: metrics of rounds that are to be logged, by the round
        self._held: dict[Attempt, dict[int, dict[str, float]]] = {}
        #: params that are to be logged
        self._params: dict[Attempt, dict[str, Any]] = {}
        #: attempts whose end waits, with which what is held is logged once an end is wanted
        self._ending = set[Attempt]()
        #: ends of trials that are to be written side by side; None if each is a write by itself
        self._beside: list[Write] | None = None
        #: attempts of which a write waits that logs what is held
        self._queued = set[Attempt]()
        #: tags that all runs of the sweep have: data, versions
        self._common = tags | {f"{Tag.VERSION}{name}": text for name, text in versions().items()}

    def describe(self, spec: SweepSpec, name: str, known: frozenset[str] = frozenset()) -> None:
        """Write the spec and the data of the sweep; params in `known` are already written."""
        written = spec.to_dict() | {"name": name}
        params = {key: value for key, value in written.items() if key != "space"}
        params |= {f"space.{key}": json.dumps(value) for key, value in written["space"].items()}
        new = {key: value for key, value in params.items() if key not in known}
        own = spec.file_content() | {"name": name}
        text = yaml.safe_dump(own, sort_keys=False, allow_unicode=True)

        def write() -> None:
            if new:
                self._store.log(self.run_id, params=new)
            self._store.log_dataset(self.run_id, **asdict(self._dataset))
            self._store.keep_text(self.run_id, text, "sweep.yaml")

        self.writer.put(write)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Log tags of the sweep."""
        self.writer.put(partial(self._store.log, self.run_id, tags=dict(tags)))

    def log_progress(self, trials: int, best_loss: float | None) -> None:
        """Log the number of trials that have ended, and the best loss so far, nats.

        Without one, NaN takes the place of that of a trial that was the best and has failed. The
        step is the number of trials, or that of an earlier call if it was larger, since MLflow
        takes the value with the largest step as the latest.
        """
        metrics = {"trials_done": float(trials)}
        if best_loss is not None or self._best_loss is not None:
            metrics["best_val_loss"] = math.nan if best_loss is None else best_loss
        self._step, self._best_loss = max(self._step, trials), best_loss
        log = partial(self._store.log, self.run_id)
        self._latest = partial(log, metrics=metrics, step=self._step, at_ms=now_ms())
        if not self._is_latest_queued:
            self._is_latest_queued = True
            self.writer.put(self._log_latest)

    def _log_latest(self) -> None:
        """Log the latest progress; what was to be logged while this waited is part of it."""
        self._is_latest_queued = False  # from here on, what is newer needs another write
        self._latest()

    def is_news(self, loss: float | None) -> bool:
        """Whether the best loss may be another one than was logged last, now that there is this."""
        logged = self._best_loss
        if loss is None:
            return logged is not None and math.isnan(logged)
        return logged is None or not loss >= logged

    def was_news(self, loss: float | None) -> bool:
        """The same now that a trial with this loss has ended, so that it may count no more."""
        return loss == self._best_loss or self.is_news(loss)

    def follow(self, trials: int, best_loss: float | None, *, new_best: bool) -> None:
        """Do the same if the best loss is another one than was logged last, or if `new_best`."""
        if new_best or best_loss != self._best_loss:
            self.log_progress(trials, best_loss)

    def close_sweep(
        self,
        state: SweepStatus,
        why: Stop,
        seconds: float,
        note: str,
        more: Mapping[str, str],
        *,
        has_result: bool,
    ) -> None:
        """Log how the sweep ended and release its lease, and then log its status.

        `note` is shown at the top of the run's page in the MLflow UI, `seconds` is the total time
        for which the sweep was driven, and `more` are further tags of the result. `has_result` says
        whether a trial has a loss.
        """
        tags = {Tag.STATE: str(state), Tag.REASON: without_secrets(why.text)[:500]}
        tags[Tag.STOP_REASON] = str(why.reason)
        tags |= {Tag.LEASE: "", Tag.SECONDS: f"{seconds:.3f}", Tag.NOTE: note}

        def close() -> None:
            self.writer.regularly(None)
            self._store.log(self.run_id, tags=tags | dict(more))
            if state is SweepStatus.PAUSED:
                self._store.reopen(self.run_id, "SCHEDULED")
            else:
                self._store.finish(self.run_id, state.run_status(has_result=has_result))

        self.writer.put(close)

    def open_trial(
        self,
        trial: Trial,
        device: Device,
        known: Mapping[str, int | float],
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Create the run of a trial, and log its config and what is `known` of its network.

        MLflow creates a run without params, so they are logged by a second request.
        """
        own = {
            Tag.NAME: trial.sweep,
            Tag.TRIAL: str(trial.number),
            Tag.ATTEMPT: str(trial.attempt),
            Tag.PHASE: str(trial.phase),
            Tag.VALS: json.dumps(trial.point),
            Tag.SEED: str(trial.seed),
            Tag.CONFIG: json.dumps(trial.config.to_dict()),
        }
        if trial.rounds_per_epoch > 1:
            own[Tag.ROUNDS_PER_EPOCH] = str(trial.rounds_per_epoch)
        if trial.steps is not None:
            own[Tag.STEPS] = str(trial.steps)
        if trial.most_rounds is not None:
            own[Tag.MOST_ROUNDS] = str(trial.most_rounds)
        own |= device_tags(device)
        name = trial.id + (f" (attempt {trial.attempt})" if trial.attempt > 1 else "")
        name += " (rerun)" if trial.phase is Phase.RERUN else ""
        create = self._creation(name, {**own, **(tags or {})})
        attempt = attempt_of(trial)

        def write() -> None:
            self.runs[attempt] = run_id = create()
            self.writer.tell(partial(self._created, trial, run_id))

        self.unclosed.add(attempt)
        self._held[attempt] = {}
        self._params[attempt] = {**trial.config.to_dict(), **known}
        self.writer.put(write)
        self._log_soon(attempt)

    def _creation(self, name: str, tags: Mapping[str, str]) -> Callable[[], str]:
        """What creates a child run, once, however often it is called after answers were lost."""
        own = {**self._common, **tags, Tag.CREATION: uuid.uuid4().hex}
        self._created_ms = max(self._created_ms + 1, now_ms())
        return cache(partial(self._store.create_run, name, own, self.run_id, self._created_ms))

    def take_up(self, progress: TrialProgress) -> None:
        """Know the run of a trial that was begun by an earlier driver."""
        attempt = attempt_of(progress.trial)
        self.runs[attempt] = progress.run_id
        self._held[attempt] = {}

    def log_round(self, progress: TrialProgress, *, soon: bool = True) -> None:
        """Log the last round, and the best one so far.

        Not `soon`, it is logged with the next one, or when the trial waits or ends.
        """
        attempt = attempt_of(progress.trial)
        held = self._held[attempt]
        held[len(progress.rounds)] = round_metrics(progress)
        if soon or len(held) >= MOST_HELD:
            self._log_soon(attempt)

    def _log_soon(self, attempt: Attempt) -> None:
        """Let what is held of a trial be logged, unless that waits to be done already."""
        if attempt in self._queued:
            return
        at_ms = now_ms()

        def write(run_id: str) -> None:
            self._queued.discard(attempt)
            if not (attempt in self._ending and self.writer.interrupts.signal_number):
                self._log_held(attempt, run_id, at_ms)

        self._queued.add(attempt)
        self._put(attempt, write)

    def _put(
        self, attempt: Attempt, write: Callable[[str], None], beside: list[Write] | None = None
    ) -> None:
        """Let something be written into the run of a trial, if that could be created.

        It is a write by itself, or one of those that are made `beside` each other.
        """

        def with_run() -> None:
            if run_id := self.runs.get(attempt):
                write(run_id)

        if beside is None:
            self.writer.put(with_run)
        else:
            beside.append(with_run)

    def _log_held(
        self,
        attempt: Attempt,
        run_id: str,
        at_ms: int,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Log what is held of a trial, in one request with tags, and with metrics of a step.

        There are more if there are too many rounds. What is held meanwhile stays.
        """
        params = self._params.pop(attempt, None)
        held = dict(self._held[attempt])
        if metrics:
            held[step] = {**held.get(step, {}), **metrics}
        try:
            while len(held) > MOST_HELD:
                some = sorted(held)[:MOST_HELD]
                earlier = {number: held.pop(number) for number in some}
                self._store.log(run_id, steps=earlier, at_ms=at_ms)
                self._forget(attempt, some)
            if held or tags or params:
                *before, last = sorted(held) or [step]
                earlier = {number: held[number] for number in before}
                self._store.log(
                    run_id, metrics=held.get(last), params=params, tags=tags, step=last,
                    steps=earlier, at_ms=at_ms,
                )  # fmt: skip
        except StoreError:  # else they are what the store refuses
            if params:
                self._params[attempt] = params
            raise
        self._forget(attempt, held)

    def _forget(self, attempt: Attempt, rounds: Iterable[int]) -> None:
        """Hold rounds no longer that are logged."""
        for number in rounds:
            self._held[attempt].pop(number, None)

    def pause_trial(self, progress: TrialProgress) -> None:
        """Log that a trial waits for a slot, and its rounds that are held."""
        waits = Tag.MAKES_ROOM if progress.preempted else Tag.PAUSED
        tags = {waits: progress.paused, Tag.SECONDS: f"{progress.seconds:.3f}"}
        attempt, at_ms = attempt_of(progress.trial), now_ms()

        def write(run_id: str) -> None:
            self._log_held(attempt, run_id, at_ms, tags)
            self._store.reopen(run_id, "SCHEDULED")

        self._put(attempt, write)

    def wait_again(self, progress: TrialProgress) -> None:
        """Log that a trial which was paused when its sweep was broken off still waits."""
        of_its_end = (Tag.OUTCOME, Tag.REASON, Tag.CURVE, Tag.DRIVER_DIED)
        tags = dict.fromkeys(of_its_end, "")

        def write(run_id: str) -> None:
            self._store.log(run_id, tags=tags | {Tag.PAUSED: progress.paused})
            self._store.drop_tag(run_id, Tag.UNFINISHED)
            self._store.reopen(run_id, "SCHEDULED")

        self._put(attempt_of(progress.trial), write)

    def resume_trial(self, progress: TrialProgress, device: Device) -> None:
        """Log that a trial that was paused goes on, perhaps on another device."""
        waits = Tag.MAKES_ROOM if progress.preempted else Tag.PAUSED

        def write(run_id: str) -> None:
            self._store.log(run_id, tags={waits: "", **device_tags(device)})
            self._store.reopen(run_id)

        self._put(attempt_of(progress.trial), write)

    def close_trial(
        self,
        progress: TrialProgress,
        files: TrialFiles | None,
        *,
        keep: bool,
        remove: Path | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Store the best network if `keep`, log the outcome, and then the status.

        `files` are what the trial has written; None if it has never been started. Rounds that are
        not logged yet are part of the same request, and so are `more` tags. `remove` is a folder
        that is needed until then.
        """
        ended, attempt = progress.ended, attempt_of(progress.trial)
        assert ended
        last = round_metrics(progress) if progress.unlogged else result(progress)
        tags = end_tags(progress, ended) | dict(more or {})
        status = ended.outcome.status(has_result=progress.best_loss is not None)
        # the next attempt writes to the same file
        failed = not ended.outcome.ranks and files and files.log.exists()
        log, at_ms = end_of(files.log) if failed and files else "", now_ms()

        def write(run_id: str) -> None:
            kept = self._keep_weights(run_id, progress, files) if keep and files else {}
            if log and files:
                self._store.keep_text(run_id, log, files.log.name)
            self._log_held(attempt, run_id, at_ms, tags | kept, len(progress.rounds), last)
            self._store.finish(run_id, status, at_ms)
            self.unclosed.discard(attempt)
            self._ending.discard(attempt)
            self._held.pop(attempt, None)
            if remove:
                shutil.rmtree(remove, ignore_errors=True)

        self.unclosed.add(attempt)
        self._ending.add(attempt)
        self._put(attempt, write, self._beside)

    @contextlib.contextmanager
    def side_by_side(self) -> Iterator[None]:
        """Within, the ends of trials are written several at a time if the store is a server."""
        if not self._store.settings.is_server:
            yield
            return
        self._beside = waiting = list[Write]()
        try:
            yield
        finally:
            self._beside = None
            self.writer.put(partial(write_all, waiting))

    def _keep_weights(
        self, run_id: str, progress: TrialProgress, files: TrialFiles
    ) -> dict[str, str]:
        """Store the best network of a trial, if there is time for it; the tags that say so."""
        if self.writer.is_short_of_time:
            return {}
        kept: dict[str, str] = {Tag.WEIGHTS: "kept"}
        config = json.dumps(progress.trial.config.to_dict(), indent=2)
        try:
            self._store.keep_file(run_id, files.weights, WEIGHTS)
            self._store.keep_text(run_id, config, f"{WEIGHTS}/config.json")
            if files.inputs.exists():
                self._store.keep_file(run_id, files.inputs, WEIGHTS)
                kept[Tag.INPUTS] = "kept"
        except StoreError:
            if not self.writer.interrupts.signal_number:
                raise
            return {}  # there was no time for it, but may be for the end of the trial
        return kept

    def drop_weights(self, attempt: Attempt) -> None:
        """Delete the network of a trial that is no longer among the best."""

        def write(run_id: str) -> None:
            self._store.drop_folder(run_id, WEIGHTS)
            self._store.log(run_id, tags={Tag.WEIGHTS: "dropped"})

        self._put(attempt, write)

    def log_baseline(self, score: BaselineScore, run_id: str | None = None) -> None:
        """Log a baseline as a child run: `run_id` if it was begun before, or a new one."""
        tags = {Tag.PHASE: str(Phase.BASELINE), Tag.BASELINE: score.name}
        create = self._creation(f"{self._common[Tag.NAME]}/{score.name}", tags)
        loss, at_ms = score.metrics["loss"], now_ms()

        def write() -> None:
            own = run_id or create()
            self._store.log(
                own,
                params={"baseline": score.name, **asdict(score.model)},
                metrics={f"val_{name}": value for name, value in score.metrics.items()}
                | {"best_val_loss": loss, "bits_per_symbol": bits(loss)},
                at_ms=at_ms,
            )
            # beside the best loss of the sweep, so that a list of sweeps needs no other run
            self._store.log(self.run_id, metrics={f"{BASELINE}{score.name}": loss}, at_ms=at_ms)
            self._store.finish(own, "FINISHED", at_ms)

        self.writer.put(write)
