"""Bodies of requests and answers, as the service describes them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import operator
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from lstm_sweep.models.config import Config
from lstm_sweep.models.errors import LARGEST, InputError, one_of, shown
from lstm_sweep.search.actions.dry_run import DryRun, SizeReport
from lstm_sweep.search.actions.lifecycle import StoppedSweep
from lstm_sweep.search.actions.sweeps import (
    SweepResult,
    SweepRow,
    SweepStatusReport,
    TrialComparison,
    TrialDetails,
)
from lstm_sweep.search.service.answers import URN
from lstm_sweep.search.service.auth import User
from lstm_sweep.search.service.jobs import Rerun
from lstm_sweep.search.service.queue import PRIORITIES, QueuedSweep
from lstm_sweep.search.service.uploads import CORPUS_ID, LONGEST_CORPUS, UploadedCorpus
from lstm_sweep.search.store.registry import LONGEST_NAME, Freed
from lstm_sweep.search.values.documents import Document, fields_of
from lstm_sweep.search.values.options import number
from lstm_sweep.search.values.spec import CHANGEABLE, NAME, OFF, OPTIONS, PLACES

SWEEP_PATTERN = f"^{NAME.pattern}$"
#: what a client may choose as its token of a request
KEY_PATTERN = "^[!-~]{1,200}$"

#: properties of bodies, in JSON Schema
PRIORITY = {
    **number(PRIORITIES[0], PRIORITIES[-1]).schema,
    "description": "sweeps with a higher one go first",
}
SETTINGS = {"type": "array", "items": {"type": "string"}, "default": []}
OWN_TEMPLATE = {
    "type": "string",
    "minLength": 1,
    "description": "`corpus:ID` or `server:PATH` of its template, if the service lacks it",
}


def _described(properties: Mapping[str, Any], *required: str) -> ConfigDict:
    """A body of which JSON Schema says what it takes, and the core refuses all else."""
    schema: Any = {
        "properties": {
            name: _without_default(one) if name in required else one
            for name, one in properties.items()
        },
        "required": [*required],
        "additionalProperties": False,
    }
    return ConfigDict(extra="allow", json_schema_extra=schema)


def _without_default(described: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in described.items() if key != "default"}


def _sweep(names: Collection[str]) -> dict[str, Any]:
    """Options of a sweep as properties of a body; what it names by a path has other names here."""
    found: dict[str, Any] = {name: OPTIONS[name].schema() for name in names}
    for name in found.keys() & PLACES:
        what = {"data": "a sample, ", "unlabelled": f"`{OFF}`, "}.get(name, "")
        found[name]["description"] = f"{what}`corpus:ID` of what was uploaded, or `server:PATH`"
    text = "dimensions in place of others: `layer_size=32,64`"
    return found | {"set": SETTINGS | {"description": text}}


def checked_settings(given: object) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise InputError(f"request: set is {shown(given)}: expected FIELD=VALUES in a list")
    return given


class _Body(BaseModel):
    """A body whose fields are checked by the core, which has the sentences."""

    def sent(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    def given(self) -> dict[str, Any]:
        """The fields that the client has sent, which are some of those that are described."""
        fields, described = self.sent(), cast(Any, self.model_config["json_schema_extra"])
        for name in fields:
            if name not in described["properties"]:
                known = one_of(name, described["properties"])
                raise InputError(f"request: {shown(name)} is no field: {known}")
        for name in described["required"]:
            if name not in fields:
                raise InputError(f"request: {name} is missing, expected it")
        return fields


class Networks(_Body):
    """Networks whose sizes are asked for: the fields of `SWEEP.yaml` that decide on them."""

    model_config = _described(_sweep([name for name, one in OPTIONS.items() if one.sizes]), "data")


class SweepSubmission(_Body):
    """A sweep that is to be queued: the fields of `SWEEP.yaml`, and its priority."""

    model_config = _described(_sweep(OPTIONS) | {"priority": PRIORITY | {"default": 0}})


class Changes(_Body):
    """What a sweep may do differently from now on."""

    model_config = _described(
        {name: _without_default(OPTIONS[name].schema()) for name in CHANGEABLE}
        | {
            "spec": {
                "type": "object",
                "description": "the fields of its sweep file, which are compared with what it "
                "began with",
            },
            "template": OWN_TEMPLATE,
        }
    )


class Priority(_Body):
    """The place of a sweep in the queue."""

    model_config = _described({"priority": PRIORITY}, "priority")


class CorpusAnnouncement(BaseModel):
    """A corpus that a client has, and would send."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(pattern=f"^{CORPUS_ID}$", description="of its name and its files")
    name: str = Field(
        min_length=1, max_length=LONGEST_CORPUS, description="name of the file or folder; no path"
    )
    bytes: int = Field(ge=0, lt=2**60, description="bytes of the content of its files")


class RerunSubmission(_Body):
    """A trial that is to be trained again."""

    model_config = _described(
        {
            "changes": {
                "type": "object",
                "default": {},
                "description": "other values for fields of its config",
            },
            "set": SETTINGS | {"description": "such as on the command line: `dropout=0.2`"},
            "template": OWN_TEMPLATE,
            "on": OPTIONS["on"].schema(),
        }
    )


class ExportSubmission(BaseModel):
    """A bundle that is to be made."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["keras", "savedmodel", "onnx"] = Field(
        default="keras", description="what stands beside the model in its bundle"
    )
    unchecked: bool = Field(
        default=False, description="also a template's network that cannot be checked"
    )


class ClassSubmission(BaseModel):
    """Sequences whose classes are asked for, or data with them, and what else is wished."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sequences: list[str | list[int] | list[str]] | None = Field(
        default=None,
        min_length=1,
        description="texts, lists of event ids, or lists of log lines",
    )
    data: str | None = Field(
        default=None, description="or: what `classify --data` takes, as that of a sweep"
    )
    text: str | None = Field(default=None, description="of data: the column with the text")
    label: str | None = Field(default=None, description="and that with the true class")
    labels: str | None = Field(default=None, description="of data: sessions and their classes")
    error: float | None = Field(
        default=None, description="share of the sets of classes that lack the true one"
    )
    of: str | None = Field(default=None, description="a class that has a threshold of its own")
    precision: float | None = Field(
        default=None, description="of those that are said to be of it so many are"
    )
    recall: float | None = Field(
        default=None, description="or: of its sequences so many are said to be of it"
    )
    decide: str = Field(
        default="probability", description="which class is said: by `probability` or for `macro_f1`"
    )


class LineSubmission(BaseModel):
    """Lines of a log, sessions of event ids, or data, that are to be judged as `detect` does."""

    model_config = ConfigDict(extra="forbid", strict=True)

    lines: list[str] | None = Field(default=None, min_length=1, description="as they are in a file")
    data: str | None = Field(
        default=None, description="or: what `detect --data` takes, as that of a sweep"
    )
    labels: str | None = Field(
        default=None, description="such data: sessions and whether they are abnormal"
    )
    calibrate: str | None = Field(default=None, description="such data: further normal sessions")
    below: float = Field(default=0.001, description="unexpected symbols are less likely")
    candidates: int | None = Field(
        default=None, description="or: they are not among so many likeliest"
    )
    false_alarms: float | None = Field(
        default=None, description="share of normal sessions that may raise an alarm; 0.01"
    )
    false_discoveries: float | None = Field(
        default=None, description="or: share of the alarms that may be false"
    )
    ends: bool = Field(default=True, description="false: sessions may go on")
    top: int = Field(default=10, description="unexpected symbols that are told, at most")


class VersionSubmission(ExportSubmission):
    """A registered model that is to have a further version, once its bundle is checked."""

    model: str = Field(
        min_length=1, max_length=LONGEST_NAME, description="name of the registered model"
    )


class PruneSubmission(BaseModel):
    """Sweeps that are to be deleted."""

    model_config = ConfigDict(extra="forbid")

    older_than_seconds: float = Field(
        ge=0, le=LARGEST, allow_inf_nan=False, description="since the end of a sweep"
    )
    keep_best: bool = Field(
        default=False, description="keep each sweep's run, baselines and best trial"
    )
    dry_run: bool = Field(default=False, description="only say what would be deleted")


#: of an answer that has some of the rows
NEXT_PAGE: Any = Field(description="`page` of the request for the rows after these; null: none")


#: the comment above a field of a class
COMMENT = re.compile(r"((?:^ +#: .*\n)+)^ +(\w+):", re.MULTILINE)


class _Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


@functools.lru_cache
def model_of(kind: Any) -> type[BaseModel]:
    """What a `Document` is answered as: its fields, with the comments above them."""
    hints, comments = get_type_hints(kind), dict[str, str]()
    with contextlib.suppress(OSError):  # a program without its source
        for comment, name in COMMENT.findall(inspect.getsource(kind)):
            comments[name] = " ".join(line.strip("#: ") for line in comment.splitlines())
    fields: dict[str, Any] = {
        field.name: (_shown_as(hints[field.name]), Field(description=comments.get(field.name)))
        for field in fields_of(kind)
    }
    config = ConfigDict(extra="forbid")
    return create_model(kind.__name__, __config__=config, __doc__=kind.__doc__, **fields)


def _shown_as(kind: Any) -> Any:
    """The type of a value in JSON."""
    if inspect.isclass(kind) and issubclass(kind, Document):
        return model_of(kind)  # type: ignore[arg-type]
    if kind is datetime:
        return str
    if kind is TrialDetails:
        return TrialShown
    if kind is Config or dataclasses.is_dataclass(kind):
        return dict[str, Any]
    origin: Any = get_origin(kind)
    kinds: Any = tuple(_shown_as(one) for one in get_args(kind))
    if origin in (Union, UnionType):
        return functools.reduce(operator.or_, kinds)
    if origin is tuple:
        origin, kinds = list, kinds[0]
    if origin is Mapping:
        origin = dict
    return origin[kinds] if origin else kind


def answer(name: str, kind: Any = None, /, **more: Any) -> type[BaseModel]:
    return create_model(name, __base__=model_of(kind) if kind else _Shown, **more)


def rows_of(kind: Any) -> Any:
    row: Any = model_of(kind)
    return list[row], ...


class ProblemDocument(BaseModel):
    """A refusal (RFC 9457)."""

    type: str = Field(description=f"`{URN}` and the name of the problem")
    title: str
    status: int
    detail: str = Field(description="what was given, what was expected, where; one line")


class Health(_Shown):
    """The service answers."""

    status: Literal["ok"]
    version: str


class Ready(_Shown):
    """The service takes sweeps."""

    status: Literal["ready"]
    takes_code: bool = Field(description="whether it also takes templates, which are code")
    running: int = Field(description="sweeps that have slots")
    queued: int = Field(description="sweeps that wait for slots")
    slots_held: int = Field(description="slots that sweeps have")


class ExportMade(_Shown):
    """A bundle that was made, as `export --json` prints it."""

    model_config = ConfigDict(extra="allow")

    trial: str
    format: str
    test_loss: float | None
    parity: dict[str, Any]
    lines: list[str] = Field(description="what the command prints")


class SequencesClassified(_Shown):
    """What a classifier says of sequences, as `classify --json` prints it."""

    bundle: str = Field(description="the trial")
    classes: list[str]
    promise: str = Field(description="of the sets; may be empty")
    threshold: dict[str, Any] | None
    decision: dict[str, Any] | None = Field(description="how good it is on validation data")
    scores: dict[str, Any] | None = Field(description="how good it is, if data have labels")
    sequences: list[dict[str, Any]]


class SessionsJudged(_Shown):
    """What a network does not expect in sessions, as `detect --json` prints it."""

    model_config = ConfigDict(extra="allow")

    bundle: str = Field(description="the trial")
    sessions: int
    verdicts: dict[str, Any] = Field(description="the `promise`, and the `abnormal` sessions")
    findings: list[dict[str, Any]] = Field(description="symbols, the most surprising first")


class VersionMade(ExportMade):
    """A version of a registered model, as `export --register --json` prints it."""

    model_version: dict[str, Any]


class TrialRow(_Shown):
    """A trial, as `trials --json` prints it."""

    trial: str
    run_id: str
    status: str
    outcome: str | None
    phase: str
    attempt: int
    val_loss: float | None
    best_epoch: float | None
    epochs: float
    rounds_per_epoch: int
    parameters: int
    seed: int
    config: dict[str, Any]
    reason: str = Field(description="why it has ended so; may be empty")
    waits: bool = Field(description="whether it goes on as soon as its sweep does")
    measured: str = Field(description="what its loss is, with the unit")
    has_weights: bool
    rerun_of: str = Field(description="run that it repeats; empty if it is no rerun")
    seconds: float | None = Field(description="for which it had a slot, once it has ended")


class TrialList(_Shown):
    """Some trials of a sweep, the best first, those without a result last.

    While the sweep runs, the best round of a trial that has not ended is a result, too.
    """

    trials: list[TrialRow]
    baselines: dict[str, float | None] = Field(description="loss of each, nats")
    left_out: list[str] = Field(description="a sentence for each run that cannot be read")
    next_page: str | None = NEXT_PAGE


class TrialShown(TrialRow):
    """A trial round by round, as `show --json` prints it."""

    by_epoch: list[dict[str, float | None]]
    results: list[str] = Field(description="names of its metrics")
    tags: dict[str, str] = Field(description="its device and the versions of packages")


class CorpusAnnounced(_Shown):
    """Whether a corpus is there; if it is not, it may be sent."""

    id: str
    data: str = Field(description="what a sweep calls it")
    is_there: bool


_NEXT: Any = str | None, NEXT_PAGE
_LEFT_OUT: Any = list[str], Field(description="a sentence for each run that cannot be read")
_LEFT: Any = int, Field(description="runs that the same request deletes next")
_OWNER: Any = str | None, Field(description="null if it was launched without a service")

#: answers that are made of values
QUEUED, RERUN, SIZES, DRY_RUN, RESULT, STOPPED, COMPARED, CORPUS, USER = map(
    model_of,
    (QueuedSweep, Rerun, SizeReport, DryRun, SweepResult, StoppedSweep, TrialComparison,
     UploadedCorpus, User),
)  # fmt: skip
CORPORA = answer("CorpusList", corpora=rows_of(UploadedCorpus))
QUEUE = answer("Queue", queue=rows_of(QueuedSweep), next_page=_NEXT)
SWEEPS = answer("SweepList", sweeps=rows_of(SweepRow), left_out=_LEFT_OUT, next_page=_NEXT)
STATUS = answer("SweepStatus", SweepStatusReport, owner=_OWNER)
PAUSED = answer(
    "Paused",
    SweepStatusReport,
    owner=_OWNER,
    had_ended=(bool, ...),
    advice=(str, ...),
    left_out=(list[str], ...),
)
DELETED = answer("SweepDeleted", Freed, sweep=(str, ...), keeps_best=(bool, ...), left=_LEFT)
_SWEEPS_DELETED: Any = list[DELETED]  # type: ignore[valid-type]
PRUNED = answer("StorePruned", Freed, sweeps=(_SWEEPS_DELETED, ...), left_out=_LEFT_OUT, left=_LEFT)
