"""Writes a sweep and its trials into the store: runs with their names, params, tags and metrics.

A sweep is a parent run, and each attempt of a trial is a child run. The run of a trial contains all
that is needed to repeat the trial.
"""

from __future__ import annotations

import collections
import contextlib
import json
import math
import os
import platform
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lstm_sweep.models.baselines import BaselineScore
from lstm_sweep.models.scoring import bits
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.device import Device
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.store.base import TAG_LENGTH, at_once
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.tags import Tag, device_tags
from lstm_sweep.search.store.tracking import Store
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


Item = TypeVar("Item")

#: requests at a time; MLflow's client has ten connections
AT_ONCE = 8


def each_of(items: Iterable[Item], ask: Callable[[Store, Item], None], store: Store) -> list[Item]:
    """Call `ask` for each of the items, many at a time; those for which it did not fail.

    Nothing is tried again, and nothing more is begun once a request has a time limit, and reaches
    it.
    """
    waiting = collections.deque(items)
    answers: queue.SimpleQueue[tuple[Item, bool]] = queue.SimpleQueue()
    other, count = at_once(store), len(waiting)

    def work() -> None:
        while waiting:
            with contextlib.suppress(IndexError):  # another thread has taken the last
                item = waiting.popleft()
                answers.put((item, _asked(ask, other, item)))

    for _ in range(min(AT_ONCE, count)):
        # it does not keep the program from ending if the server is mute
        threading.Thread(target=work, name="requests", daemon=True).start()
    done = list[Item]()
    with contextlib.suppress(TimeoutError):
        for _ in range(count):
            with store.limit_request():
                item, succeeded = answers.get()
            if succeeded:
                done.append(item)
    waiting.clear()
    return done


def _asked(ask: Callable[[Store, Item], None], store: Store, item: Item) -> bool:
    try:
        ask(store, item)
    except Exception:
        return False
    return True


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


class Journal:
    """Writes the runs of one sweep."""

    def __init__(
        self,
        store: Store,
        run_id: str,
        dataset: Dataset,
        tags: dict[str, str],
        step: int | None = None,
    ) -> None:
        """`step` is the last step of the sweep's metrics, if an earlier driver has logged any."""
        self.store = store
        #: the parent run
        self.run_id = run_id
        self._dataset = dataset
        self._step = step or 0
        #: the best loss that was logged last; NaN if it is to be logged whatever it is
        self._best_loss = None if step is None else math.nan
        #: metrics of rounds that are to be logged, by the run and the round
        self._held: dict[str, dict[int, dict[str, float]]] = {}
        #: params of trials that are to be logged, by the run
        self._params: dict[str, dict[str, Any]] = {}
        #: runs of trials of which this is to be logged soon, the first first
        self._queue: dict[str, None] = {}
        #: runs of trials that `close_ahead` has closed
        self._closed = set[str]()
        #: tags that all runs of the sweep have: data, versions
        self._common = tags | {f"{Tag.VERSION}{name}": text for name, text in versions().items()}

    def describe(self, spec: SweepSpec, name: str, known: frozenset[str] = frozenset()) -> None:
        """Write the spec and the data of the sweep; params in `known` are already written."""
        written = spec.to_dict() | {"name": name}
        params = {key: value for key, value in written.items() if key != "space"}
        params |= {f"space.{key}": json.dumps(value) for key, value in written["space"].items()}
        if new := {key: value for key, value in params.items() if key not in known}:
            self.store.log(self.run_id, params=new)
        self.store.log_dataset(self.run_id, **asdict(self._dataset))
        own = spec.file_content() | {"name": name}
        text = yaml.safe_dump(own, sort_keys=False, allow_unicode=True)
        self.store.keep_text(self.run_id, text, "sweep.yaml")

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
        self.store.log(self.run_id, metrics=metrics, step=self._step)

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
        self.store.log(self.run_id, tags=tags | dict(more))
        if state is SweepStatus.PAUSED:
            self.store.reopen(self.run_id, "SCHEDULED")
        else:
            self.store.finish(self.run_id, state.run_status(has_result=has_result))

    def open_trial(
        self, trial: Trial, device: Device, tags: Mapping[str, str] | None = None
    ) -> str:
        """Create the run of a trial; return its ID."""
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
        return self.store.create_run(name, {**self._common, **own, **(tags or {})}, self.run_id)

    def queue_config(self, progress: TrialProgress, known: Mapping[str, int | float]) -> None:
        """Let `log_next` log a trial's config, and what is `known` of its untrained network."""
        self._params[progress.run_id] = {**progress.trial.config.to_dict(), **known}
        self._queue[progress.run_id] = None

    def log_config(self, progress: TrialProgress, known: Mapping[str, int | float]) -> None:
        """Log the same at once."""
        self.queue_config(progress, known)
        self._log_held(progress.run_id)

    def hold_round(self, progress: TrialProgress) -> None:
        """Keep the last round, to be logged with the next one, or when the trial waits or ends."""
        held = self._held.setdefault(progress.run_id, {})
        held[len(progress.rounds)] = round_metrics(progress)
        if len(held) >= MOST_HELD:
            self._queue[progress.run_id] = None

    def log_round(self, progress: TrialProgress) -> None:
        """Log the last round, the best one so far, and those that were held."""
        self.hold_round(progress)
        self._log_held(progress.run_id)

    def queue_round(self, progress: TrialProgress) -> None:
        """Let `log_next` log the rounds of a trial that are held.

        Neither this nor `hold_round` makes a request.
        """
        if progress.run_id in self._held:
            self._queue[progress.run_id] = None

    @property
    def is_behind(self) -> bool:
        """Whether something is queued."""
        return bool(self._queue)

    def log_next(self) -> None:
        """Log what is held of the trial that is queued for longest; there must be one."""
        self._log_held(next(iter(self._queue)))

    def _log_held(
        self,
        run_id: str,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
        metrics: Mapping[str, float] | None = None,
        store: Store | None = None,
    ) -> None:
        """Log what is held of a trial, in one request with tags, and with metrics of a step.

        There are more if there are too many rounds. What is held meanwhile stays.
        """
        store = store or self.store
        held, params = dict(self._held.get(run_id, {})), self._params.pop(run_id, None)
        self._queue.pop(run_id, None)
        if metrics:
            held[step] = {**held.get(step, {}), **metrics}
        try:
            while len(held) > MOST_HELD:
                some = sorted(held)[:MOST_HELD]
                store.log(run_id, earlier={number: held.pop(number) for number in some})
                self._forget(run_id, some)
            if held or tags or params:
                *earlier, last = sorted(held) or [step]
                before = {number: held[number] for number in earlier}
                store.log(
                    run_id, metrics=held.get(last), params=params, tags=tags, step=last,
                    earlier=before,
                )  # fmt: skip
        except (StoreError, KeyboardInterrupt):  # else they are what the store refuses
            if params:
                self._params[run_id] = params
            raise
        self._forget(run_id, held)

    def _forget(self, run_id: str, rounds: Iterable[int]) -> None:
        """Hold rounds no longer that are logged."""
        held = self._held.get(run_id, {})
        for number in rounds:
            held.pop(number, None)
        if not held:
            self._held.pop(run_id, None)

    def pause_trial(self, progress: TrialProgress) -> None:
        """Log that a trial waits for a slot, and its rounds that are held."""
        waits = Tag.MAKES_ROOM if progress.preempted else Tag.PAUSED
        tags = {waits: progress.paused, Tag.SECONDS: f"{progress.seconds:.3f}"}
        self._log_held(progress.run_id, tags)
        self.store.reopen(progress.run_id, "SCHEDULED")

    def wait_again(self, progress: TrialProgress) -> None:
        """Log that a trial which was paused when its sweep was broken off still waits."""
        of_its_end = (Tag.OUTCOME, Tag.REASON, Tag.CURVE, Tag.DRIVER_DIED)
        tags = dict.fromkeys(of_its_end, "")
        self.store.log(progress.run_id, tags=tags | {Tag.PAUSED: progress.paused})
        self.store.drop_tag(progress.run_id, Tag.UNFINISHED)
        self.store.reopen(progress.run_id, "SCHEDULED")

    def resume_trial(self, progress: TrialProgress, device: Device) -> None:
        """Log that a trial that was paused goes on, perhaps on another device."""
        waits = Tag.MAKES_ROOM if progress.preempted else Tag.PAUSED
        self.store.log(progress.run_id, tags={waits: "", **device_tags(device)})
        self.store.reopen(progress.run_id)

    def close_trial(self, progress: TrialProgress, files: TrialFiles | None, *, keep: bool) -> None:
        """Store the best network if `keep`, log the outcome, and then the status.

        `files` are what the trial has written; None if it has never been started.
        Rounds that are not logged yet are part of the same request.
        """
        assert progress.ended
        kept = self._keep_weights(progress, files) if keep and files else {}
        if not progress.ended.outcome.ranks and files and files.log.exists():
            self.store.keep_text(progress.run_id, end_of(files.log), files.log.name)
        if progress.run_id not in self._closed:
            self._close(self.store, progress, kept)
        elif kept:
            self.store.log(progress.run_id, tags=kept)

    def _keep_weights(self, progress: TrialProgress, files: TrialFiles) -> dict[str, str]:
        """Store the best network of a trial; the tags that say so."""
        kept: dict[str, str] = {Tag.WEIGHTS: "kept"}
        config = json.dumps(progress.trial.config.to_dict(), indent=2)
        self.store.keep_file(progress.run_id, files.weights, WEIGHTS)
        self.store.keep_text(progress.run_id, config, f"{WEIGHTS}/config.json")
        if files.inputs.exists():
            self.store.keep_file(progress.run_id, files.inputs, WEIGHTS)
            kept[Tag.INPUTS] = "kept"
        return kept

    def close_ahead(self, trials: Iterable[TrialProgress]) -> None:
        """Log outcome and status of trials that have ended, of many at a time if a server does.

        What fails, `close_trial` does, and what concerns files.
        """
        if not self.store.has_one_writer:
            close = partial(self._close, kept={})
            self._closed |= {one.run_id for one in each_of(trials, close, self.store)}

    def _close(self, store: Store, progress: TrialProgress, kept: Mapping[str, str]) -> None:
        assert progress.ended
        last = round_metrics(progress) if progress.unlogged else result(progress)
        tags = end_tags(progress, progress.ended) | dict(kept)
        self._log_held(progress.run_id, tags, len(progress.rounds), last, store)
        has_result = progress.best_loss is not None
        store.finish(progress.run_id, progress.ended.outcome.status(has_result=has_result))

    def drop_weights(self, run_id: str) -> None:
        """Delete the network of a trial that is no longer among the best."""
        self.store.drop_folder(run_id, WEIGHTS)
        self.store.log(run_id, tags={Tag.WEIGHTS: "dropped"})

    def log_baseline(self, score: BaselineScore, run_id: str | None = None) -> None:
        """Log a baseline as a child run: `run_id` if it was begun before, or a new one."""
        tags = {Tag.PHASE: str(Phase.BASELINE), Tag.BASELINE: score.name}
        name = f"{self._common[Tag.NAME]}/{score.name}"
        run_id = run_id or self.store.create_run(name, {**self._common, **tags}, self.run_id)
        loss = score.metrics["loss"]
        self.store.log(
            run_id,
            params={"baseline": score.name, **asdict(score.model)},
            metrics={f"val_{name}": value for name, value in score.metrics.items()}
            | {"best_val_loss": loss, "bits_per_symbol": bits(loss)},
        )
        # beside the best loss of the sweep, so that a list of sweeps needs no other run
        self.store.log(self.run_id, metrics={f"{BASELINE}{score.name}": loss})
        self.store.finish(run_id, "FINISHED")
