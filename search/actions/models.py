"""What is done with trials that have ended: rerun, export, generate, detect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.models.field_checks import check_switch, check_word, path_text
from lstm_sweep.search.actions import detect as detecting
from lstm_sweep.search.actions import export as exporting
from lstm_sweep.search.actions import generate as generating
from lstm_sweep.search.actions.detect import Detection, Rule
from lstm_sweep.search.actions.generate import GenerationRequest, Symbols
from lstm_sweep.search.actions.references import (
    Here,
    check_sweep_or_trial,
    existing_store,
    store_of_trial,
)
from lstm_sweep.search.actions.rerun import rerun as run_again
from lstm_sweep.search.driver.observer import SILENT, Observer
from lstm_sweep.search.driver.tasks import task_kind_of_run
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.base import devices
from lstm_sweep.search.process.new_paths import new_folder
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.store import reader, registry
from lstm_sweep.search.store.registry import Version
from lstm_sweep.search.store.settings import missing

#: kinds of bundles
FORMATS = ("keras", "savedmodel", "onnx")
#: what is said of a bundle whatever its trial is about
USUAL = ("bundle", "format", "trial", "test_loss", "parity", "model_version", "example",
         "lines")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A bundle that was written and checked."""

    #: path of its folder
    bundle: str
    format: str
    trial: str
    #: nats, of a corpus; None for a template
    test_loss: float | None
    #: largest difference of a prediction to the trial's network, and on how many windows or rows;
    #: None and 0 if it could not be checked, and then `not_loaded` may say why
    max_difference: float | None
    windows: int
    not_loaded: str = ""
    #: version of a registered model that it has become
    version: Version | None = None
    #: a session that its network can be asked about, from the test split: a text, or event ids
    example: str | list[int] | None = None
    #: its losses and how it was checked, in lines for people
    lines: tuple[str, ...] = ()
    #: what belongs to its kind of task alone, such as the loss that a template has returned
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> Self:
        """An export from the fields of its JSON, and `lines` and `example` for people."""
        parity, version = written["parity"], written["model_version"]
        return cls(
            bundle=written["bundle"],
            format=written["format"],
            trial=written["trial"],
            test_loss=written["test_loss"],
            max_difference=parity["max_difference"],
            windows=parity["windows"],
            not_loaded=parity.get("not_loaded", ""),
            version=version and Version.from_dict(version),
            example=written.get("example"),
            lines=tuple(written["lines"]),
            more={name: value for name, value in written.items() if name not in USUAL},
        )

    def to_dict(self) -> dict[str, Any]:
        """The bundle as `export --json` prints it."""
        parity: dict[str, Any] = {"max_difference": self.max_difference, "windows": self.windows}
        if self.not_loaded:
            parity["not_loaded"] = self.not_loaded
        return {
            "bundle": self.bundle,
            "format": self.format,
            "trial": self.trial,
            "test_loss": self.test_loss,
            **self.more,
            "parity": parity,
            "model_version": self.version and self.version.to_dict(),
        }

    def document(self) -> dict[str, Any]:
        """The bundle as a service tells it: without its folder, but with what is said to people."""
        told = self.to_dict() | {"lines": list(self.lines), "example": self.example}
        return {name: value for name, value in told.items() if name != "bundle"}


#: in a comparison, what something was, and what it is now
Change: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Rerun:
    """What has come out when a trial was trained again."""

    #: ID of the trial, and of the new run
    trial: str
    rerun_run_id: str
    #: `identical`, `within_tolerance` or `different`
    verdict: str
    #: epochs that both runs have
    epochs_compared: float
    #: largest absolute difference of two values of a metric; None if one of them is no number
    max_difference: float | None
    #: `epoch`, `metric`, `was` and `is` of the first difference; None without one
    first_difference: Change | None
    #: fields that were changed on purpose
    variation: Mapping[str, Change]
    #: packages with another version than then
    changed_versions: Mapping[str, Change]
    #: kind of device, if it is another one
    changed_device: Change | None
    #: how it has ended
    outcome: str

    def to_dict(self) -> dict[str, Any]:
        """The rerun as `rerun --json` prints it."""
        return dict(vars(self))

    @property
    def is_different(self) -> bool:
        """Whether the trial has come out otherwise, although nothing was changed on purpose."""
        return self.verdict == "different" and not self.variation


@dataclass(frozen=True)
class Generated:
    """Sequences that a model continues, symbol by symbol as they are drawn; it iterates once."""

    bundle: str
    #: trial whose model it is
    trial: str
    request: GenerationRequest
    #: whether symbols are characters, else they are event ids
    is_text: bool
    #: turn by turn the next symbol of each sequence; None of one that has ended
    turns: Iterator[Symbols]

    def __iter__(self) -> Iterator[Symbols]:
        return self.turns

    def sequences(self) -> list[str] | list[list[str | int]]:
        """All sequences, without the prompt: texts, or lists of event ids.

        One is shorter than was asked for if its session has ended.
        """
        turns = zip(*self.turns, strict=True)
        rows = [[symbol for symbol in row if symbol is not None] for row in turns]
        return ["".join(map(str, row)) for row in rows] if self.is_text else rows

    def to_dict(self) -> dict[str, Any]:
        """All of it as `generate --json` prints it."""
        return {
            "bundle": self.bundle,
            "trial": self.trial,
            "prompt": self.request.prompt,
            "temperature": self.request.temperature,
            "seed": self.request.seed,
            "sequences": self.sequences(),
        }


def rerun(
    here: Here,
    reference: str,
    changes: Mapping[str, Any] | None = None,
    on: str = "local",
    template: str | None = None,
    observer: Observer = SILENT,
    interrupts: Interrupts | None = None,
) -> Rerun:
    """Train a trial again in a new run, and compare every metric of every round.

    `changes` are other values of fields of its config, which make a variation. `template` is the
    path of the user's own file, if the trial is about one. While it is trained, a store that does
    not answer is waited for.

    Raises:
        InputError: there is no such trial, or its data or template are not what they were, or the
            store does not answer at the beginning.
        Interrupted: `interrupts` says that an end is wanted.
        StoreError: the store has failed in a way that waiting does not resolve.
    """
    changes = {} if changes is None else changes
    if not (isinstance(changes, Mapping) and all(isinstance(name, str) for name in changes)):
        raise InputError(f"--set is {shown(changes)}: expected a mapping of fields to values")
    with open_engine(on, workers=1) as engine:
        store = store_of_trial(reference, here.settings)
        record = reader.find_trial(store, reference)
        task_kind_of_run(record.tags).check_rerun(record, changes, template, devices(engine))
        found = run_again(
            store, record, engine, changes, template, observer=observer, interrupts=interrupts
        )
        return Rerun(**found.to_dict())


def export(
    here: Here,
    reference: str,
    to: str,
    format: str = "keras",
    *,
    unchecked: bool = False,
    register: str | None = None,
) -> Exported:
    """Write the model of a trial, or of the best one of a sweep, to the new folder `to`.

    It is loaded by a clean process with plain Keras, and kept only if it predicts the same there.
    `format` is `keras`, or `savedmodel` for a TensorFlow SavedModel or `onnx` for ONNX files beside
    it. A template's network that cannot be checked, since its layers or its inputs are missing, is
    kept if `unchecked`. With `register` it becomes a version of the registered model of this name.

    Raises:
        InputError: there is no such trial, it has no weights, the folder cannot be written, or the
            network cannot be checked.
        StoreError: the store has failed after the bundle was written, or refuses a version.
    """
    model = None if register is None else registry.check_name(register)
    folder = new_folder(path_text("--to", to))
    check_word("--format", format, FORMATS)
    if format == "onnx":
        for why in filter(None, map(missing, ("onnx", "onnxruntime"))):
            raise InputError(f"--format {format}: {why}")
    check_switch("--unchecked", unchecked)
    check_sweep_or_trial(reference)
    store = existing_store(f"'{reference}'", here.settings)
    record = exporting.choose(store, reference)
    written = exporting.export(store, record, folder, format, unchecked=unchecked, model=model)
    lines = task_kind_of_run(record.tags).bundle_lines(written)
    return Exported.from_dict(written | {"lines": lines})


def generate(bundle: str, request: GenerationRequest) -> Generated:
    """Sequences that the model of a bundle continues.

    Raises:
        InputError: this is no bundle, or the prompt is none of its symbols.
    """
    opened, turns = generating.generate(bundle, request)
    return Generated(bundle, opened.trial, request, opened.alphabet.is_text, turns)


def detect(bundle: str, data: str, rule: Rule, top: int = 10, *, ends: bool = True) -> Detection:
    """What the model of a bundle does not expect in new data; `top` findings are told in full.

    With `ends` the ends of sessions are judged too, if the model has learned where they end.

    Raises:
        InputError: this is no bundle, or the data have none of its symbols.
    """
    check_switch("--ends", ends)
    return detecting.detect(bundle, data, rule, top, ends=ends)
