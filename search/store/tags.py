"""Tags of a run as typed values; all are checked, since other programs may have written them."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TypeVar

from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.models.errors import InputError, cut, shown
from lstm_sweep.search.policy.problem import EarlierBest
from lstm_sweep.search.process.files import replace_text
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.values.trial import Device

Words = TypeVar("Words", bound=StrEnum)

#: the largest whole number in a tag
LARGEST = 10**18 - 1
#: digits that such a number has, at most
WHOLE = re.compile(r"-?[0-9]{1,18}")
#: the most seconds in a tag, also since 1970: some 3,000 years
MOST_SECONDS = 1e11


class Tag:
    """Names of the tags of runs, of their data and of the experiment."""

    ATTEMPT = "sweep.attempt"
    BASELINE = "sweep.baseline"
    #: number of classes of labelled sequences; 0 as long as they are not read
    CLASSES = "sweep.classes"
    CONFIG = "sweep.config"
    CORPUS_DIGEST = "sweep.corpus_digest"
    #: changes of its spec with which a queued sweep goes on, as JSON; empty or missing: none
    CHANGES = "sweep.changes"
    #: what a client sends with a sweep, so that it is queued once though it is sent again
    CLIENT_TOKEN = "sweep.client_token"
    #: random ID by which a run is found whose creation was answered by an error
    CREATION = "sweep.creation"
    #: validation loss and seconds of each round, as JSON
    CURVE = "sweep.curve"
    DATA = "sweep.data"
    DATA_CONTEXT = "mlflow.data.context"
    DEVICE = "sweep.device"
    #: `yes` if an attempt of a trial has ended with the program that drove its sweep
    DRIVER_DIED = "sweep.driver_died"
    #: seconds for which a sweep that runs is expected to be driven in all
    EXPECTED_SECONDS = "sweep.expected_seconds"
    #: the best trials of earlier sweeps with whose configs a sweep was begun, as JSON
    PRIOR = "sweep.prior"
    #: what the runs of an experiment are, which decides on its page; a tag of the experiment
    EXPERIMENT_KIND = "mlflow.experimentKind"
    #: `kept` if inputs of a template's network are kept
    INPUTS = "sweep.inputs"
    #: process that drives a sweep, as JSON; empty once it has ended
    LEASE = "sweep.lease"
    #: trials whose networks a logged model averages
    AVERAGED = "sweep.averaged"
    #: lowest validation loss of a model, nats; a tag of a version in the registry
    MODEL_LOSS = "sweep.model_loss"
    NOTE = "mlflow.note.content"
    NAME = "sweep.name"
    #: node of a cluster that a trial was trained on, the last one if it was on several
    NODE = "sweep.node"
    OUTCOME = "sweep.outcome"
    OWNER = "sweep.owner"
    PARENT = "mlflow.parentRunId"
    #: why a trial that the search does not pause waits for a slot; empty or missing if it does not
    MAKES_ROOM = "sweep.makes_room"
    #: why a trial that has not ended waits for a slot; empty or missing if it does not
    PAUSED = "sweep.paused"
    #: rounds after which a trial ends; missing: after all epochs
    MOST_ROUNDS = "sweep.most_rounds"
    PHASE = "sweep.phase"
    #: sweeps with a higher one are given slots first; a whole number
    PRIORITY = "sweep.priority"
    PROGRAM = "mlflow.source.name"
    #: set before a sweep is deleted (`all`) or all of it but its best trial (`best`): it goes on
    #: no more
    PRUNED = "sweep.pruned"
    QUEUED = "sweep.queued"
    #: signature of a service: for whom, when and with which priority it drives a sweep
    QUEUE_SIGNATURE = "sweep.queue_signature"
    REASON = "sweep.reason"
    RERUN_OF = "sweep.rerun_of"
    #: rounds into which each epoch of a trial is divided; 1 if missing
    ROUNDS_PER_EPOCH = "sweep.rounds_per_epoch"
    #: `sweep` for a sweep's own run, `withdrawn` if another sweep got its name
    ROLE = "sweep.role"
    #: version of the layout of runs; 0 if missing
    FORMAT = "sweep.format"
    SCORING = "sweep.scoring"
    #: seconds of scoring of each round, to a millisecond, as JSON
    SCORING_SECONDS = "sweep.scoring_seconds"
    #: seconds for which a sweep was driven, or for which a trial that has waited had slots
    SECONDS = "sweep.seconds"
    SEED = "sweep.seed"
    #: steps of the optimizer after which a trial ends; missing: after all epochs
    STEPS = "sweep.steps"
    SIZE_RULE = "sweep.size_rule"
    SLOTS = "sweep.slots"
    #: seconds for which a sweep had slots, all slots together, up to when `SECONDS` was written
    SLOT_SECONDS = "sweep.slot_seconds"
    SPACE_DIGEST = "sweep.space_digest"
    #: prefix of the tags with the parts of a sweep's spec, followed by the number of the part
    SPEC = "sweep.spec."
    SPEC_DIGEST = "sweep.spec_digest"
    #: signature of a service: what it drives
    SPEC_SIGNATURE = "sweep.spec_signature"
    #: when a sweep that had waited in a queue was begun, seconds since 1970
    STARTED = "sweep.started"
    #: `queued`, `running`, or how a sweep has ended
    STATE = "sweep.state"
    #: when a sweep was queued, seconds since 1970
    SUBMITTED = "sweep.submitted"
    SUBMITTED_DIGEST = "sweep.submitted_digest"
    STOP = "sweep.stop"
    STOP_REASON = "sweep.stop_reason"
    TEMPLATE = "sweep.template"
    TIME = "sweep.time"
    TRIAL = "sweep.trial"
    #: why the best config of a sweep was not trained again; empty or missing if it was
    UNCONFIRMED = "sweep.unconfirmed"
    #: `yes` if a trial continues when its sweep is resumed
    UNFINISHED = "sweep.unfinished"
    #: share of the validation symbols that training data do not have; missing: none
    UNKNOWN_SHARE = "sweep.unknown_share"
    USER = "mlflow.user"
    VALS = "sweep.vals"
    VERDICT = "sweep.verdict"
    #: of the best trial of a sweep, what its verdicts say of sessions that it was not trained on,
    #: and of labelled ones, as JSON
    VERDICTS = "sweep.verdicts"
    LABELLED = "sweep.labelled"
    #: prefix of the tags of an experiment with shared views of its page, followed by their key
    VIEW_STATE = "mlflow.sharedViewState."
    #: for what slots a sweep waits that runs; empty or missing if it has some
    WAITS = "sweep.waits"
    #: prefix of the tags with the versions of packages, followed by the name of the package
    VERSION = "version."
    #: `kept` if a trial's weights are artifacts
    WEIGHTS = "sweep.weights"


class Tags(dict[str, str]):
    """The tags of one run.

    Every method that reads a tag raises `BadRunError` if the tag is missing without a default, or
    holds another kind of value.
    """

    run_id: str

    def __init__(self, run: Any) -> None:
        super().__init__(run.data.tags)
        self.run_id = str(run.info.run_id)

    @classmethod
    def of(cls, run_id: str, tags: Mapping[str, str]) -> Self:
        """Tags of a run that is not at hand."""
        found = cls.__new__(cls)
        found.run_id = run_id
        found.update(tags)
        return found

    def bad(self, name: str, expected: str) -> BadRunError:
        found = f"is {shown(self[name])}" if name in self else "is missing"
        return BadRunError(f"run {cut(self.run_id)}: tag {name} {found}: expected {expected}")

    def text(self, name: str, pattern: str = r"(?s).+", expected: str = "a text") -> str:
        if not re.fullmatch(pattern, found := self.get(name, "")):
            raise self.bad(name, expected)
        return found

    def whole(self, name: str, low: int, default: int | None = None, high: int = LARGEST) -> int:
        if name not in self and default is not None:
            return default
        found = self.get(name, "")
        if not WHOLE.fullmatch(found) or not low <= int(found) <= high:
            raise self.bad(name, f"a whole number from {low} to {high}")
        return int(found)

    def seconds(
        self, name: str, most: float = MOST_SECONDS, expected: str = "a number of seconds"
    ) -> float:
        """Seconds, also since 1970; 0 if the tag is missing."""
        try:
            found = float(self.get(name) or 0)
        except ValueError:
            found = math.nan
        if not 0 <= found <= most:
            raise self.bad(name, expected)
        return found

    def share(self, name: str) -> float:
        """A number from 0 to 1; 0 if the tag is missing."""
        return self.seconds(name, 1, "a share")

    def word(self, name: str, words: type[Words], *others: str) -> str:
        """A member of an enum or one of `others`; if these contain "", the tag may be missing."""
        found = self.get(name, "")
        if found not in [*words, *others]:
            raise self.bad(name, f"one of {', '.join([*words, *filter(None, others)])}")
        return found

    def json(self, name: str, kind: type, default: str = "") -> Any:
        """The JSON in a tag, of type `kind`; `default` is what a missing tag stands for."""
        try:
            found = json.loads(self.get(name, default))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, kind):
            raise self.bad(name, f"JSON of a {kind.__name__}")
        return found


def is_finite(value: object) -> bool:
    """Whether a JSON value is a finite number; integers at most `LARGEST`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= LARGEST


def point_of(tags: Tags) -> dict[str, float]:
    point: dict[str, float] = tags.json(Tag.VALS, dict, "{}")
    if not all(map(is_finite, point.values())):
        raise tags.bad(Tag.VALS, "a number for each hyperparameter")
    return point


def finite(metrics: Mapping[str, float], name: str) -> float | None:
    found = metrics.get(name)
    return found if is_finite(found) else None


def count(metrics: Mapping[str, float], name: str) -> int:
    """A metric that is a count; 0 if it is missing or out of range."""
    found = finite(metrics, name) or 0.0
    return int(found) if 0 <= found <= LARGEST else 0


def device_tags(device: Device) -> dict[str, str]:
    node = {} if device.node is None else {Tag.NODE: device.node}
    return {Tag.DEVICE: device.kind, **node}


def source_of(tags: Tags) -> Source:
    given = tags.json(Tag.DATA, dict)
    split = given.get("split")
    if not (isinstance(given.get("data"), str) and isinstance(split, list)):
        raise tags.bad(Tag.DATA, "data, symbols and split")
    if not all(map(is_finite, split)):
        raise tags.bad(Tag.DATA, "three shares as split")
    symbols, ends = given.get("symbols"), given.get("ends", False)
    try:
        more = {one.name: given[one.name] for one in fields(Source) if one.name in given}
        return Source(**more | {"symbols": symbols, "split": tuple(split), "ends": ends})
    except InputError as error:
        raise BadRunError(f"run {tags.run_id}: tag {Tag.DATA}: {error}") from None


def scoring_tag(scoring: Scoring) -> str:
    return json.dumps(asdict(scoring))


def scoring_of(tags: Tags) -> Scoring:
    given = tags.json(Tag.SCORING, dict)
    counts = {name: given.get(name) for name in ("targets", "seed", "adjacent")}
    numbers = [count for count in counts.values() if type(count) is int and 0 <= count <= LARGEST]
    if len(numbers) < len(counts) or not counts["adjacent"]:
        raise tags.bad(Tag.SCORING, "numbers of targets, of a seed, and of adjacent targets")
    return Scoring(**counts)


def prior_tag(prior: Sequence[EarlierBest]) -> dict[str, str]:
    """The tag about the trials that a sweep is begun with; none if there are none."""
    written = [[one.trial, one.config.to_dict()] for one in prior]
    return {Tag.PRIOR: json.dumps(written, separators=(",", ":"))} if prior else {}


#: tags that say what is driven, beside the parts of the spec, and those that say for whom and when
WHAT = (Tag.NAME, Tag.CHANGES)
WHEN = (Tag.NAME, Tag.OWNER, Tag.PRIORITY, Tag.SUBMITTED)
#: hexadecimal digits of a key
KEY_DIGITS = 64


class Signer:
    """Signs what a service queues, and knows its own signatures: it drives nothing else.

    Many may write to a store, but the key lies in the service's own folder. What is driven, the
    spec and the changes of it, has a signature of its own, since a driver signs the spec that it
    has settled while the service may give the sweep another priority. Both name the run, so they
    hold for no other one. Whoever may write to the store can still end a sweep or hide it, and put
    back what was signed for the same run before.
    """

    def __init__(self, file: Path) -> None:
        """The key is in a file, which is made if it is missing."""
        if not file.exists():
            replace_text(file, secrets.token_hex(KEY_DIGITS // 2), lasting=True)
        found = file.stat()
        text = file.read_text(encoding="ascii", errors="replace").strip()
        is_own = found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
        if not is_own or len(text) != KEY_DIGITS:
            raise InputError(
                f"{file}: expected the key of a service, {KEY_DIGITS} hexadecimal digits that only "
                f"you may read, or no such file"
            )
        self._key = text.encode()

    def of_spec(self, run_id: str, tags: Mapping[str, str]) -> dict[str, str]:
        """The tag that signs what is driven, of a run that has these tags."""
        parts = (name for name in tags if name.startswith(Tag.SPEC))
        return {Tag.SPEC_SIGNATURE: self._signature(run_id, tags, (*parts, *WHAT))}

    def of_place(self, run_id: str, tags: Mapping[str, str]) -> dict[str, str]:
        """The tag that signs for whom, when and with which priority it is driven."""
        return {Tag.QUEUE_SIGNATURE: self._signature(run_id, tags, WHEN)}

    def _signature(self, run_id: str, tags: Mapping[str, str], names: Iterable[str]) -> str:
        """Of some tags; one that is empty is as good as one that is missing."""
        signed = sorted((name, tags[name]) for name in names if tags.get(name))
        text = json.dumps([run_id, signed]).encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()

    def knows_spec(self, run: Any) -> bool:
        return self._knows(run, self.of_spec)

    def knows_place(self, run: Any) -> bool:
        return self._knows(run, self.of_place)

    def _knows(self, run: Any, sign: Callable[[str, Mapping[str, str]], dict[str, str]]) -> bool:
        tags = run.data.tags
        [(name, signature)] = sign(str(run.info.run_id), tags).items()
        return hmac.compare_digest(tags.get(name, "").encode(), signature.encode())
