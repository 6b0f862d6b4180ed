"""How the runs of each kind of task are read back; the tasks themselves are in `search/sweep`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lstm_sweep.models.config import LIMITS, Config, Limit, TrialConfig
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.objective import RETURNED_LOSS, VALIDATION_LOSS, Objective
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.tags import Tag, Tags, is_finite
from lstm_sweep.search.trial import RESULTS
from lstm_sweep.spaces.template.config import TemplateConfig


@dataclass(frozen=True)
class RunKind:
    """How the runs of one kind of task are recognized and read."""

    #: tag that its runs have, and those of no other kind
    tag: str
    objective: Objective
    #: makes a config from the values that a run has; raises `InputError` if they are none
    config: Callable[[Mapping[str, Any]], Config]
    #: metrics of a round that depend on the trial alone, by the names of all that a run has
    results: Callable[[Mapping[str, float]], tuple[str, ...]]
    #: tags of which two trials have the same values if their losses can be compared; none: `tag`
    scored_on: tuple[str, ...] = ()
    #: limits of the hyperparameters that `--set` takes, by their names
    limits: Mapping[str, Limit] = field(default_factory=dict)
    #: where its other hyperparameters are given more values, for people
    space_place: str = "in a new sweep"
    #: whether `--epochs` says how long its trials are trained
    takes_epochs: bool = False


def _lstm_results(metrics: Mapping[str, float]) -> tuple[str, ...]:
    return RESULTS


def _template_config(written: Mapping[str, Any]) -> TemplateConfig:
    for label, value in written.items():
        name, *places = label.split(":")
        named = name.isidentifier() and 1 <= len(places) <= 2
        if not named or not all(place.isdecimal() for place in places):
            raise InputError(
                f"{shown(label)} is no hyperparameter of a template, expected name:line"
            )
        if not (isinstance(value, str) or is_finite(value)):
            raise InputError(f"{shown(label)} is {shown(value)}: expected a number or a text")
    return TemplateConfig.from_dict(written)


def _template_results(metrics: Mapping[str, float]) -> tuple[str, ...]:
    """The metrics that a template's `fit` has reported of each epoch."""
    found = sorted(name for name in metrics if name.startswith(("train_", "val_")))
    return tuple(sorted(found, key=lambda name: name not in RESULTS))


#: LSTMs on a corpus
CORPUS = RunKind(
    Tag.DATA,
    VALIDATION_LOSS,
    TrialConfig.from_dict,
    _lstm_results,
    scored_on=(Tag.CORPUS_DIGEST, Tag.SCORING),
    limits=LIMITS,
    takes_epochs=True,
)
#: a user's template
TEMPLATE = RunKind(
    Tag.TEMPLATE,
    RETURNED_LOSS,
    _template_config,
    _template_results,
    space_place="in the template",
)
#: all kinds; that of a run is the first whose tag it has
KINDS: tuple[RunKind, ...] = (TEMPLATE, CORPUS)


def run_kind(tags: Tags) -> RunKind:
    """The kind of task that a run is about.

    Raises:
        BadRunError: this version knows no such kind.
    """
    found = next((kind for kind in KINDS if kind.tag in tags), None)
    if found is None:
        known = " or ".join(kind.tag for kind in KINDS)
        raise BadRunError(f"run {tags.run_id}: it says not what it trains: expected tag {known}")
    return found


def scored_on(tags: Tags) -> dict[str, str | None]:
    """What a trial was scored on: its loss can be compared with those of trials with the same.

    Raises:
        BadRunError: this version knows no such kind.
    """
    kind = run_kind(tags)
    return {tag: tags.get(tag) for tag in kind.scored_on or (kind.tag,)}


def config_of(tags: Tags) -> Config:
    """The config of a trial.

    Raises:
        BadRunError: its run holds none.
    """
    try:
        return run_kind(tags).config(tags.json(Tag.CONFIG, dict))
    except InputError as error:
        raise BadRunError(f"run {tags.run_id}: tag {Tag.CONFIG}: {error}") from None
