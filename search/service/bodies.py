"""Bodies of requests, as the service describes them.

What is described is checked by the core, which has the sentences: `SweepSpec` checks the fields of
a sweep. The types below only say in JSON Schema what it takes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from lstm_sweep.models.errors import InputError, one_of, shown
from lstm_sweep.models.field_checks import LARGEST
from lstm_sweep.search.service.auth import LONGEST_TOKEN
from lstm_sweep.search.service.settings import PRIORITIES
from lstm_sweep.search.store.registry import LONGEST_NAME
from lstm_sweep.search.values.options import number
from lstm_sweep.search.values.spec import CHANGEABLE, NAME, OPTIONS

#: what names an uploaded corpus, and characters of the name that its client gives it
CORPUS_ID, LONGEST_CORPUS = "[0-9a-f]{32}", 200
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
    """A property that has to be given, or stays as it was."""
    return {key: value for key, value in described.items() if key != "default"}


def _sweep(names: Collection[str]) -> dict[str, Any]:
    """Options of a sweep as properties of a body; what it names by a path has other names here."""
    found: dict[str, Any] = {name: OPTIONS[name].schema() for name in names}
    for name, what in (("data", "a sample, "), ("template", "")):
        if name in found:
            found[name]["description"] = f"{what}`corpus:ID` of what was uploaded, or `server:PATH`"
    text = "dimensions in place of others: `layer_size=32,64`"
    return found | {"set": SETTINGS | {"description": text}}


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
    """A body whose fields are checked by the core, which has the sentences."""

    def sent(self) -> dict[str, Any]:
        """The fields that the client has sent."""
        return dict(self.model_extra or {})

    def given(self) -> dict[str, Any]:
        """The fields that the client has sent, which are some of those that are described.

        Raises:
            InputError: there is another one, or one is missing.
        """
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


class TokenSubmission(BaseModel):
    """A token that a browser is to send from now on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    token: str = Field(min_length=1, max_length=LONGEST_TOKEN)
