"""`SweepSpec`: what a sweep is to do, as a file and the command line say it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lstm_sweep.models.data.samples import SAMPLES
from lstm_sweep.models.data.source import Source, near_one
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.models.errors import InputError, cut, one_of, shown
from lstm_sweep.models.field_checks import LARGEST, check_number, check_switch, check_word
from lstm_sweep.models.size import SizeRule
from lstm_sweep.models.yaml_file import read_yaml
from lstm_sweep.search.engine_names import ENGINES
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.proposer import ALGORITHMS
from lstm_sweep.search.times import DEFAULT_MINUTES
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.space import Space, from_mapping, with_settings
from lstm_sweep.spaces.template.template import Template

RULES = ("reject", "warn", "off")
#: fields that say how long and where, not what: they may change while a sweep is resumed
MAY_CHANGE = ("name", "trials", "minutes", "workers", "per_gpu", "on", "max_failures", "keep")
#: the most places for trials
MOST_PLACES = 1_000
#: fields about a corpus and networks of ours, which a template brings itself
CORPUS_FIELDS = (
    "data", "symbols", "split", "ends", "space", "size_rule", "size_low", "size_high", "targets",
    "targets_seed", "adjacent_targets", "rounds_per_epoch", "early_stopping", "prior",
)  # fmt: skip
#: trials that a search plans with if they are not limited
UNLIMITED = 10_000
#: in place of a number: what is best for this machine
AUTO = "auto"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """What a sweep is to do; every field is checked when it is made."""

    #: name of a sample, or a path, which is absolute from then on
    data: str = "python-docs"
    symbols: str = "auto"
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    #: whether the end of a session is a symbol, `<end>`, if several sessions of event ids end in
    #: the training data; `auto`: so it is
    ends: bool | str = AUTO
    #: None: made from the name of the data and a number
    name: str | None = None
    space: Space = presets.DEFAULT
    #: a file of the user's that is trained in place of networks of ours; `space` is its own
    template: Template | None = None
    #: the argument of a template, or the label, that is a learning rate
    learning_rate_field: str | None = None
    #: trials at most; None: no limit
    trials: int | None = None
    #: wall time after which nothing more is begun and what runs is ended; None: no limit, or
    #: `DEFAULT_MINUTES` if `trials` are not limited either
    minutes: float | None = None
    workers: int | None = None
    #: trials that share a GPU
    per_gpu: int = 1
    on: str = "local"
    algo: str = "tpe"
    #: whether learning rates are tried from high to low before the search, and it keeps to the best
    ladder: bool = True
    #: whether trials that fall behind wait, and may be pruned
    halving: bool = True
    #: whether the search begins with what earlier sweeps have found
    prior: bool = True
    #: end a trial whose validation loss has not improved for this many epochs; 0: never
    early_stopping: int = Plan.early_stopping
    #: end the search when the best loss has not improved for this many trials; None: never
    patience: int | None = None
    #: how many of the best configs are trained again with further seeds, and with how many
    confirm_configs: int = Plan.confirm_configs
    confirm_seeds: int = Plan.confirm_seeds
    #: end the sweep when this many trials in a row have failed
    max_failures: int = 10
    seed: int = 0
    size_rule: str = "reject"
    size_low: float = SizeRule.low
    size_high: float = SizeRule.high
    #: validation targets that everything is scored on, at most; `auto`: as many as take 4 % of the
    #: time of a trial in the middle of the space, or 10 % if each has a window of its own
    targets: int | str = AUTO
    #: by which they are drawn: sweeps with other seeds are scored on the same, so that their losses
    #: can be compared
    targets_seed: int = 0
    #: how many are drawn side by side and share windows; 1: each has a whole window; `auto`: 24, of
    #: event ids in short sessions 1, 128 if all networks carry their state
    adjacent_targets: int | str = AUTO
    #: parts of an epoch after each of which a trial is scored and may be ended; `auto`: by what the
    #: networks of the space cost
    rounds_per_epoch: int | str = AUTO
    #: trials whose weights are kept, the best ones
    keep: int = 5

    def __post_init__(self) -> None:
        self._check_switches()
        if not self.template:
            object.__setattr__(self, "data", self._resolved_data())
        self.rule()
        check_number("trials", self.trials, 1, whole=True, optional=True)
        if self.trials is None and self.minutes is None:
            object.__setattr__(self, "minutes", DEFAULT_MINUTES)
        check_number("minutes", self.minutes, 0, above=True, optional=True)
        check_number("workers", self.workers, 1, MOST_PLACES, whole=True, optional=True)
        check_number("per_gpu", self.per_gpu, 1, MOST_PLACES, whole=True)
        check_number("seed", self.seed, 0, whole=True)
        check_number("early_stopping", self.early_stopping, 0, whole=True)
        check_number("patience", self.patience, 1, whole=True, optional=True)
        check_number("confirm_configs", self.confirm_configs, 0, whole=True)
        check_number("confirm_seeds", self.confirm_seeds, 0, whole=True)
        check_number("max_failures", self.max_failures, 1, whole=True)
        if self.targets != AUTO:
            check_number("targets", self.targets, 1, whole=True, or_else=AUTO)
        check_number("targets_seed", self.targets_seed, 0, whole=True)
        if self.adjacent_targets != AUTO:
            check_number("adjacent_targets", self.adjacent_targets, 1, whole=True, or_else=AUTO)
        if self.rounds_per_epoch != AUTO:
            check_number("rounds_per_epoch", self.rounds_per_epoch, 1, whole=True, or_else=AUTO)
        check_number("keep", self.keep, 1, whole=True)
        check_word("on", self.on, tuple(ENGINES))
        check_word("algo", self.algo, ALGORITHMS)
        check_word("size_rule", self.size_rule, RULES)
        if self.name is not None:
            check_name("name", self.name)

    def _check_switches(self) -> None:
        for name in ("ends", "ladder", "halving", "prior"):  # as on the command line
            given = getattr(self, name)
            if isinstance(given, str) and given in ("on", "off"):
                object.__setattr__(self, name, given == "on")
        for name in ("ladder", "halving", "prior"):
            check_switch(name, getattr(self, name))
        if self.ends != AUTO:
            check_switch("ends", self.ends, or_else=AUTO)

    def _resolved_data(self) -> str:
        if not isinstance(self.data, str) or not self.data:
            raise InputError(f"data is {shown(self.data)}: expected a path or the name of a sample")
        return self.source().resolve().data

    def source(self) -> Source:
        """Where the corpus comes from."""
        ends = self.ends is not False
        return Source(data=self.data, symbols=self.symbols, split=self.split, ends=ends)

    def rule(self) -> SizeRule:
        """The size rule."""
        check_number("size_low", self.size_low, 0)
        check_number("size_high", self.size_high, 0)
        return SizeRule(self.size_low, self.size_high)

    def scoring(self) -> Scoring:
        """What every trial is scored on, of a spec that is settled."""
        assert isinstance(self.targets, int) and isinstance(self.adjacent_targets, int)
        return Scoring(self.targets, self.targets_seed, self.adjacent_targets)

    def settled_rounds_per_epoch(self) -> int:
        """Rounds of an epoch, of a spec that is settled; 1 if its task has left them open."""
        return self.rounds_per_epoch if isinstance(self.rounds_per_epoch, int) else 1

    def plan(self) -> Plan:
        """How to search."""
        return Plan(
            algorithm=self.algo,
            seed=self.seed,
            trials=UNLIMITED if self.trials is None else self.trials,
            seconds=None if self.minutes is None else 60 * self.minutes,
            ladder=self.ladder,
            halving=self.halving,
            prior=self.prior,
            # a template that is ended early returns no loss
            early_stopping=0 if self.template else self.early_stopping,
            patience=self.patience,
            confirm_configs=self.confirm_configs,
            confirm_seeds=self.confirm_seeds,
        )

    def to_dict(self) -> dict[str, Any]:
        """The spec as runs have it."""
        written = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.template:
            kept = {key: value for key, value in written.items() if key not in CORPUS_FIELDS}
            return kept | {
                "template": str(self.template.path),
                "template_digest": self.template.digest,
                "space": self.space.describe(),
            }
        return written | {"split": list(self.split), "space": self.space.describe()}

    def file_content(self) -> dict[str, Any]:
        """The spec as a sweep file may have it: that of a template names no space."""
        own = ("template_digest", "space") if self.template else ()
        return {key: value for key, value in self.to_dict().items() if key not in own}

    def digest(self) -> str:
        """Fingerprint of all that decides what is searched, 16 hexadecimal digits."""
        return digest_of(self.to_dict())

    def differences(self, other: SweepSpec) -> list[str]:
        """In what the search of another spec differs: `seed was 0, is 1`."""
        was, now = self.to_dict(), other.to_dict()
        for spec in (was, now):
            spec |= {f"space {field}": values for field, values in spec.pop("space").items()}
        fields = [field for field in {**was, **now} if field not in MAY_CHANGE]
        return [
            f"{field} was {was.get(field)}, is {now.get(field)}"
            for field in fields
            if was.get(field) != now.get(field)
        ]

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any], where: str, folder: Path | None = None) -> Self:
        """Make a spec from the content of a file.

        Relative paths in it start at `folder`, or at the working folder of this moment.

        Raises:
            InputError: an unknown field or a value that is not allowed; `where` is named.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in given:
            if key not in known:
                raise InputError(f"{where}: {shown(key)} is no field: {one_of(key, known)}")
        values = {**given, **_paths(given, folder)}
        if values.get("template") is not None:
            return cls._over_template(values, where)
        if values.get("learning_rate_field") is not None:
            raise InputError(f"{where}: learning_rate_field is given, expected a template with it")
        if "split" in values:
            values["split"] = _three_numbers(values["split"], where)
        space = values.get("space", "default")
        values["space"] = _space(space, where)
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None

    @classmethod
    def _over_template(cls, values: dict[str, Any], where: str) -> Self:
        """Make the spec of a sweep over a template from the other fields."""
        for field in CORPUS_FIELDS:
            if field in values:
                raise InputError(
                    f"{where}: {field} is given with a template, expected one of the two: data, "
                    f"networks and what varies stand in the template"
                )
        given, rate = values["template"], values.get("learning_rate_field")
        if not isinstance(given, Template):
            if not isinstance(given, str):
                raise InputError(f"{where}: template is {shown(given)}: expected a path")
            given = Template.read(given)
        if rate is not None and not isinstance(rate, str):
            raise InputError(f"{where}: learning_rate_field is {shown(rate)}: expected a name")
        try:
            return cls(**{**values, "template": given, "space": given.space(rate)})
        except InputError as error:
            raise InputError(f"{where}: {error}") from None


def _paths(given: Mapping[str, Any], folder: Path | None) -> dict[str, str]:
    """The paths of a spec, as they hold from the working folder; not what has another meaning."""
    names: dict[str, Collection[str]] = {
        "data": SAMPLES, "space": presets.SPACES, "template": (),
    }  # fmt: skip
    found = {field: given.get(field) for field in names} if folder else {}
    return {
        field: str(folder / path)
        for field, path in found.items()
        if folder and isinstance(path, str) and path not in ("", *names[field]) and path[0] != "~"
    }


def check_name(what: str, name: object) -> None:
    """Refuse what can be no name of a sweep; `what` says what it is for."""
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise InputError(
            f"{what} is {shown(name)}: expected up to 100 letters, digits, '.', '_' and '-', "
            f"a letter or digit first"
        )


def digest_of(written: Mapping[str, Any]) -> str:
    """Fingerprint of a spec as `to_dict` writes it."""
    decides = {key: value for key, value in written.items() if key not in MAY_CHANGE}
    text = json.dumps(decides, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _space(given: object, where: str) -> Space:
    if isinstance(given, Space):
        return given
    if not isinstance(given, str):
        return from_mapping(given, f"{where}: space")
    try:
        return presets.named(given)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _three_numbers(given: object, where: str) -> tuple[float, float, float]:
    numbers = given if isinstance(given, list | tuple) else []
    real = [
        part
        for part in numbers
        if isinstance(part, int | float) and not isinstance(part, bool) and 0 < part <= LARGEST
    ]
    if len(numbers) != 3 or len(real) != 3:
        raise InputError(
            f"{where}: split is {shown(given)}: expected three shares above 0, such as [8, 1, 1]"
        )
    total = 1.0 if near_one(real) else sum(real)
    return (real[0] / total, real[1] / total, real[2] / total)


def read_fields(file: Path) -> dict[str, Any]:
    """The fields of a sweep file, as they stand there."""
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise InputError(f"{file}: found no fields, expected a mapping such as `trials: 20`")
    return content


def read_spec(
    file: Path | None, changes: Mapping[str, Any], settings: list[str], folder: Path | None = None
) -> SweepSpec:
    """The spec of a file (or the defaults), changed by the command line.

    `changes` holds fields given as options, `settings` what `--set` was given. Relative paths start
    at `folder`, or at the working folder of this moment.
    """
    given = {} if file is None else read_fields(file)
    where = "command line" if file is None else str(file)
    spec = SweepSpec.from_mapping({**given, **changes}, where, folder)
    if settings and (origin := spec.space.stands_in):
        raise InputError(
            f"{cut(settings[0])} is given with a {origin}, expected none: what varies stands "
            f"in the {origin}"
        )
    return dataclasses.replace(spec, space=with_settings(spec.space, settings))
