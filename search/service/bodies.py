"""Bodies of requests, as the service describes them.

What is described is checked by the core, which has the sentences: `SweepSpec` checks the fields of
a sweep. The types below only say in JSON Schema what it takes.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lstm_sweep.models.errors import InputError, one_of, shown
from lstm_sweep.models.field_checks import LARGEST
from lstm_sweep.models.yaml_file import MAX_BYTES
from lstm_sweep.search.engine_names import ENGINES
from lstm_sweep.search.policy.proposer import ALGORITHMS
from lstm_sweep.search.service.auth import LONGEST_TOKEN
from lstm_sweep.search.service.settings import PRIORITIES
from lstm_sweep.search.spec import AUTO, MOST_PLACES, NAME, RULES
from lstm_sweep.search.store.registry import LONGEST_NAME
from lstm_sweep.spaces.presets import SPACES

#: what names an uploaded corpus, and characters of the name that its client gives it
CORPUS_ID, LONGEST_CORPUS = "[0-9a-f]{32}", 200
SWEEP_PATTERN = f"^{NAME.pattern}$"
#: what a client may choose as its token of a request
KEY_PATTERN = "^[!-~]{1,200}$"


def _taken(
    schema: dict[str, Any], default: Any = ..., about: str = "", *, optional: bool = False
) -> Any:
    """A field that takes anything, and is described by a schema; `optional`: or null."""
    shown: Any = {"anyOf": [schema, {"type": "null"}]} if optional else schema
    if isinstance(default, dict | list):
        return Field(default_factory=default.copy, description=about, json_schema_extra=shown)
    return Field(default=default, description=about or None, json_schema_extra=shown)


def _whole(low: int, high: int = LARGEST) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def _word(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


def _or_auto(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, _word(AUTO)]}


DATA = "name of a sample, `corpus:ID` of an uploaded corpus, or `server:PATH`"
TEXT = {"type": "string", "minLength": 1}
SWITCH = {"type": "boolean"}
NUMBER = {"type": "number", "minimum": 0, "maximum": LARGEST}
MINUTES = {"type": "number", "exclusiveMinimum": 0, "maximum": LARGEST}
SPLIT = {
    "type": "array", "items": {"type": "number", "exclusiveMinimum": 0, "maximum": LARGEST},
    "minItems": 3, "maxItems": 3,
}  # fmt: skip
SETTINGS = {"type": "array", "items": {"type": "string"}}
SPACE = {
    "anyOf": [
        _word(*SPACES),
        {"type": "object", "description": "dimensions, as in a space file"},
    ]
}


def check_only(given: dict[str, Any], known: tuple[str, ...]) -> None:
    """Refuse fields that a body does not have.

    Raises:
        InputError: there is one.
    """
    for field in given:
        if field not in known:
            raise InputError(f"request: {shown(field)} is no field: {one_of(field, known)}")


def checked_settings(given: object) -> list[str]:
    """What `set` of a body is given.

    Raises:
        InputError: it is no list of texts.
    """
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise InputError(f"request: set is {shown(given)}: expected FIELD=VALUES in a list")
    return given


def check_priority(priority: object) -> None:
    """Refuse what is no priority.

    Raises:
        InputError: it is none.
    """
    low, high = PRIORITIES[0], PRIORITIES[-1]
    if isinstance(priority, bool) or not isinstance(priority, int) or priority not in PRIORITIES:
        expected = f"expected a whole number from {low} to {high}"
        raise InputError(f"priority is {shown(priority)}: {expected}")


class _Body(BaseModel):
    """A body; fields that are not described are refused by the core, which names similar ones."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})

    def given(self) -> dict[str, Any]:
        """The fields that the client has sent."""
        return self.model_dump(exclude_unset=True)


class Networks(_Body):
    """Networks whose sizes are asked for: the fields of `SWEEP.yaml` that decide on them."""

    data: Any = _taken(TEXT, ..., DATA)
    symbols: Any = _taken(_word("auto", "chars", "ids"), "auto")
    split: Any = _taken(SPLIT, [0.8, 0.1, 0.1])
    ends: Any = _taken(
        {"anyOf": [SWITCH, _word(AUTO, "on", "off")]},
        AUTO,
        "whether ends of sessions of event ids are symbols",
    )
    space: Any = _taken(SPACE, "default")
    set: Any = _taken(SETTINGS, [], "dimensions in place of others: `layer_size=32,64`")
    size_low: Any = _taken(
        NUMBER, 0.1, "parameters per training symbol that suit; two million count"
    )
    size_high: Any = _taken(NUMBER, 10)


class SweepSubmission(_Body):
    """A sweep that is to be queued: the fields of `SWEEP.yaml`, and its priority."""

    data: Any = _taken(TEXT, "python-docs", DATA)
    symbols: Any = _taken(_word("auto", "chars", "ids"), "auto")
    split: Any = _taken(SPLIT, [0.8, 0.1, 0.1])
    ends: Any = _taken(
        {"anyOf": [SWITCH, _word(AUTO, "on", "off")]},
        AUTO,
        "whether ends of sessions of event ids are symbols",
    )
    name: Any = _taken(
        {"type": "string", "pattern": SWEEP_PATTERN},
        None,
        "null: that of the data, and a number",
        optional=True,
    )
    space: Any = _taken(SPACE, "default")
    set: Any = _taken(SETTINGS, [], "dimensions in place of others: `layer_size=32,64`")
    template: Any = _taken(
        TEXT, None, "`corpus:ID` or `server:PATH` of a template, in place of data", optional=True
    )
    learning_rate_field: Any = _taken({"type": "string"}, None, optional=True)
    trials: Any = _taken(_whole(1), None, "trials at most", optional=True)
    minutes: Any = _taken(
        MINUTES, None, "wall time at most; 30 if trials are not limited either", optional=True
    )
    workers: Any = _taken(_whole(1, MOST_PLACES), None, "trials at once, at most", optional=True)
    per_gpu: Any = _taken(_whole(1, MOST_PLACES), 1)
    on: Any = _taken(_word(*ENGINES), "local")
    algo: Any = _taken(_word(*ALGORITHMS), "tpe")
    ladder: Any = _taken(SWITCH, True)
    halving: Any = _taken(SWITCH, True)
    prior: Any = _taken({"anyOf": [SWITCH, _word("on", "off")]}, True)
    early_stopping: Any = _taken(_whole(0), 10)
    patience: Any = _taken(_whole(1), None, optional=True)
    confirm_configs: Any = _taken(_whole(0), 3)
    confirm_seeds: Any = _taken(_whole(0), 3)
    max_failures: Any = _taken(_whole(1), 10)
    seed: Any = _taken(_whole(0), 0)
    size_rule: Any = _taken(_word(*RULES), "reject")
    size_low: Any = _taken(NUMBER, 0.1)
    size_high: Any = _taken(NUMBER, 10)
    targets: Any = _taken(_or_auto(_whole(1)), AUTO)
    targets_seed: Any = _taken(_whole(0), 0)
    adjacent_targets: Any = _taken(_or_auto(_whole(1)), AUTO)
    rounds_per_epoch: Any = _taken(_or_auto(_whole(1)), AUTO)
    keep: Any = _taken(_whole(1), 5, "best trials whose weights are kept")
    priority: Any = _taken(
        _whole(PRIORITIES[0], PRIORITIES[-1]), 0, "sweeps with a higher one go first"
    )


class Changes(_Body):
    """What a sweep may do differently from now on."""

    trials: Any = _taken(_whole(1), None, "trials at most")
    minutes: Any = _taken(MINUTES, None, optional=True)
    workers: Any = _taken(_whole(1, MOST_PLACES), None, optional=True)
    per_gpu: Any = _taken(_whole(1, MOST_PLACES), None)
    on: Any = _taken(_word(*ENGINES), None)
    max_failures: Any = _taken(_whole(1), None)
    keep: Any = _taken(_whole(1), None)
    spec: Any = _taken(
        {"type": "object"},
        None,
        "the fields of its sweep file, which are compared with what it began with",
    )
    template: Any = _taken(
        TEXT, None, "`corpus:ID` or `server:PATH` of its template, if the service lacks it"
    )


class Priority(_Body):
    """The place of a sweep in the queue."""

    priority: Any = _taken(_whole(PRIORITIES[0], PRIORITIES[-1]), ...)


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

    changes: Any = _taken({"type": "object"}, {}, "other values for fields of its config")
    set: Any = _taken(SETTINGS, [], "such values as on the command line: `dropout=0.2`")
    template: Any = _taken(
        TEXT, None, "`corpus:ID` or `server:PATH` of its template, if the service lacks it"
    )
    on: Any = _taken(_word(*ENGINES), next(iter(ENGINES)))


class ExportSubmission(BaseModel):
    """A bundle that is to be made."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["keras", "savedmodel", "onnx"] = Field(
        default="keras", description="what stands beside the model in its bundle"
    )
    unchecked: bool = Field(
        default=False, description="also a template's network that cannot be checked"
    )


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


class YamlFile(BaseModel):
    """A sweep file or a space file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=1_000, description="what refusals call it")
    text: str = Field(max_length=MAX_BYTES, description="YAML")


class TokenSubmission(BaseModel):
    """A token that a browser is to send from now on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    token: str = Field(min_length=1, max_length=LONGEST_TOKEN)
