"""`SweepSpec`: what a sweep is to do; each of its fields is an option, which is declared once.

The command line is made from it, so only what is light is imported at the top.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lstm_sweep.models.data.source import FILES_BESIDE, VOCABULARY, Source
from lstm_sweep.models.documents import read_yaml
from lstm_sweep.models.errors import InputError, cut, one_of, shown
from lstm_sweep.models.size import SizeRule
from lstm_sweep.search.values import options as kinds
from lstm_sweep.search.values.documents import DEFAULT_MINUTES
from lstm_sweep.search.values.options import (
    AUTO,
    CLASSES,
    CORPUS,
    TEMPLATE,
    Option,
    option,
)

if TYPE_CHECKING:
    from lstm_sweep.models.data.windows import Scoring
    from lstm_sweep.spaces.space import Space
    from lstm_sweep.spaces.template.template import Template


#: environment variables with the address of a service, and with a token for it
SERVER, TOKEN = "LSTM_SWEEP_SERVER", "LSTM_SWEEP_TOKEN"
#: each engine, the default first, and where its trials run, for the help of `--on`
ENGINES: Mapping[str, str] = {
    "local": "in processes of their own",
    "inline": "in this process, for a debugger",
    "ray": "on the nodes of a Ray cluster",
}


def ray_address(address: object, on: str | None) -> str | None:
    """Ray's own address of the cluster on which a sweep runs; None for that in `RAY_ADDRESS`.

    `address` is what was given with `--address`, and `on` the engine that was given.
    """
    if address is None:
        return None
    expected = "expected auto or HEAD:6379 of the cluster of which this machine is a node"
    if not isinstance(address, str) or not address.strip():
        raise InputError(f"--address is {shown(address)}: {expected}")
    if on != "ray":
        found = f"with --on {on}" if on else "without --on"
        raise InputError(f"--address is {shown(address)}, {found}: expected --on ray with it")
    if "://" in address:
        raise InputError(
            f"--address is {shown(address)}: {expected}; from elsewhere use a service on the "
            "head, or `ray job submit`"
        )
    return address


#: what proposes configs, the default first
ALGORITHMS = ("tpe", "hyperopt", "random", "anneal")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to search."""

    algorithm: str = ALGORITHMS[0]
    seed: int = 0
    #: budget: trials at most, and seconds from the beginning; None: no limit
    trials: int = 50
    seconds: float | None = None
    ladder: bool = True
    #: begin with the best of earlier sweeps on the same data
    prior: bool = True
    halving: bool = True
    #: end a trial whose validation loss has not improved for this many epochs; 0: never
    early_stopping: int = 10
    #: end the search when the best loss has not improved for this many trials; None: never
    patience: int | None = None
    #: retrain this many of the best configs, each with this many further seeds
    confirm_configs: int = 3
    confirm_seeds: int = 3


NAME = kinds.NAME
#: what happens to networks of an unsuitable size
RULES = ("reject", "warn", "off")
#: the most places for trials
MOST_PLACES = 1_000
#: trials that a search plans with if they are not limited
UNLIMITED = 10_000
#: in place of a path: none
OFF = "off"
#: share of the minutes in which unlabelled sequences are learnt
UNLABELLED_SHARE = 0.3
#: fields that name files beside the data, and all that name some
FILES = (*FILES_BESIDE, "unlabelled")
PLACES = ("data", "template", *FILES)
#: parts of the help that options stand in
DATA, NETWORKS, BUDGET, SEARCH = "data", "networks", "budget", "search"


def _default_space() -> Space:
    from lstm_sweep.spaces import presets

    return presets.DEFAULT


#: options of each part of the help, by what they have in common
_data = partial(option, group=DATA, tasks=(CORPUS, CLASSES), sizes=True)
_networks = partial(option, group=NETWORKS, tasks=(CORPUS, CLASSES))
_budget = partial(option, group=BUDGET, changeable=True)
_search = partial(option, group=SEARCH)


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """What a sweep is to do; every field is an option, and is checked when it is made."""

    data: str = _data(
        "python-docs", kinds.data(), "a file, a folder, or the name of a sample", common=True
    )
    task: str = _data(
        AUTO,
        kinds.word((AUTO, CORPUS, CLASSES)),
        "what is predicted: the next symbols, or the class of a sequence; auto: classes of data "
        "that have some",
    )
    symbols: str = _data(
        AUTO,
        kinds.symbols(),
        "what a symbol is; lines: the template of a log line; field=NAME: a field of JSON lines",
        common=True,
    )
    session_by: str | None = _data(
        None,
        kinds.expression("a regular expression, or field=NAME"),
        "what names the session of a log line: the first group, or the whole match; or field=NAME",
        unset="a file is a session",
    )
    header: str | None = _data(
        None,
        kinds.expression("a regular expression"),
        "time stamp and level in front of a log line; one without goes on with the line before",
        unset="nothing is cut off",
    )
    templates: str | None = _data(
        None,
        kinds.path("the path of a file", "FILE"),
        "templates of log lines, one in a line, with <*>",
        unset="they are mined",
    )
    template_settings: str | None = _data(
        None,
        kinds.path("the path of a file", "FILE.yaml"),
        "masks, and how templates are mined, in drain3's words",
        unset="usual ones",
    )
    vocabulary: int | None = _data(
        None,
        kinds.number(2, 1_000_000),
        "words that are symbols, the most frequent; others are <unk>",
        unset=f"{VOCABULARY:,}, of words",
    )
    lower_case: bool = _data(False, kinds.switch(), "take words in lower case")
    label: str | None = _data(
        None,
        kinds.column(),
        "column of a table with the class of each row",
        unset="there are no classes, or a folder of each",
        common=True,
        tasks=(CLASSES,),
    )
    text: str | None = _data(
        None,
        kinds.column(),
        "column with the text of each row",
        unset="the one other column",
        tasks=(CLASSES,),
    )
    group: str | None = _data(
        None,
        kinds.column(),
        "rows with the same in this column stay in one split",
        tasks=(CLASSES,),
    )
    labels: str | None = _data(
        None,
        kinds.path("the path of a file", "FILE"),
        "sessions and their classes, as detect takes them",
        tasks=(CLASSES,),
    )
    pretrained: str | None = _data(
        None,
        kinds.network(),
        "begin with alphabet, embedding and layers of a network that predicts symbols: the best of "
        "a sweep, a trial SWEEP/NUMBER, or a bundle",
        unset="begin at random",
        tasks=(CLASSES,),
        sizes=False,
    )
    unlabelled: str | None = _data(
        None,
        kinds.path(f"the path of a file or folder, or {OFF}", f"PATH|{OFF}", OFF),
        "sequences without classes: what follows in them and in training data is learnt first, by "
        f"a sweep of its own in {UNLABELLED_SHARE:g} of the minutes; {OFF}: nothing is",
        unset="training data alone, where minutes are given and symbols are no lines",
        tasks=(CLASSES,),
        sizes=False,
    )
    split: tuple[float, float, float] = _data(
        (0.8, 0.1, 0.1), kinds.shares(), "shares of training, validation and test data"
    )
    ends: bool | str = _data(
        AUTO,
        kinds.switch(auto=True),
        "learn where sessions of event ids or lines end, too; auto: if several end",
        tasks=(CORPUS,),
    )
    name: str | None = option(
        None,
        kinds.text(
            "up to 100 letters, digits, '.', '_' and '-', a letter or digit first", like=NAME
        ),
        "name of the sweep",
        unset="name of the data, and a number",
        group=DATA,
        common=True,
    )
    space: Space = option(
        "default",
        kinds.space(),
        "what may vary: a declared space (default, quick), or a YAML file",
        make=_default_space,
        group=NETWORKS,
        tasks=(CORPUS, CLASSES),
        common=True,
        sizes=True,
    )
    template: Template | None = option(
        None,
        kinds.template(),
        "a hyperas template to search in place of networks of this program",
        group=DATA,
        tasks=(TEMPLATE,),
        common=True,
    )
    learning_rate_field: str | None = option(
        None,
        kinds.text("a name"),
        "the template's learning rate, for the ladder",
        group=SEARCH,
        tasks=(TEMPLATE,),
    )
    trials: int | None = _budget(None, kinds.number(1), "trials at most", common=True)
    minutes: float | None = _budget(
        None,
        kinds.number(0, above=True, whole=False),
        "minutes at most",
        unset=f"{DEFAULT_MINUTES:g} if trials are not limited either",
        common=True,
    )
    workers: int | None = _budget(
        None,
        kinds.number(1, MOST_PLACES),
        "trials at once",
        unset="one for each GPU, or else for each CPU core",
        common=True,
    )
    per_gpu: int = _budget(1, kinds.number(1, MOST_PLACES), "trials that share a GPU")
    on: str = _budget(
        next(iter(ENGINES)),
        kinds.word(ENGINES),
        "where trials run; " + "; ".join(f"{name}: {where}" for name, where in ENGINES.items()),
        common=True,
    )
    algo: str = _search(
        Plan.algorithm, kinds.word(ALGORITHMS), "what proposes configs; hyperopt: its own TPE"
    )
    ladder: bool = _search(
        Plan.ladder, kinds.switch(), "find the best learning rate first, from high to low"
    )
    halving: bool = _search(
        Plan.halving, kinds.switch(), "let trials wait that fall behind, and prune them"
    )
    prior: bool = _search(
        Plan.prior,
        kinds.switch(),
        "begin with the best of earlier sweeps on these data",
        tasks=(CORPUS, CLASSES),
    )
    early_stopping: int = _search(
        Plan.early_stopping,
        kinds.number(0),
        "end a trial after so many epochs without gain; 0: never",
        tasks=(CORPUS, CLASSES),
    )
    patience: int | None = _search(
        None,
        kinds.number(1),
        "end the search after so many trials without gain",
        unset="never",
    )
    confirm_configs: int = _search(
        Plan.confirm_configs,
        kinds.number(0),
        "how many of the best configs are trained again in the end",
    )
    confirm_seeds: int = _search(
        Plan.confirm_seeds, kinds.number(0), "each of them with so many further seeds"
    )
    max_failures: int = _budget(10, kinds.number(1), "end when so many trials in a row failed")
    seed: int = _search(0, kinds.number(0), "seed of the sweep")
    size_rule: str = _networks(
        RULES[0], kinds.word(RULES), "what happens to networks of an unsuitable size"
    )
    size_low: float = _networks(
        SizeRule.low,
        kinds.number(0, whole=False),
        "parameters for each training symbol, of which two million count, that suit at least; "
        "0 for classes",
        sizes=True,
    )
    size_high: float = _networks(
        SizeRule.high, kinds.number(0, whole=False), "and that suit at most", sizes=True
    )
    targets: int | str = _search(
        AUTO,
        kinds.number(1, auto=True),
        "symbols of the validation data on which each trial is scored; auto: as many as take a "
        "few per cent of a trial's time",
        tasks=(CORPUS,),
    )
    targets_seed: int = _search(
        0,
        kinds.number(0),
        "seed by which these symbols, or splits of labelled sequences, are chosen; losses on "
        "others do not compare",
        tasks=(CORPUS, CLASSES),
    )
    adjacent_targets: int | str = _search(
        AUTO,
        kinds.number(1, auto=True),
        "how many of them stand side by side, which is faster to score than as many apart; auto: "
        "24, of event ids in short sessions 1, 128 if all networks carry their state",
        tasks=(CORPUS,),
    )
    rounds_per_epoch: int | str = _search(
        AUTO,
        kinds.number(1, auto=True),
        "how often in an epoch a trial is compared with others; auto: by what an epoch costs",
        tasks=(CORPUS, CLASSES),
    )
    keep: int = _budget(5, kinds.number(1), "best trials whose weights are kept")

    def __post_init__(self) -> None:
        for name, known in OPTIONS.items():
            object.__setattr__(self, name, known.take(name, getattr(self, name)))
        self.rule()
        if not self.template:
            self._settle_task()
        if self.trials is None and self.minutes is None:
            object.__setattr__(self, "minutes", DEFAULT_MINUTES)

    def _settle_task(self) -> None:
        """Find out what is predicted, and with which networks."""
        source = self.source()
        if self.task == AUTO:
            from lstm_sweep.models.data.labelled import looks_labelled

            object.__setattr__(self, "task", CLASSES if looks_labelled(source) else CORPUS)
        if self.task == CLASSES:
            from lstm_sweep.spaces import presets

            object.__setattr__(self, "space", presets.for_classes(self.space))
            if self.size_low == SizeRule.low:  # a class says less than the symbols of a sequence
                object.__setattr__(self, "size_low", 0.0)
        elif source.has_words:
            from lstm_sweep.spaces import presets

            object.__setattr__(self, "space", presets.for_words(self.space))
        elif "pooling" in self.space:
            raise InputError("space has pooling, of networks for classes: expected --task classes")

    @property
    def kind(self) -> str:
        return TEMPLATE if self.template else self.task

    def source(self) -> Source:
        same = self._same_as(Source) | {"ends": self.ends is not False, "seed": self.targets_seed}
        return Source(**same)

    def _same_as(self, other: type) -> dict[str, Any]:
        """The fields that another dataclass has by the same names."""
        names = [field.name for field in dataclasses.fields(other)]
        return {name: getattr(self, name) for name in names if name in OPTIONS}

    def rule(self) -> SizeRule:
        return SizeRule(self.size_low, self.size_high)

    def scoring(self) -> Scoring:
        from lstm_sweep.models.data.windows import Scoring

        assert isinstance(self.targets, int) and isinstance(self.adjacent_targets, int)
        return Scoring(self.targets, self.targets_seed, self.adjacent_targets)

    def settled_rounds_per_epoch(self) -> int:
        """Rounds of an epoch, of a spec that is settled; 1 if its task has left them open."""
        return self.rounds_per_epoch if isinstance(self.rounds_per_epoch, int) else 1

    def plan(self) -> Plan:
        other = {
            "algorithm": self.algo,
            "trials": UNLIMITED if self.trials is None else self.trials,
            "seconds": None if self.minutes is None else 60 * self.minutes,
            # a template that is ended early returns no loss
            "early_stopping": 0 if self.template else self.early_stopping,
        }
        return Plan(**self._same_as(Plan) | other)

    def to_dict(self) -> dict[str, Any]:
        written = {
            name: getattr(self, name) for name, known in OPTIONS.items() if self.kind in known.tasks
        }
        more: dict[str, Any] = {"split": list(self.split)}
        if self.template:
            path, digest = self.template.path, self.template.digest
            more = {"template": str(path), "template_digest": digest}
        return written | more | {"space": self.space.describe()}

    def file_content(self) -> dict[str, Any]:
        own = ("template_digest", "space") if self.template else ()
        return {key: value for key, value in self.to_dict().items() if key not in own}

    def digest(self) -> str:
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
    def from_mapping(
        cls,
        given: Mapping[str, Any],
        where: str,
        typed: Collection[str] = (),
    ) -> Self:
        """Make a spec from the content of a file.

        Those that were `typed` are options of the command line, which go before what the file says.
        """
        for name in given:
            if name not in OPTIONS:
                raise InputError(f"{where}: {shown(name)} is no field: {one_of(name, OPTIONS)}")
        places = {name: OPTIONS[name].flag if name in typed else f"{where}: {name}"
                  for name in given}  # fmt: skip
        if given.get("template") is not None:
            _check_for(TEMPLATE, given, places)
        values = {name: OPTIONS[name].take(places[name], value) for name, value in given.items()}
        if template := values.get("template"):
            rate = values.get("learning_rate_field")
            values["space"] = template.space(rate)
        try:
            made = cls(**values)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        _check_for(made.kind, given, places)
        return made


#: the options of a sweep by their names, which are fields of sweep files and of Python too
OPTIONS: Mapping[str, Option] = {
    field.name: dataclasses.replace(field.metadata["option"], name=field.name)
    for field in dataclasses.fields(SweepSpec)
}
#: options that `resume` may change, since they say how long and where, not what
CHANGEABLE = tuple(name for name, known in OPTIONS.items() if known.changeable)
#: fields that do not decide what is searched
MAY_CHANGE = ("name", *CHANGEABLE)


def _check_for(kind: str, given: Mapping[str, Any], places: Mapping[str, str]) -> None:
    for name, place in places.items():
        tasks = OPTIONS[name].tasks
        if kind in tasks or given[name] is None:
            continue
        why = f" with task {kind}, expected task {tasks[0]} with it"
        if kind == TEMPLATE:
            why = (
                " with a template, expected one of the two: data, networks and what varies stand "
                "in the template"
            )
        elif tasks == (TEMPLATE,):
            why = ", expected a template with it"
        raise InputError(f"{place} is given{why}")


def names_file(field: str, value: object) -> bool:
    """Whether one of `FILES` has a path: no sweep or trial, and not that there is none."""
    is_none = value is None or (field, value) == ("unlabelled", OFF)
    return not is_none and not (field == "pretrained" and kinds.is_reference(value))


def check_name(place: str, name: object) -> None:
    OPTIONS["name"].kind.take(place, name)


def digest_of(written: Mapping[str, Any]) -> str:
    """Fingerprint of a spec as `to_dict` writes it."""
    decides = {key: value for key, value in written.items() if key not in MAY_CHANGE}
    text = json.dumps(decides, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def read_fields(file: Path) -> dict[str, Any]:
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise InputError(f"{file}: found no fields, expected a mapping such as `trials: 20`")
    return content


def read_spec(file: Path | None, changes: Mapping[str, Any], settings: list[str]) -> SweepSpec:
    """The spec of a file (or the defaults), changed by the command line.

    `changes` holds fields given as options, `settings` what `--set` was given. Relative paths start
    at the working folder of this moment.
    """
    from lstm_sweep.spaces.space import with_settings

    given = {} if file is None else read_fields(file)
    where = "command line" if file is None else str(file)
    spec = SweepSpec.from_mapping({**given, **changes}, where, changes)
    if settings and (origin := spec.space.stands_in):
        raise InputError(
            f"{cut(settings[0])} is given with a {origin}, expected none: what varies stands "
            f"in the {origin}"
        )
    return dataclasses.replace(spec, space=with_settings(spec.space, settings))
